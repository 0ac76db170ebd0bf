/**
 * Masquerading of IPv6: as nat.ts, but for a header without a checksum and addresses of four words.
 * Source: Linux net/netfilter/ipvs/ip_vs_xmit.c ip_vs_nat_xmit_v6().
 */
import * as checksums from '../../protocol/packet/checksum.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import * as ipv6 from '../../protocol/packet/ipv6.ts'
import * as sctp from '../../protocol/packet/sctp.ts'
import * as tcp from '../../protocol/packet/tcp.ts'
import * as udp from '../../protocol/packet/udp.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { difference16, difference32, fold, updateChecksum } = checksums
const { PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } = ipv4
const { IPV6, IPV6_HEADER_LENGTH } = ipv6
const { rewriteSctpPort } = sctp
const { TCP } = tcp
const { UDP } = udp

/** Lowers the hop limit of the IPv6 header at `ip` by one. */
export function decrementHopLimit(view: DataView, ip: number): void {
  view.setUint8(ip + IPV6.hopLimit, view.getUint8(ip + IPV6.hopLimit) - 1)
}

/**
 * Replaces the destination address by the words from `wordsAt`, and the port, and lowers the hop limit by one.
 * @param ip offset of the IPv6 header
 * @param transport offset of the header behind it and its extension headers
 * @param unfinished the transport checksum holds only the pseudo-header's sum (VNET_NEEDS_CSUM)
 */
export function rewriteDestination6(
  view: DataView,
  ip: number,
  transport: number,
  protocol: number,
  words: Int32Array,
  wordsAt: number,
  port: number,
  unfinished: boolean,
): void {
  const address = ip + IPV6.destination
  rewrite(view, ip, address, transport, TCP.destinationPort, protocol, words, wordsAt, port, unfinished)
}

/** As rewriteDestination6, for the source. */
export function rewriteSource6(
  view: DataView,
  ip: number,
  transport: number,
  protocol: number,
  words: Int32Array,
  wordsAt: number,
  port: number,
  unfinished: boolean,
): void {
  rewrite(view, ip, ip + IPV6.source, transport, TCP.sourcePort, protocol, words, wordsAt, port, unfinished)
}

/** Writes an address, and returns the running difference that it makes. */
export function replaceAddress6(view: DataView, at: number, words: Int32Array, wordsAt: number): number {
  let difference = 0
  for (let word = 0; word < 4; word++) {
    const field = at + word * 4
    const after = words[wordsAt + word]
    difference += difference32(view.getInt32(field), after)
    view.setInt32(field, after)
  }
  return difference
}

function rewrite(
  view: DataView,
  ip: number,
  addressAt: number,
  transport: number,
  portField: number,
  protocol: number,
  words: Int32Array,
  wordsAt: number,
  port: number,
  unfinished: boolean,
): void {
  const addressDifference = replaceAddress6(view, addressAt, words, wordsAt)
  decrementHopLimit(view, ip)
  if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP) {
    // SCTP's checksum is not of the addresses; AH and ESP have no port, and what they protect is their ends' own affair.
    const end = ip + IPV6_HEADER_LENGTH + view.getUint16(ip + IPV6.payloadLength)
    if (protocol === PROTOCOL_SCTP) rewriteSctpPort(view, transport, portField, port, end - transport)
    return
  }
  const portAt = transport + portField
  const portDifference = difference16(view.getUint16(portAt), port)
  view.setUint16(portAt, port)
  const isTcp = protocol === PROTOCOL_TCP
  const checksumAt = transport + (isTcp ? TCP.checksum : UDP.checksum)
  const before = view.getUint16(checksumAt)
  if (unfinished) {
    // Only the pseudo-header is summed up here, and not complemented; whoever finishes it will see the new port.
    view.setUint16(checksumAt, fold(before + addressDifference))
  } else if (isTcp) {
    view.setUint16(checksumAt, updateChecksum(before, addressDifference + portDifference))
  } else if (before !== 0) {
    // Tunnels alone may leave a UDP checksum out over IPv6 (RFC 6935); then it stays out.
    view.setUint16(checksumAt, updateChecksum(before, addressDifference + portDifference) || 0xffff)
  }
}
