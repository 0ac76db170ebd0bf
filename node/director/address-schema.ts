/**
 * Addresses and interfaces as operators write them, checked; addresses in the one form in which they are compared and shown (RFC 5952).
 */
import { isIP } from 'node:net'
import { z } from 'zod'
import { PEER_ID } from '../../protocol/names.ts'
import { canonicalAddress, formatEndpoint, parseEndpoint } from '../../protocol/packet/ipv6-address.ts'
import { isPeerId } from './cluster/identity.ts'
import { isNoHosts } from './host/host-addresses.ts'

const isAddress = (text: string) => isIP(text) !== 0 && !text.includes('%')

export const interfaceName = z.string().regex(/^[^\s/]{1,15}$/, 'expected the name of a network interface')

export const ipAddress = z
  .string()
  .refine(isAddress, 'expected an IPv4 or IPv6 address, without a zone')
  // Runs on what was refused, too.
  .overwrite((text) => (isAddress(text) ? canonicalAddress(text) : text))

/** As ipAddress, of what one host can have. */
export const hostAddress = ipAddress.refine(
  (text) => !isAddress(text) || !isNoHosts(text),
  'expected an address that a host can have: this one is unspecified, a broadcast address or a multicast group',
)

/** An address and a port from 1 on. */
export const endpoint = z
  .string()
  .refine(
    (text) => (parseEndpoint(text)?.port ?? 0) > 0,
    "expected ADDRESS:PORT such as 192.0.2.1:7946 or '[2001:db8::1]:7946', this one in quotes",
  )
  .overwrite((text) => {
    const parsed = parseEndpoint(text)
    return parsed ? formatEndpoint(parsed.address, parsed.port) : text
  })

/** What may be a libp2p peer id, by its letters. */
export const peerIdText = z.string().regex(PEER_ID, 'expected a peer id as `director identity` prints it')

/** A director's, as somebody has written it: one that has lost a letter is nobody's. */
export const peerId = z.string().refine(isPeerId, 'expected a peer id as `director identity` prints it, whole')
