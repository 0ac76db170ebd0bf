/**
 * Cutting an IPv4 packet into fragments, when it is longer than the way on and may be cut.
 *
 * Source: RFC 791 section 3.2 (fragmentation procedure); Linux net/ipv4/ip_output.c ip_do_fragment() (options that are not to be
 * copied become no-operations in the later fragments, so that all headers are of one length).
 */
import { readUint16, writeUint16 } from '../../protocol/packet/bytes.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import {
  DONT_FRAGMENT,
  FRAGMENT_OFFSET_MASK,
  IPV4,
  IPV4_HEADER_LENGTH,
  MORE_FRAGMENTS,
  refreshIPv4Checksum,
} from '../../protocol/packet/ipv4.ts'
import type { FramePool, PooledFrame } from '../engine/frame-pool.ts'
import type { Frame } from '../link/link.ts'
import { segmentSize } from './offload.ts'

const OPTION_END = 0
const OPTION_NO_OPERATION = 1
const OPTION_IS_COPIED = 0x80

/** Whether the frame is one packet whose sender has not forbidden to cut it. */
export function mayBeCut(frame: Frame): boolean {
  const flags = frame.memory.view.getUint16(frame.start + ETHERNET_HEADER_LENGTH + IPV4.fragment)
  return (flags & DONT_FRAGMENT) === 0 && segmentSize(frame) === 0
}

/**
 * Cuts the packet, which may be a fragment itself, into fragments of at most `mtu` bytes with its Ethernet header, each a frame
 * from the pool handed to `emit`. Its transport checksum must be finished.
 * @returns false when the pool cannot hold them or the MTU leaves no room for data; nothing was emitted then
 */
export function cut(
  frame: Frame,
  headerLength: number,
  mtu: number,
  pool: FramePool,
  emit: (fragment: PooledFrame) => void,
): boolean {
  const source = frame.memory.bytes
  const headers = ETHERNET_HEADER_LENGTH + headerLength
  const payload = frame.length - headers
  // All but the last carry a multiple of eight bytes.
  const size = (mtu - headerLength) & ~7
  if (size <= 0 || headers + size > pool.maxLength) return false
  const count = Math.ceil(payload / size)
  if (count > pool.free) return false
  const flags = readUint16(source, frame.start + ETHERNET_HEADER_LENGTH + IPV4.fragment)
  for (let number = 0; number < count; number++) {
    const fragment = pool.take() as PooledFrame
    const bytes = fragment.memory.bytes
    const from = number * size
    const length = Math.min(size, payload - from)
    const ip = fragment.start + ETHERNET_HEADER_LENGTH
    const dataAt = frame.start + headers + from
    bytes.set(source.subarray(frame.start, frame.start + headers), fragment.start)
    bytes.set(source.subarray(dataAt, dataAt + length), fragment.start + headers)
    fragment.length = headers + length
    if (number === 0) blankOptions(source, frame.start + ETHERNET_HEADER_LENGTH, headerLength)
    const more = number < count - 1 ? MORE_FRAGMENTS : flags & MORE_FRAGMENTS
    writeUint16(bytes, ip + IPV4.totalLength, headerLength + length)
    writeUint16(bytes, ip + IPV4.fragment, more | ((flags & FRAGMENT_OFFSET_MASK) + (from >> 3)))
    refreshIPv4Checksum(bytes, ip, headerLength)
    emit(fragment)
  }
  return true
}

/** Leaves only the options that every fragment has. */
function blankOptions(bytes: Uint8Array, ip: number, headerLength: number): void {
  const end = ip + headerLength
  for (let at = ip + IPV4_HEADER_LENGTH; at < end && bytes[at] !== OPTION_END; ) {
    const length = bytes[at] === OPTION_NO_OPERATION ? 1 : bytes[at + 1]
    // What makes no sense is left as it is.
    if (length < 1 || (length === 1 && bytes[at] !== OPTION_NO_OPERATION) || at + length > end) return
    if ((bytes[at] & OPTION_IS_COPIED) === 0) bytes.fill(OPTION_NO_OPERATION, at, at + length)
    at += length
  }
}
