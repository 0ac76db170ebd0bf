/**
 * Masquerading: the destination of a client's packet becomes the real server, the source of the reply becomes the virtual
 * service. Checksums follow by RFC 1624. Source: Linux net/netfilter/ipvs/ip_vs_xmit.c ip_vs_nat_xmit().
 */
import * as checksums from '../../protocol/packet/checksum.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import * as sctp from '../../protocol/packet/sctp.ts'
import * as tcp from '../../protocol/packet/tcp.ts'
import * as udp from '../../protocol/packet/udp.ts'
import * as directRouting from './direct-routing.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { difference16, difference32, fold, updateChecksum } = checksums
const { IPV4, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } = ipv4
const { TCP } = tcp
const { UDP } = udp
const { changeHeader } = directRouting
const { rewriteSctpPort } = sctp

/**
 * Replaces the destination address and port, and lowers the TTL by one.
 * @param ip offset of the IP header
 * @param transport offset of the header behind it
 * @param unfinished the transport checksum holds only the pseudo-header's sum (VNET_NEEDS_CSUM)
 */
export function rewriteDestination(
  view: DataView,
  ip: number,
  transport: number,
  address: number,
  port: number,
  unfinished: boolean,
): void {
  rewrite(view, ip, IPV4.destination, transport, TCP.destinationPort, address, port, unfinished)
}

/** As rewriteDestination, for the source. */
export function rewriteSource(
  view: DataView,
  ip: number,
  transport: number,
  address: number,
  port: number,
  unfinished: boolean,
): void {
  rewrite(view, ip, IPV4.source, transport, TCP.sourcePort, address, port, unfinished)
}

/** The destination address alone, of a fragment behind the first: it has no ports, and the checksum is in the first. */
export function rewriteDestinationAddress(view: DataView, ip: number, address: number): void {
  rewriteAddress(view, ip, ip + IPV4.destination, address)
}

/** As rewriteDestinationAddress, for the source. */
export function rewriteSourceAddress(view: DataView, ip: number, address: number): void {
  rewriteAddress(view, ip, ip + IPV4.source, address)
}

function rewriteAddress(view: DataView, ip: number, at: number, address: number): void {
  const difference = difference32(view.getInt32(at), address)
  view.setInt32(at, address)
  changeHeader(view, ip, difference)
}

function rewrite(
  view: DataView,
  ip: number,
  addressField: number,
  transport: number,
  portField: number,
  address: number,
  port: number,
  unfinished: boolean,
): void {
  const protocol = view.getUint8(ip + IPV4.protocol)
  if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP) {
    rewriteOther(view, ip, addressField, transport, portField, address, port)
    return
  }
  const addressAt = ip + addressField
  const portAt = transport + portField
  const addressDifference = difference32(view.getInt32(addressAt), address)
  const portDifference = difference16(view.getUint16(portAt), port)
  view.setInt32(addressAt, address)
  view.setUint16(portAt, port)
  changeHeader(view, ip, addressDifference)
  const isTcp = protocol === PROTOCOL_TCP
  const checksumAt = transport + (isTcp ? TCP.checksum : UDP.checksum)
  const before = view.getUint16(checksumAt)
  if (unfinished) {
    // Only the pseudo-header is summed up here, and not complemented; whoever finishes it will see the new port.
    view.setUint16(checksumAt, fold(before + addressDifference))
  } else if (isTcp) {
    view.setUint16(checksumAt, updateChecksum(before, addressDifference + portDifference))
  } else if (before !== 0) {
    // In UDP 0 says that there is no checksum; a sum that comes out as 0 is sent as 0xffff (RFC 768).
    view.setUint16(checksumAt, updateChecksum(before, addressDifference + portDifference) || 0xffff)
  }
}

/** SCTP's checksum is not of the addresses; AH and ESP have no port, and what they protect is their ends' own affair. */
function rewriteOther(
  view: DataView,
  ip: number,
  addressField: number,
  transport: number,
  portField: number,
  address: number,
  port: number,
): void {
  const addressAt = ip + addressField
  const difference = difference32(view.getInt32(addressAt), address)
  view.setInt32(addressAt, address)
  changeHeader(view, ip, difference)
  if (view.getUint8(ip + IPV4.protocol) === PROTOCOL_SCTP) {
    rewriteSctpPort(view, transport, portField, port, ip + view.getUint16(ip + IPV4.totalLength) - transport)
  }
}
