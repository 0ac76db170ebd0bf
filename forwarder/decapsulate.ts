/**
 * Takes the inner packet out of a tunnel packet, in place, as a real server behind a tunnelling director needs it. Both headers may
 * be of either family.
 *
 * - The inner TTL or hop limit stays as it is: decapsulation is not forwarding (RFC 2003 section 3.1, RFC 2473 section 3.3).
 * - Congestion marked on the outer header is carried inside (RFC 6040 section 4.2).
 * - A transport checksum that is still the bare pseudo-header sum is finished. The kernel leaves it so on packets that never
 *   crossed a wire, and on those its receive offload (GRO, which looks into IPIP) has merged; a raw socket is not told.
 */
import { readUint16, writeUint16 } from '../protocol/packet/bytes.ts'
import { checksum, difference16, fold, updateChecksum } from '../protocol/packet/checksum.ts'
import {
  FRAGMENT_OFFSET_MASK,
  IPV4,
  IPV4_HEADER_LENGTH,
  MORE_FRAGMENTS,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  soundIPv4HeaderLength,
} from '../protocol/packet/ipv4.ts'
import { IPV6, IPV6_HEADER_LENGTH, soundIPv6Length, trafficClass, walkToTransport } from '../protocol/packet/ipv6.ts'
import { pseudoHeaderSumOf } from '../protocol/packet/pseudo-header.ts'
import { TCP, TCP_HEADER_LENGTH } from '../protocol/packet/tcp.ts'
import { UDP, UDP_HEADER_LENGTH } from '../protocol/packet/udp.ts'
import type { AddressSet } from './address-set.ts'
import type { Frame } from './link/link.ts'
import { finishRemoteChecksum, type GuePorts, innerPacket } from './tunnel-end.ts'

/**
 * malformed: a header, a length or the tunnel's own checksum is not sound. not-virtual: for an address that is not a VIP.
 * congestion: marked outside, but the inner packet cannot carry the mark, so it must be dropped as the router meant it.
 */
export type DecapsulationRefusal = 'malformed' | 'not-virtual' | 'congestion'

const ECN_MASK = 3
const ECN_CONGESTION_EXPERIENCED = 3

/**
 * Narrows `packet`, which begins at the outer IP header, to the inner packet. An outer IPv6 header has no extension headers.
 * @param guePorts UDP ports of GUE tunnels that end here
 * @param virtualAddresses the inner destinations that are let in; undefined: any
 * @returns undefined, or why the packet is refused; then `packet` is as it was
 */
export function decapsulate(
  packet: Frame,
  guePorts: GuePorts,
  virtualAddresses: AddressSet | undefined,
): DecapsulationRefusal | undefined {
  const { bytes, view } = packet.memory
  const outer = packet.start
  const isOuterIPv6 = bytes[outer] >> 4 === 6
  const outerLength = isOuterIPv6 ? IPV6_HEADER_LENGTH : (bytes[outer] & 15) << 2
  if (packet.length < outerLength + IPV4_HEADER_LENGTH || outerLength < IPV4_HEADER_LENGTH) return 'malformed'
  const tunnel = outer + outerLength
  const protocol = bytes[outer + (isOuterIPv6 ? IPV6.nextHeader : IPV4.protocol)]
  const inner = innerPacket(packet, protocol, tunnel, guePorts)
  if (inner === 0) return 'malformed'
  const isIPv6 = bytes[inner] >> 4 === 6
  const length = soundLength(view, inner, outer + packet.length - inner, isIPv6)
  if (length === 0) return 'malformed'
  if (virtualAddresses && !isAmong(virtualAddresses, view, inner, isIPv6)) return 'not-virtual'
  const outerClass = isOuterIPv6 ? trafficClass(view, outer) : bytes[outer + IPV4.tos]
  if ((outerClass & ECN_MASK) === ECN_CONGESTION_EXPERIENCED && !markCongestion(view, inner, isIPv6)) {
    return 'congestion'
  }
  if (!finishRemoteChecksum(packet, protocol, tunnel, inner, length)) return 'malformed'
  finishTransportChecksum(view, bytes, inner, length, isIPv6)
  packet.start = inner
  packet.length = length
  return undefined
}

/** Length of the packet at `ip`; 0 when its header is not sound. */
function soundLength(view: DataView, ip: number, available: number, isIPv6: boolean): number {
  if (isIPv6) return soundIPv6Length(view, ip, available)
  return soundIPv4HeaderLength(view, ip, available) === 0 ? 0 : view.getUint16(ip + IPV4.totalLength)
}

function isAmong(addresses: AddressSet, view: DataView, ip: number, isIPv6: boolean): boolean {
  return isIPv6 ? addresses.hasIPv6(view, ip + IPV6.destination) : addresses.hasIPv4(view, ip + IPV4.destination)
}

/** False when the packet at `ip` comes from a transport that does not take part in ECN. */
function markCongestion(view: DataView, ip: number, isIPv6: boolean): boolean {
  const services = isIPv6 ? trafficClass(view, ip) : view.getUint8(ip + IPV4.tos)
  if ((services & ECN_MASK) === 0) return false
  if (isIPv6) {
    view.setUint16(ip, view.getUint16(ip) | (ECN_CONGESTION_EXPERIENCED << 4))
    return true
  }
  const marked = services | ECN_CONGESTION_EXPERIENCED
  view.setUint8(ip + IPV4.tos, marked)
  const before = view.getUint16(ip + IPV4.checksum)
  view.setUint16(ip + IPV4.checksum, updateChecksum(before, difference16(services, marked)))
  return true
}

function finishTransportChecksum(view: DataView, bytes: Uint8Array, ip: number, packetLength: number, isIPv6: boolean) {
  const found = isIPv6 ? walkToTransport(view, ip, ip + packetLength) : transportOf(view, ip)
  // A fragment, among what has no transport header that can be found: its first bytes may be data.
  if (found < 0) return
  const protocol = found & 255
  const transport = ip + (found >> 8)
  const length = ip + packetLength - transport
  const field = transport + checksumOffset(protocol, length)
  if (field < transport) return
  const pseudoHeader = fold(pseudoHeaderSumOf(bytes, ip, protocol, length))
  if (readUint16(bytes, field) !== pseudoHeader) return
  // The field holds the pseudo-header's part of the sum. A checksum that was finished and equals it by chance stays the same.
  const finished = checksum(bytes, transport, length)
  writeUint16(bytes, field, protocol === PROTOCOL_UDP && finished === 0 ? 0xffff : finished)
}

/** Of IPv4, what walkToTransport() says of IPv6. */
function transportOf(view: DataView, ip: number): number {
  if (view.getUint16(ip + IPV4.fragment) & (MORE_FRAGMENTS | FRAGMENT_OFFSET_MASK)) return -1
  return ((view.getUint8(ip) & 15) << 10) | view.getUint8(ip + IPV4.protocol)
}

/** Where the checksum is in the transport header; negative: there is none. */
function checksumOffset(protocol: number, length: number): number {
  if (protocol === PROTOCOL_TCP && length >= TCP_HEADER_LENGTH) return TCP.checksum
  if (protocol === PROTOCOL_UDP && length >= UDP_HEADER_LENGTH) return UDP.checksum
  return -1
}
