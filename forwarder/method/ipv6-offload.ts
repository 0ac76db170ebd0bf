/** What a network card would have done with an IPv6 frame: as offload.ts, where the protocol and the header's length differ. */
import { readInt32, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum } from '../../protocol/packet/checksum.ts'
import * as ethernet from '../../protocol/packet/ethernet.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import { IPV6, IPV6_HEADER_LENGTH, pseudoHeaderSumIPv6 } from '../../protocol/packet/ipv6.ts'
import { TCP, TCP_CWR, TCP_FIN, TCP_PSH, tcpHeaderLength } from '../../protocol/packet/tcp.ts'
import * as udp from '../../protocol/packet/udp.ts'
import type { FramePool, PooledFrame } from '../engine/frame-pool.ts'
import type { Frame } from '../link/link.ts'
import * as offload from './offload.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { ETHERNET_HEADER_LENGTH } = ethernet
const { PROTOCOL_TCP, PROTOCOL_UDP } = ipv4
const { UDP, UDP_HEADER_LENGTH } = udp
const { segmentSize } = offload

/**
 * IP length of what will be on the wire: the packet, or one segment when it is to be cut.
 * @param headerLength of the IPv6 header and its extension headers
 */
export function wireLength6(frame: Frame, headerLength: number, protocol: number): number {
  const size = segmentSize(frame)
  if (size === 0) return frame.length - ETHERNET_HEADER_LENGTH
  const transport = frame.start + ETHERNET_HEADER_LENGTH + headerLength
  const isTcp = protocol === PROTOCOL_TCP
  return headerLength + (isTcp ? tcpHeaderLength(frame.memory.bytes, transport) : UDP_HEADER_LENGTH) + size
}

/**
 * Cuts a frame that is longer than the wire allows into packets with finished checksums, each a frame from the pool handed to `emit`.
 * @param transportLength what cuttableHeaderLength() said
 * @returns false when the pool cannot hold them; nothing was emitted then
 */
export function segment6(
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
  for (let number = 0; number < count; number++) {
    const packet = pool.take() as PooledFrame
    const { bytes } = packet.memory
    const from = number * size
    const length = Math.min(size, payload - from)
    const dataAt = frame.start + headers + from
    bytes.set(source.subarray(frame.start, frame.start + headers), packet.start)
    bytes.set(source.subarray(dataAt, dataAt + length), packet.start + headers)
    packet.length = headers + length
    const ip = packet.start + ETHERNET_HEADER_LENGTH
    const transport = ip + headerLength
    const end = packet.start + packet.length
    writeUint16(bytes, ip + IPV6.payloadLength, end - ip - IPV6_HEADER_LENGTH)
    if (protocol === PROTOCOL_TCP) {
      writeInt32(bytes, transport + TCP.sequence, readInt32(bytes, transport + TCP.sequence) + from)
      if (number < count - 1) bytes[transport + TCP.flags] &= ~(TCP_FIN | TCP_PSH)
      if (number > 0) bytes[transport + TCP.flags] &= ~TCP_CWR
    } else {
      writeUint16(bytes, transport + UDP.length, end - transport)
    }
    const field = transport + (protocol === PROTOCOL_TCP ? TCP.checksum : UDP.checksum)
    writeUint16(bytes, field, 0)
    const initial = pseudoHeaderSumIPv6(bytes, ip, protocol, end - transport)
    const value = checksum(bytes, transport, end - transport, initial)
    writeUint16(bytes, field, protocol === PROTOCOL_UDP ? value || 0xffff : value)
    emit(packet)
  }
  return true
}
