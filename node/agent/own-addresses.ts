/** The addresses by which directors know this real server: those that are named, or else those that the machine has. */
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { DirectorError } from '../../protocol/errors.ts'
import { canonicalAddress } from '../../protocol/packet/ipv6-address.ts'
import { MAX_AGENT_ADDRESSES } from '../../protocol/wire/agent-report.ts'

/** fe80::/10: known on one link only. */
const LINK_LOCAL = /^fe[89ab]/i

/** Of this machine, as of now, but for loopback and link-local ones. */
export function readOwnAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !LINK_LOCAL.test(address))
    .map(({ address }) => canonicalAddress(address))
}

/** Each once, in its one form. @throws DirectorError INPUT_INVALID for what a report cannot carry */
export function checkAddresses(addresses: readonly string[]): string[] {
  const wrong = addresses.find((address) => isIP(address) === 0 || address.includes('%'))
  if (wrong !== undefined)
    throw new DirectorError('INPUT_INVALID', `address ${wrong}: expected an IPv4 or IPv6 address`)
  const distinct = [...new Set(addresses.map(canonicalAddress))]
  if (distinct.length >= 1 && distinct.length <= MAX_AGENT_ADDRESSES) return distinct
  throw new DirectorError(
    'INPUT_INVALID',
    distinct.length === 0
      ? 'this machine has no address to report for: name one with --address'
      : `${distinct.length} addresses: a report carries ${MAX_AGENT_ADDRESSES}; name those that the directors use with --address`,
  )
}
