/**
 * Tunnels with IPv6 at one end or both: 6-in-6, 4-in-6 and 6-in-4 (RFC 2473, RFC 4213), plain or by GRE and GUE.
 * Source: Linux net/netfilter/ipvs/ip_vs_xmit.c ip_vs_tunnel_xmit_v6(), ip_vs_prepare_tunneled_skb(): the outer hop limit or TTL is
 * the inner one after its decrement, the traffic class or TOS is copied, the flow label is 0; around IPv6 the outer IPv4 header has
 * no DF.
 */
import * as checksums from '../../protocol/packet/checksum.ts'
import * as ethernet from '../../protocol/packet/ethernet.ts'
import * as gre from '../../protocol/packet/gre.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import * as ipv6 from '../../protocol/packet/ipv6.ts'
import type { Frame } from '../link/link.ts'
import * as offload from './offload.ts'
import * as tunnels from './tunnel.ts'
import * as tunnelHeader from './tunnel-header.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { fold } = checksums
const { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } = ethernet
const { PROTOCOL_GRE } = gre
const { IPV4, IPV4_HEADER_LENGTH, PROTOCOL_IPIP, PROTOCOL_UDP } = ipv4
const { IPV6, IPV6_HEADER_LENGTH, PROTOCOL_IPV6, trafficClass } = ipv6
const { clearOffload } = offload
const { halves, shimLength } = tunnels
const { isIPv6Packet, writeGre, writeGue } = tunnelHeader

/** As encapsulate() in tunnel.ts, around a packet of either family; the outer addresses are words from the places given. */
export function encapsulateIn6(
  frame: Frame,
  tunnel: tunnels.Tunnel,
  words: Int32Array,
  sourceAt: number,
  destinationAt: number,
): void {
  const view = frame.memory.view
  const inner = frame.start + ETHERNET_HEADER_LENGTH
  const isIPv6 = isIPv6Packet(view, inner)
  const added = IPV6_HEADER_LENGTH + shimLength(tunnel, frame)
  const outer = inner - added
  let sumOfAddresses = 0
  for (let word = 0; word < 4; word++)
    sumOfAddresses += halves(words[sourceAt + word]) + halves(words[destinationAt + word])
  writeShim(frame, tunnel, sumOfAddresses)
  frame.start -= added
  frame.length += added
  clearOffload(frame)
  view.setUint16(frame.start + 12, ETHERTYPE_IPV6)
  const services = isIPv6 ? trafficClass(view, inner) : view.getUint8(inner + IPV4.tos)
  view.setInt32(outer + IPV6.flow, (6 << 28) | (services << 20))
  view.setUint16(outer + IPV6.payloadLength, frame.length - ETHERNET_HEADER_LENGTH - IPV6_HEADER_LENGTH)
  view.setUint8(outer + IPV6.nextHeader, outerProtocol(tunnel, isIPv6))
  view.setUint8(outer + IPV6.hopLimit, view.getUint8(inner + (isIPv6 ? IPV6.hopLimit : IPV4.ttl)))
  for (let word = 0; word < 4; word++) {
    view.setInt32(outer + IPV6.source + word * 4, words[sourceAt + word])
    view.setInt32(outer + IPV6.destination + word * 4, words[destinationAt + word])
  }
}

/**
 * As encapsulate() in tunnel.ts, around an IPv6 packet.
 * @param identification of the outer header, which never has DF
 */
export function encapsulate6In4(
  frame: Frame,
  tunnel: tunnels.Tunnel,
  source: number,
  destination: number,
  identification: number,
): void {
  const view = frame.memory.view
  const inner = frame.start + ETHERNET_HEADER_LENGTH
  const added = IPV4_HEADER_LENGTH + shimLength(tunnel, frame)
  const outer = inner - added
  const sumOfAddresses = halves(source) + halves(destination)
  writeShim(frame, tunnel, sumOfAddresses)
  frame.start -= added
  frame.length += added
  clearOffload(frame)
  view.setUint16(frame.start + 12, ETHERTYPE_IPV4)
  const first = ((0x4500 | trafficClass(view, inner)) << 16) | (frame.length - ETHERNET_HEADER_LENGTH)
  const second = identification << 16
  const third = (view.getUint8(inner + IPV6.hopLimit) << 24) | (outerProtocol(tunnel, true) << 16)
  view.setInt32(outer, first)
  view.setInt32(outer + IPV4.identification, second)
  view.setInt32(
    outer + IPV4.ttl,
    third | (~fold(halves(first) + halves(second) + halves(third) + sumOfAddresses) & 0xffff),
  )
  view.setInt32(outer + IPV4.source, source)
  view.setInt32(outer + IPV4.destination, destination)
}

function writeShim(frame: Frame, tunnel: tunnels.Tunnel, sumOfAddresses: number): void {
  if (tunnel.protocol === PROTOCOL_UDP) writeGue(frame, tunnel, sumOfAddresses)
  else if (tunnel.protocol === PROTOCOL_GRE) writeGre(frame, tunnel)
}

/** What the outer header of a tunnel names when a packet of this family is inside. */
export function outerProtocol(tunnel: tunnels.Tunnel, isIPv6: boolean): number {
  return isIPv6 && tunnel.protocol === PROTOCOL_IPIP ? PROTOCOL_IPV6 : tunnel.protocol
}
