/**
 * What a network card would have done: finishing a transport checksum, cutting a large TCP frame into segments and a large UDP
 * frame into datagrams. Needed when a packet goes into a tunnel, where the card behind the tunnel cannot see it any more.
 *
 * Source: struct virtio_net_hdr in linux/virtio_net.h; Linux net/ipv4/tcp_offload.c tcp_gso_segment(),
 * net/ipv4/udp_offload.c __udp_gso_segment().
 */
import { readInt32, readUint16, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum } from '../../protocol/packet/checksum.ts'
import * as ethernet from '../../protocol/packet/ethernet.ts'
import { IPV4, PROTOCOL_TCP, PROTOCOL_UDP, refreshIPv4Checksum } from '../../protocol/packet/ipv4.ts'
import { IPV6, IPV6_HEADER_LENGTH } from '../../protocol/packet/ipv6.ts'
import { pseudoHeaderSumOf } from '../../protocol/packet/pseudo-header.ts'
import { SCTP, sctpChecksum } from '../../protocol/packet/sctp.ts'
import { TCP, TCP_CWR, TCP_FIN, TCP_HEADER_LENGTH, TCP_PSH, tcpHeaderLength } from '../../protocol/packet/tcp.ts'
import { UDP, UDP_HEADER_LENGTH } from '../../protocol/packet/udp.ts'
import type { FramePool, PooledFrame } from '../engine/frame-pool.ts'
import type { Frame } from '../link/link.ts'
import * as link from '../link/link.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { ETHERNET_HEADER_LENGTH } = ethernet
const { VNET_CHECKSUM_START, VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_GSO_UDP_L4 } = link
const { VNET_HEADER_LENGTH, VNET_NEEDS_CSUM } = link

/** A bit beside the type of segmentation: congestion was marked (VIRTIO_NET_HDR_GSO_ECN). */
const GSO_ECN = 0x80

/** Whether the frame's transport checksum is still to be finished. */
export function hasUnfinishedChecksum(frame: Frame): boolean {
  return (frame.memory.bytes[frame.start - VNET_HEADER_LENGTH] & VNET_NEEDS_CSUM) !== 0
}

/**
 * Whether the unfinished checksum is that of the header at `transport`: in what a tunnel's end has sent (VXLAN, GUE) it may be of a
 * packet inside, and the one here is finished, or none.
 */
export function isTransportUnfinished(frame: Frame, transport: number): boolean {
  if (!hasUnfinishedChecksum(frame)) return false
  const { bytes } = frame.memory
  const at = frame.start - VNET_HEADER_LENGTH + VNET_CHECKSUM_START
  return (bytes[at] | (bytes[at + 1] << 8)) === transport - frame.start
}

/** Payload bytes of each segment when the frame is longer than the wire allows; 0 when it is an ordinary frame. */
export function segmentSize(frame: Frame): number {
  const header = frame.start - VNET_HEADER_LENGTH
  const bytes = frame.memory.bytes
  return bytes[header + 1] === VNET_GSO_NONE ? 0 : bytes[header + 4] | (bytes[header + 5] << 8)
}

/**
 * IP length of what will be on the wire: the packet, or one segment when it is to be cut.
 * @param headerLength of the IP header and its extension headers
 */
export function wireLength(frame: Frame, headerLength: number, protocol: number): number {
  const size = segmentSize(frame)
  if (size === 0) return frame.length - ETHERNET_HEADER_LENGTH
  const transport = frame.start + ETHERNET_HEADER_LENGTH + headerLength
  const isTcp = protocol === PROTOCOL_TCP
  return headerLength + (isTcp ? tcpHeaderLength(frame.memory.bytes, transport) : UDP_HEADER_LENGTH) + size
}

/** Clears the virtio header: nothing is left for anybody to finish. */
export function clearOffload(frame: Frame): void {
  const view = frame.memory.view
  const header = frame.start - VNET_HEADER_LENGTH
  // Ten bytes: for so few, fill() costs more than the stores.
  view.setInt32(header, 0)
  view.setInt32(header + 4, 0)
  view.setUint16(header + 8, 0)
}

/** The frame is an ordinary one: it need not be cut, its checksum may still be unfinished. */
export function clearSegmentation(frame: Frame): void {
  const { bytes } = frame.memory
  const header = frame.start - VNET_HEADER_LENGTH
  bytes[header + 1] = VNET_GSO_NONE
  bytes[header + 4] = 0
  bytes[header + 5] = 0
}

/** Whether the checksum that the virtio header speaks of lies in the packet. */
export function checksumIsInside(frame: Frame): boolean {
  const view = frame.memory.view
  const header = frame.start - VNET_HEADER_LENGTH
  const from = view.getUint16(header + 6, true)
  return from >= ETHERNET_HEADER_LENGTH && from + view.getUint16(header + 8, true) + 2 <= frame.length
}

/** Finishes the transport checksum in place. False when the virtio header points outside the packet. */
export function finishChecksum(frame: Frame): boolean {
  if (!checksumIsInside(frame)) return false
  const bytes = frame.memory.bytes
  const header = frame.start - VNET_HEADER_LENGTH
  const from = bytes[header + 6] | (bytes[header + 7] << 8)
  const field = from + (bytes[header + 8] | (bytes[header + 9] << 8))
  const at = frame.start + field
  const value = checksum(bytes, frame.start + from, frame.length - from)
  // Only UDP has a checksum of 0 mean something else (RFC 768).
  writeUint16(bytes, at, value === 0 && field - from === UDP.checksum ? 0xffff : value)
  clearOffload(frame)
  return true
}

/** As finishChecksum() for SCTP, whose checksum has nothing to do with the one that the virtio header speaks of. */
export function finishSctpChecksum(frame: Frame, sctp: number): void {
  const view = frame.memory.view
  view.setInt32(sctp + SCTP.checksum, sctpChecksum(view, sctp, frame.start + frame.length - sctp))
  clearOffload(frame)
}

/** Bytes of the transport header of a frame that segment() can cut: TCP or UDP with data behind it. 0 when it cannot. */
export function cuttableHeaderLength(frame: Frame, headerLength: number, protocol: number): number {
  const bytes = frame.memory.bytes
  const type = bytes[frame.start - VNET_HEADER_LENGTH + 1] & ~GSO_ECN
  const ip = frame.start + ETHERNET_HEADER_LENGTH
  const tcpType = bytes[ip] >> 4 === 6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4
  let length = 0
  if (type === tcpType && protocol === PROTOCOL_TCP) length = tcpHeaderLength(bytes, ip + headerLength)
  else if (type === VNET_GSO_UDP_L4 && protocol === PROTOCOL_UDP) length = UDP_HEADER_LENGTH
  if (protocol === PROTOCOL_TCP && length < TCP_HEADER_LENGTH) return 0
  return frame.length > ETHERNET_HEADER_LENGTH + headerLength + length ? length : 0
}

/**
 * Cuts such a frame, of either family, into packets with finished checksums, each a frame from the pool handed to `emit`.
 * @param headerLength of the IP header and its extension headers
 * @param transportLength what cuttableHeaderLength() said
 * @returns false when the pool cannot hold them. Nothing was emitted then, unless `emit` has taken from the pool itself
 */
export function segment(
  frame: Frame,
  headerLength: number,
  protocol: number,
  transportLength: number,
  pool: FramePool,
  emit: (segment: PooledFrame) => void,
): boolean {
  const source = frame.memory.bytes
  const size = segmentSize(frame)
  const headers = ETHERNET_HEADER_LENGTH + headerLength + transportLength
  const payload = frame.length - headers
  if (headers + size > pool.maxLength) return false
  const count = Math.ceil(payload / size)
  if (count > pool.free) return false
  const isIPv6 = source[frame.start + ETHERNET_HEADER_LENGTH] >> 4 === 6
  for (let number = 0; number < count; number++) {
    const packet = pool.take()
    if (packet === undefined) return false
    const { bytes } = packet.memory
    const from = number * size
    const length = Math.min(size, payload - from)
    const dataAt = frame.start + headers + from
    bytes.set(source.subarray(frame.start, frame.start + headers), packet.start)
    bytes.set(source.subarray(dataAt, dataAt + length), packet.start + headers)
    packet.length = headers + length
    const ip = packet.start + ETHERNET_HEADER_LENGTH
    if (isIPv6) {
      writeUint16(bytes, ip + IPV6.payloadLength, packet.length - ETHERNET_HEADER_LENGTH - IPV6_HEADER_LENGTH)
    } else {
      writeUint16(bytes, ip + IPV4.totalLength, packet.length - ETHERNET_HEADER_LENGTH)
      writeUint16(bytes, ip + IPV4.identification, readUint16(bytes, ip + IPV4.identification) + number)
      refreshIPv4Checksum(bytes, ip, headerLength)
    }
    const transport = ip + headerLength
    const end = packet.start + packet.length
    if (protocol === PROTOCOL_TCP) finishTcpSegment(bytes, ip, transport, end, from, number === count - 1)
    else finishDatagram(bytes, ip, transport, end)
    emit(packet)
  }
  return true
}

/** @param from bytes of data in the segments before */
function finishTcpSegment(
  bytes: Uint8Array,
  ip: number,
  tcp: number,
  end: number,
  from: number,
  isLast: boolean,
): void {
  writeInt32(bytes, tcp + TCP.sequence, readInt32(bytes, tcp + TCP.sequence) + from)
  if (!isLast) bytes[tcp + TCP.flags] &= ~(TCP_FIN | TCP_PSH)
  if (from > 0) bytes[tcp + TCP.flags] &= ~TCP_CWR
  writeUint16(bytes, tcp + TCP.checksum, 0)
  const initial = pseudoHeaderSumOf(bytes, ip, PROTOCOL_TCP, end - tcp)
  writeUint16(bytes, tcp + TCP.checksum, checksum(bytes, tcp, end - tcp, initial))
}

/** Each is a datagram of its own. */
function finishDatagram(bytes: Uint8Array, ip: number, udp: number, end: number): void {
  writeUint16(bytes, udp + UDP.length, end - udp)
  writeUint16(bytes, udp + UDP.checksum, 0)
  const initial = pseudoHeaderSumOf(bytes, ip, PROTOCOL_UDP, end - udp)
  writeUint16(bytes, udp + UDP.checksum, checksum(bytes, udp, end - udp, initial) || 0xffff)
}
