/**
 * The values of options: numbers, addresses, names of services. Each reads as the C library that ipvsadm uses reads it
 * (strtol, inet_aton), and answers undefined for what that would not take.
 */
import { isIPv6, SocketAddress } from 'node:net'
import type { NameDatabase } from './names.ts'

export type Protocol = 'tcp' | 'udp' | 'sctp'

export const MAX_INT = 2147483647
export const MAX_TIMEOUT_SECONDS = 31 * 86400

/** A whole decimal number within the bounds, both included. */
export function readNumber(text: string, minimum: number, maximum: number): number | undefined {
  if (!/^\s*[+-]?\d+$/.test(text)) return undefined
  const number = Number(text)
  return number >= minimum && number <= maximum ? number : undefined
}

/** 24 -> 255.255.255.0 */
export function maskOfPrefix(length: number): string {
  return [24, 16, 8, 0].map((shift) => (((2 ** 32 - 2 ** (32 - length)) / 2 ** shift) & 255) >>> 0).join('.')
}

/**
 * An IPv4 address as inet_aton(3) reads it, 1 to 4 parts, decimal, octal or hexadecimal, and nothing behind a blank counts; in
 * dotted form.
 */
export function readIPv4(text: string): string | undefined {
  const parts = text.split(/[ \t\n\v\f\r]/, 1)[0].split('.')
  if (parts.length > 4) return undefined
  const numbers: number[] = []
  for (const part of parts) {
    if (!/^(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)$/i.test(part)) return undefined
    numbers.push(/^0[0-7]+$/.test(part) ? Number.parseInt(part, 8) : Number(part))
  }
  const last = numbers.pop() as number
  if (numbers.some((number) => number > 255) || last >= 256 ** (4 - numbers.length)) return undefined
  const address = numbers.reduce((sum, number, index) => sum + number * 256 ** (3 - index), last)
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.')
}

export interface Endpoint {
  readonly family: 4 | 6
  readonly address: string
  /** Undefined: none was given. */
  readonly port: number | undefined
}

/** `host[:port]` or `[IPv6]:port`; a host may be a name, a port the name of a service, if the protocol is known. */
export async function readEndpoint(
  text: string,
  protocol: Protocol | undefined,
  names: NameDatabase,
): Promise<Endpoint | undefined> {
  if (/^\d*$/.test(text)) return undefined
  let host = text
  let portText: string | undefined
  if (text.startsWith('[')) {
    const match = /^\[([^\]]*)\]:(.*)$/.exec(text)
    if (!match) return undefined
    host = match[1]
    portText = match[2]
  }
  if (isIPv6(host) && !host.includes('%'))
    return withPort(6, new SocketAddress({ address: host, family: 'ipv6' }).address)
  const colon = host.lastIndexOf(':')
  portText = colon < 0 ? undefined : host.slice(colon + 1)
  if (colon >= 0) host = host.slice(0, colon)
  const address = readIPv4(host) ?? (await names.addressOf(host))
  return address === undefined ? undefined : withPort(4, address)

  function withPort(family: 4 | 6, address: string): Endpoint | undefined {
    if (portText === undefined) return { family, address, port: undefined }
    const port = readNumber(portText, 0, 65535) ?? (protocol && names.portOf(portText, protocol))
    return port === undefined ? undefined : { family, address, port }
  }
}

/** The address in words of 32 bits: one, or four of IPv6. It must be an address. */
export function parseAddress(text: string): number[] {
  if (!text.includes(':')) return [text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)]
  const [head, tail] = text.split('::').map(groupsOf)
  const groups = tail ? [...head, ...Array(8 - head.length - tail.length).fill(0), ...tail] : head
  return [0, 2, 4, 6].map((at) => groups[at] * 65536 + groups[at + 1])
}

function groupsOf(text: string): number[] {
  return text
    .split(':')
    .filter(Boolean)
    .flatMap((group) => {
      if (!group.includes('.')) return [Number.parseInt(group, 16)]
      const [address] = parseAddress(group)
      return [Math.floor(address / 65536), address % 65536]
    })
}
