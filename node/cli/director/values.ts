/** Checks for the values of options. What they throw becomes one line on stderr and exit status 2. */
import { isIP } from 'node:net'
import { InvalidArgumentError } from 'commander'
import type { TunnelEnd } from '../../../forwarder/decapsulator.ts'
import { DIRECTOR_NAME, DIRECTOR_NAME_RULE, REVISION_START } from '../../../protocol/names.ts'
import { canonicalAddress, formatEndpoint, parseEndpoint } from '../../../protocol/packet/ipv6-address.ts'

/** IANA's for Generic UDP Encapsulation. */
const GUE_PORT = 6080

/** A reader of whole numbers within the bounds, both included. */
export function wholeNumber(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (/^\d+$/.test(text) && number >= minimum && number <= maximum) return number
    throw new InvalidArgumentError(`Expected a number from ${minimum} to ${maximum}.`)
  }
}

/** A reader for an option that may be given several times. */
export function collect<T>(check: (text: string) => T): (text: string, before: T[] | undefined) => T[] {
  return (text, before = []) => [...before, check(text)]
}

/** Of either family; an IPv6 address in the one form in which it is compared. */
export function address(text: string): string {
  if (isIP(text) !== 0 && !text.includes('%')) return canonicalAddress(text)
  throw new InvalidArgumentError('Expected an address such as 192.0.2.1 or 2001:db8::1.')
}

/** A revision by its name, or by as much of its beginning as is enough. */
export function revisionName(text: string): string {
  if (REVISION_START.test(text)) return text
  throw new InvalidArgumentError('Expected a revision as `director config history` lists them.')
}

/** A name as a director's configuration has it. */
export function directorName(text: string): string {
  if (DIRECTOR_NAME.test(text)) return text
  throw new InvalidArgumentError(`Expected a name of ${DIRECTOR_NAME_RULE}, as in the configuration.`)
}

const UNITS_MS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds, from minutes to a year. */
export function duration(text: string): number {
  const [, count, unit] = /^([1-9]\d{0,5})([mhd])$/.exec(text) ?? []
  const ms = Number(count) * UNITS_MS[unit]
  if (ms <= 366 * UNITS_MS.d) return ms
  throw new InvalidArgumentError('Expected a time such as 30m, 24h or 7d, of at most 366 days.')
}

export function endpoint(text: string): string {
  const parsed = parseEndpoint(text)
  if (parsed && parsed.port > 0) return formatEndpoint(parsed.address, parsed.port)
  throw new InvalidArgumentError('Expected ADDRESS:PORT such as 192.0.2.1:7947 or [2001:db8::1]:7947.')
}

/** As the tunnel's end wants it: ipip, gre, gue, or gue with its UDP port. */
export function tunnelEnd(text: string): TunnelEnd {
  const [type, port = String(GUE_PORT), ...rest] = text.split(':')
  if (text === 'ipip' || text === 'gre') return { type: text, port: 0 }
  const isPort = rest.length === 0 && /^[1-9]\d{0,4}$/.test(port) && Number(port) <= 65535
  if (type === 'gue' && isPort) return { type, port: Number(port) }
  throw new InvalidArgumentError('Expected ipip, gre, gue, or gue:PORT such as gue:6080.')
}
