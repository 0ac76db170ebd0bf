/**
 * What stands between the outer IP header and the packet in a GRE or GUE tunnel. Written in front of the packet, whatever
 * family the outer header is of.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_xmit.c ipvs_gue_encap(), ipvs_gre_encap(); include/net/udp.h udp_flow_src_port() (the
 * source port tells flows apart for routers that spread them over several ways, and lies in the kernel's local port range).
 */
import * as checksums from '../../protocol/packet/checksum.ts'
import * as ethernet from '../../protocol/packet/ethernet.ts'
import * as gre from '../../protocol/packet/gre.ts'
import * as gue from '../../protocol/packet/gue.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import * as ipv6 from '../../protocol/packet/ipv6.ts'
import * as udp from '../../protocol/packet/udp.ts'
import * as link from '../link/link.ts'
import { hashAddress, hashWords } from '../table/keyed-hash.ts'
import * as offload from './offload.ts'
import type { Tunnel } from './tunnel.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { addBytes, fold } = checksums
const { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } = ethernet
const { GRE, GRE_CHECKSUM_PRESENT } = gre
const { GUE, GUE_HEADER_LENGTH, GUE_PRIVATE_FLAGS_PRESENT, GUE_REMOTE_CHECKSUM, GUE_REMOTE_CHECKSUM_LENGTH } = gue
const { FRAGMENT_OFFSET_MASK, IPV4, MORE_FRAGMENTS } = ipv4
const { PROTOCOL_IPIP, PROTOCOL_TCP, PROTOCOL_UDP } = ipv4
const { IPV6, PROTOCOL_IPV6, walkToTransport } = ipv6
const { UDP, UDP_HEADER_LENGTH } = udp
const { hasUnfinishedChecksum } = offload
const { VNET_HEADER_LENGTH } = link

/** net.ipv4.ip_local_port_range of the kernel. */
const FIRST_SOURCE_PORT = 32_768
const SOURCE_PORTS = 60_999 - FIRST_SOURCE_PORT

/** Writes the GRE header in front of the packet. */
export function writeGre(frame: link.Frame, tunnel: Tunnel): void {
  const { view, bytes } = frame.memory
  const inner = frame.start + ETHERNET_HEADER_LENGTH
  const at = inner - tunnel.shimLength
  view.setUint16(at, tunnel.hasChecksum ? GRE_CHECKSUM_PRESENT : 0)
  view.setUint16(at + GRE.etherType, isIPv6Packet(view, inner) ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4)
  if (!tunnel.hasChecksum) return
  view.setInt32(at + GRE.checksum, 0)
  const length = frame.length - ETHERNET_HEADER_LENGTH + tunnel.shimLength
  view.setUint16(at + GRE.checksum, ~fold(addBytes(0, bytes, at, length)) & 0xffff)
}

/**
 * Writes the UDP and GUE headers in front of the packet.
 * @param sumOfAddresses running sum of the outer addresses, for the pseudo-header
 */
export function writeGue(frame: link.Frame, tunnel: Tunnel, sumOfAddresses: number): void {
  const { view, bytes } = frame.memory
  const inner = frame.start + ETHERNET_HEADER_LENGTH
  let gueLength = GUE_HEADER_LENGTH
  if (tunnel.isRemote && hasUnfinishedChecksum(frame)) {
    gueLength += GUE_REMOTE_CHECKSUM_LENGTH
    const at = inner - gueLength
    const header = frame.start - VNET_HEADER_LENGTH
    // The virtio header counts from the Ethernet header; the UDP header will be written over it.
    const start = view.getUint16(header + 6, true) - ETHERNET_HEADER_LENGTH
    const field = start + view.getUint16(header + 8, true)
    view.setUint16(at + GUE.flags, GUE_PRIVATE_FLAGS_PRESENT)
    view.setInt32(at + GUE.privateFlags, GUE_REMOTE_CHECKSUM)
    view.setUint16(at + GUE.checksumStart, start)
    view.setUint16(at + GUE.checksumField, field)
  } else {
    view.setUint16(inner - gueLength + GUE.flags, 0)
  }
  const at = inner - gueLength
  view.setUint8(at + GUE.lengths, (gueLength - GUE_HEADER_LENGTH) >> 2)
  view.setUint8(at + GUE.protocol, isIPv6Packet(view, inner) ? PROTOCOL_IPV6 : PROTOCOL_IPIP)
  const header = at - UDP_HEADER_LENGTH
  const length = frame.length - ETHERNET_HEADER_LENGTH + gueLength + UDP_HEADER_LENGTH
  const flow = isIPv6Packet(view, inner) ? flowHash6(view, inner, frame.start + frame.length) : flowHash(view, inner)
  view.setUint16(header + UDP.sourcePort, FIRST_SOURCE_PORT + Math.floor(((flow >>> 0) * SOURCE_PORTS) / 2 ** 32))
  view.setUint16(header + UDP.destinationPort, tunnel.port)
  view.setUint16(header + UDP.length, length)
  view.setUint16(header + UDP.checksum, 0)
  if (!tunnel.hasChecksum) return
  const sum = addBytes(sumOfAddresses + PROTOCOL_UDP + length, bytes, header, length)
  view.setUint16(header + UDP.checksum, ~fold(sum) & 0xffff || 0xffff)
}

/** Whether the packet at `ip` is one of IPv6. */
export function isIPv6Packet(view: DataView, ip: number): boolean {
  return view.getUint8(ip) >> 4 === 6
}

/** What all packets of one flow share; of fragments, which may lack the ports, all of one pair of hosts. */
function flowHash(view: DataView, ip: number): number {
  const protocol = view.getUint8(ip + IPV4.protocol)
  const isWhole = (view.getUint16(ip + IPV4.fragment) & (MORE_FRAGMENTS | FRAGMENT_OFFSET_MASK)) === 0
  const hasPorts = isWhole && (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP)
  const ports = hasPorts ? view.getInt32(ip + ((view.getUint8(ip) & 15) << 2)) : 0
  return hashWords(view.getInt32(ip + IPV4.source), view.getInt32(ip + IPV4.destination), ports, protocol)
}

/** As flowHash(), of an IPv6 packet. */
function flowHash6(view: DataView, ip: number, end: number): number {
  const walked = walkToTransport(view, ip, end)
  const protocol = walked & 255
  const hasPorts = walked >= 0 && (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP)
  const ports = hasPorts ? view.getInt32(ip + (walked >> 8)) : 0
  return hashWords(hashOfAddress(view, ip + IPV6.source), hashOfAddress(view, ip + IPV6.destination), ports, protocol)
}

function hashOfAddress(view: DataView, at: number): number {
  return hashAddress(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12), 0)
}
