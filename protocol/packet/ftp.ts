/**
 * FTP's control connection, as far as it says where a data connection will come from or go to: PORT, PASV and reply 227
 * (RFC 959 sections 4.1.2 and 5.4), EPRT, EPSV and reply 229 (RFC 2428, of both IP versions). Lines are text of one byte a character.
 */
import { isIPv6 } from 'node:net'
import { canonicalAddress } from './ipv6-address.ts'

export const PORT_FTP = 21
export const PORT_FTP_DATA = 20
/** No command or reply that is looked for here is longer. */
export const FTP_LINE_LENGTH = 256

export interface FtpEndpoint {
  /** In the text form of RFC 5952; undefined where the line names none: the peer's own. */
  readonly address: string | undefined
  readonly port: number
}

export type FtpCommand =
  /** PORT, EPRT: the server shall connect to this place. */
  | { readonly kind: 'active'; readonly endpoint: FtpEndpoint }
  /** PASV, EPSV: the client will connect to where the server says. */
  | { readonly kind: 'passive' }

const NUMBERS = /^(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})/

/** What a client's line, without its end, asks for; undefined when it is about something else, or makes no sense. */
export function parseFtpCommand(line: string): FtpCommand | undefined {
  if (line.length > FTP_LINE_LENGTH) return undefined
  const space = line.indexOf(' ')
  const verb = space < 0 ? line : line.slice(0, space)
  const argument = line.slice(verb.length).trim()
  switch (verb.toUpperCase()) {
    case 'PORT': {
      const endpoint = sixNumbers(argument)
      return endpoint && { kind: 'active', endpoint }
    }
    case 'EPRT': {
      const endpoint = extendedEndpoint(argument)
      return endpoint && { kind: 'active', endpoint }
    }
    case 'PASV':
      return { kind: 'passive' }
    case 'EPSV':
      // "EPSV ALL" promises to use nothing else, and asks for nothing.
      return argument.toUpperCase() === 'ALL' ? undefined : { kind: 'passive' }
    default:
      return undefined
  }
}

/** Where a server's reply 227 or 229 says that it listens; undefined for every other line. */
export function parsePassiveReply(line: string): FtpEndpoint | undefined {
  if (line.startsWith('229 ')) {
    const [, , port] = /\(([!-~])\1\1(\d{1,5})\1\)/.exec(line) ?? []
    return endpointOf(undefined, Number(port))
  }
  if (!line.startsWith('227 ')) return undefined
  const at = numbersAt(line)
  return at < 0 ? undefined : sixNumbers(line.slice(at))
}

/** Texts for reply 227, the longest first. */
const TEXTS = ['Entering Passive Mode', 'Passive Mode', 'Passive']
/** For a reply that cannot have the address in it: the client asks in the other way, or gives its own address. */
const REFUSAL = '425 Use EPSV'

/** A refusal as long as a line, or the beginning of one, of which no less is known than that it is reply 227. */
export function refusePassiveReply(line: string): string {
  return REFUSAL.padEnd(line.length).slice(0, line.length)
}

/**
 * Reply 227 with another address, exactly as long as before: what the address takes more is taken from the text before it, which
 * means nothing (RFC 959 section 4.2), and what it takes less is filled up with blanks. So the stream of bytes
 * keeps its numbers, and nothing needs to be known of it afterwards.
 * @param line without its end; parsePassiveReply() has read it
 * @param address of IPv4
 */
export function rewritePassiveReply(line: string, address: string): string {
  const at = numbersAt(line)
  const [numbers, , , , , high, low] = NUMBERS.exec(line.slice(at)) as RegExpExecArray
  const replacement = `${address.replaceAll('.', ',')},${high},${low}`
  const before = line.slice(4, at)
  const after = line.slice(at + numbers.length)
  const candidates = [before, ...TEXTS.map((text) => `${text} (`), '(']
  // What stood in brackets stays in brackets.
  const isBracketed = before.endsWith('(')
  for (const candidate of candidates) {
    const text = isBracketed ? candidate : candidate === before ? before : candidate.slice(0, -1)
    const rewritten = `227 ${text}${replacement}${after}`
    if (rewritten.length <= line.length) return rewritten.padEnd(line.length)
  }
  return refusePassiveReply(line)
}

/** Whether the beginning of a reply 227 has its numbers to the last digit: something else follows. Then it can be rewritten like a whole line. */
export function hasWholeNumbers(beginning: string): boolean {
  const at = numbersAt(beginning)
  const [numbers] = (at >= 0 && NUMBERS.exec(beginning.slice(at))) || []
  return numbers !== undefined && at + numbers.length < beginning.length
}

/** Where the first digit behind the code stands, as RFC 1123 section 4.1.2.6 tells clients to look for it; -1 when there is none. */
function numbersAt(line: string): number {
  const found = line.slice(4).search(/\d/)
  return found < 0 ? -1 : found + 4
}

/** "10,1,0,201,15,160" */
function sixNumbers(text: string): FtpEndpoint | undefined {
  const numbers = NUMBERS.exec(text)?.slice(1).map(Number)
  if (numbers === undefined || numbers.some((number) => number > 255)) return undefined
  const [a, b, c, d, high, low] = numbers
  return endpointOf([a, b, c, d].join('.'), (high << 8) | low)
}

/** "|1|10.1.0.201|4000|" or "|2|2001:db8::1|4000|", with any printable character in the bar's place. */
function extendedEndpoint(text: string): FtpEndpoint | undefined {
  const [, , version, address, port] = /^([!-~])([12])\1([\dA-Fa-f.:]{2,45})\1(\d{1,5})\1$/.exec(text) ?? []
  if (version === '2') return isIPv6(address) ? endpointOf(canonicalAddress(address), Number(port)) : undefined
  const numbers = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(address)?.slice(1).map(Number)
  if (numbers === undefined || numbers.some((number) => number > 255)) return undefined
  return endpointOf(numbers.join('.'), Number(port))
}

function endpointOf(address: string | undefined, port: number): FtpEndpoint | undefined {
  return port >= 1 && port <= 65_535 ? { address, port } : undefined
}
