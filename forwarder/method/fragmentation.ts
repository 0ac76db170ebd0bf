/**
 * Cutting a packet into fragments, when it is longer than the way on and may be cut.
 *
 * Source: RFC 791 section 3.2 (fragmentation procedure), RFC 8200 section 4.5; RFC 2473 section 7 (tunnels of IPv6); Linux net/ipv4/ip_output.c ip_do_fragment() (options that are not to be
 * copied become no-operations in the later fragments, so that all headers are of one length).
 */
import { readUint16, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import {
  DONT_FRAGMENT,
  FRAGMENT_OFFSET_MASK,
  IPV4,
  IPV4_HEADER_LENGTH,
  MORE_FRAGMENTS,
  refreshIPv4Checksum,
} from '../../protocol/packet/ipv4.ts'
import { FRAGMENT, FRAGMENT_HEADER_LENGTH, FRAGMENT_MORE, IPV6, PROTOCOL_FRAGMENT } from '../../protocol/packet/ipv6.ts'
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
 * Cuts the packet into fragments of at most `mtu` bytes with its Ethernet header, each a frame from the pool handed to `emit`. Its
 * transport checksum must be finished. One of IPv4 may be a fragment itself; one of IPv6 is our own, of a tunnel, since nobody on the
 * way may cut another's.
 * @param identification of the fragments of IPv6
 * @returns false when the pool cannot hold them or the MTU leaves no room for data; nothing was emitted then
 */
export function cut(
  frame: Frame,
  headerLength: number,
  mtu: number,
  identification: number,
  pool: FramePool,
  emit: (fragment: PooledFrame) => void,
): boolean {
  const source = frame.memory.bytes
  const isIPv6 = source[frame.start + ETHERNET_HEADER_LENGTH] >> 4 === 6
  const copied = ETHERNET_HEADER_LENGTH + headerLength
  const headers = copied + (isIPv6 ? FRAGMENT_HEADER_LENGTH : 0)
  const payload = frame.length - copied
  // All but the last carry a multiple of eight bytes.
  const size = (ETHERNET_HEADER_LENGTH + mtu - headers) & ~7
  if (size <= 0 || headers + size > pool.maxLength) return false
  const count = Math.ceil(payload / size)
  if (count > pool.free) return false
  for (let number = 0; number < count; number++) {
    const fragment = pool.take() as PooledFrame
    const { bytes } = fragment.memory
    const from = number * size
    const length = Math.min(size, payload - from)
    const dataAt = frame.start + copied + from
    bytes.set(source.subarray(frame.start, frame.start + copied), fragment.start)
    bytes.set(source.subarray(dataAt, dataAt + length), fragment.start + headers)
    fragment.length = headers + length
    const ip = fragment.start + ETHERNET_HEADER_LENGTH
    const isLast = number === count - 1
    if (isIPv6) {
      finishFragment6(bytes, ip, headerLength, length, from, isLast, identification)
    } else {
      finishFragment(bytes, ip, headerLength, length, from, isLast)
      if (number === 0) blankOptions(source, frame.start + ETHERNET_HEADER_LENGTH, headerLength)
    }
    emit(fragment)
  }
  return true
}

/** @param from bytes of data in the fragments before */
function finishFragment(
  bytes: Uint8Array,
  ip: number,
  headerLength: number,
  length: number,
  from: number,
  isLast: boolean,
): void {
  const flags = readUint16(bytes, ip + IPV4.fragment)
  const more = isLast ? flags & MORE_FRAGMENTS : MORE_FRAGMENTS
  writeUint16(bytes, ip + IPV4.totalLength, headerLength + length)
  writeUint16(bytes, ip + IPV4.fragment, more | ((flags & FRAGMENT_OFFSET_MASK) + (from >> 3)))
  refreshIPv4Checksum(bytes, ip, headerLength)
}

/** Writes the fragment header behind an IPv6 header that has no extension headers. */
function finishFragment6(
  bytes: Uint8Array,
  ip: number,
  headerLength: number,
  length: number,
  from: number,
  isLast: boolean,
  identification: number,
): void {
  const header = ip + headerLength
  writeUint16(bytes, ip + IPV6.payloadLength, FRAGMENT_HEADER_LENGTH + length)
  bytes[header + FRAGMENT.nextHeader] = bytes[ip + IPV6.nextHeader]
  bytes[header + FRAGMENT.nextHeader + 1] = 0
  bytes[ip + IPV6.nextHeader] = PROTOCOL_FRAGMENT
  writeUint16(bytes, header + FRAGMENT.offset, isLast ? from : from | FRAGMENT_MORE)
  writeInt32(bytes, header + FRAGMENT.identification, identification)
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
