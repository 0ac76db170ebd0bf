/**
 * What a network card would have done: finishing a transport checksum and cutting a large TCP frame into segments. Needed
 * when a packet goes into a tunnel, where the card behind the tunnel cannot see it any more.
 *
 * Source: struct virtio_net_hdr in linux/virtio_net.h; Linux net/ipv4/tcp_offload.c tcp_gso_segment().
 */
import { readInt32, readUint16, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum, pseudoHeaderSum } from '../../protocol/packet/checksum.ts'
import * as ethernet from '../../protocol/packet/ethernet.ts'
import { IPV4, PROTOCOL_TCP, refreshIPv4Checksum } from '../../protocol/packet/ipv4.ts'
import { SCTP, sctpChecksum } from '../../protocol/packet/sctp.ts'
import { TCP, TCP_CWR, TCP_FIN, TCP_HEADER_LENGTH, TCP_PSH, tcpHeaderLength } from '../../protocol/packet/tcp.ts'
import { UDP, UDP_HEADER_LENGTH } from '../../protocol/packet/udp.ts'
import type { FramePool, PooledFrame } from '../engine/frame-pool.ts'
import type { Frame } from '../link/link.ts'
import * as link from '../link/link.ts'

// Names of this module's own, for speed: see engine.ts.
const { ETHERNET_HEADER_LENGTH } = ethernet
const { VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_HEADER_LENGTH, VNET_NEEDS_CSUM } = link

/** Whether the frame's transport checksum is still to be finished. */
export function hasUnfinishedChecksum(frame: Frame): boolean {
  return (frame.memory.bytes[frame.start - VNET_HEADER_LENGTH] & VNET_NEEDS_CSUM) !== 0
}

/** Payload bytes of each segment when the frame is longer than the wire allows; 0 when it is an ordinary frame. */
export function segmentSize(frame: Frame): number {
  const header = frame.start - VNET_HEADER_LENGTH
  const bytes = frame.memory.bytes
  return bytes[header + 1] === VNET_GSO_NONE ? 0 : bytes[header + 4] | (bytes[header + 5] << 8)
}

/** IP length of what will be on the wire: the packet, or one segment when it is to be cut. */
export function wireLength(frame: Frame, ipHeaderLength: number): number {
  const size = segmentSize(frame)
  if (size === 0) return frame.length - ETHERNET_HEADER_LENGTH
  const bytes = frame.memory.bytes
  const ip = frame.start + ETHERNET_HEADER_LENGTH
  const isTcp = bytes[ip + IPV4.protocol] === PROTOCOL_TCP
  return ipHeaderLength + (isTcp ? tcpHeaderLength(bytes, ip + ipHeaderLength) : UDP_HEADER_LENGTH) + size
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

/** Finishes the transport checksum in place. False when the virtio header points outside the frame. */
export function finishChecksum(frame: Frame): boolean {
  const bytes = frame.memory.bytes
  const header = frame.start - VNET_HEADER_LENGTH
  const from = bytes[header + 6] | (bytes[header + 7] << 8)
  const field = from + (bytes[header + 8] | (bytes[header + 9] << 8))
  if (field + 2 > frame.length) return false
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

/** Whether a frame that is longer than the wire allows is IPv4 TCP with data, which segmentTcp() can cut. */
export function isTcpToSegment(frame: Frame, ipHeaderLength: number): boolean {
  const bytes = frame.memory.bytes
  const ip = frame.start + ETHERNET_HEADER_LENGTH
  const tcpLength = tcpHeaderLength(bytes, ip + ipHeaderLength)
  return (
    (bytes[frame.start - VNET_HEADER_LENGTH + 1] & 0x7f) === VNET_GSO_TCPV4 &&
    bytes[ip + IPV4.protocol] === PROTOCOL_TCP &&
    tcpLength >= TCP_HEADER_LENGTH &&
    frame.length > ETHERNET_HEADER_LENGTH + ipHeaderLength + tcpLength
  )
}

/**
 * Cuts such a frame into segments with finished checksums, each a frame from the pool handed to `emit`.
 * @returns false when the pool cannot hold them; nothing was emitted then
 */
export function segmentTcp(
  frame: Frame,
  ipHeaderLength: number,
  pool: FramePool,
  emit: (segment: PooledFrame) => void,
): boolean {
  const source = frame.memory.bytes
  const size = segmentSize(frame)
  const ip = frame.start + ETHERNET_HEADER_LENGTH
  const tcp = ip + ipHeaderLength
  const headers = ETHERNET_HEADER_LENGTH + ipHeaderLength + tcpHeaderLength(source, tcp)
  const payload = frame.length - headers
  if (headers + size > pool.maxLength) return false
  const count = Math.ceil(payload / size)
  if (count > pool.free) return false
  const sequence = readInt32(source, tcp + TCP.sequence)
  const identification = readUint16(source, ip + IPV4.identification)
  for (let number = 0; number < count; number++) {
    const segment = pool.take() as PooledFrame
    const bytes = segment.memory.bytes
    const from = number * size
    const length = Math.min(size, payload - from)
    bytes.set(source.subarray(frame.start, frame.start + headers), segment.start)
    const dataAt = frame.start + headers + from
    bytes.set(source.subarray(dataAt, dataAt + length), segment.start + headers)
    segment.length = headers + length
    const segmentIp = segment.start + ETHERNET_HEADER_LENGTH
    const segmentTcp = segmentIp + ipHeaderLength
    writeUint16(bytes, segmentIp + IPV4.totalLength, segment.length - ETHERNET_HEADER_LENGTH)
    writeUint16(bytes, segmentIp + IPV4.identification, identification + number)
    refreshIPv4Checksum(bytes, segmentIp, ipHeaderLength)
    writeInt32(bytes, segmentTcp + TCP.sequence, sequence + from)
    if (number < count - 1) bytes[segmentTcp + TCP.flags] &= ~(TCP_FIN | TCP_PSH)
    if (number > 0) bytes[segmentTcp + TCP.flags] &= ~TCP_CWR
    const tcpLength = segment.length - ETHERNET_HEADER_LENGTH - ipHeaderLength
    writeUint16(bytes, segmentTcp + TCP.checksum, 0)
    const initial = pseudoHeaderSum(bytes, segmentIp, PROTOCOL_TCP, tcpLength)
    writeUint16(bytes, segmentTcp + TCP.checksum, checksum(bytes, segmentTcp, tcpLength, initial))
    emit(segment)
  }
  return true
}
