/**
 * Lowering the maximum segment size that a SYN announces (RFC 9293 section 3.7.1), so that no packet is made that the way, or a
 * tunnel on it, cannot carry. Known as MSS clamping; Linux net/netfilter/xt_TCPMSS.c.
 */
import { difference16, updateChecksum } from '../../protocol/packet/checksum.ts'
import { TCP, TCP_HEADER_LENGTH } from '../../protocol/packet/tcp.ts'

const OPTION_END = 0
const OPTION_NO_OPERATION = 1
const OPTION_SEGMENT_SIZE = 2
const SEGMENT_SIZE_LENGTH = 4

/**
 * A SYN that names no size is left alone: its receiver then takes the smallest, which fits everywhere.
 * @param tcp offset of the TCP header
 * @param end of the packet
 * @param most the largest size that may stay
 * @param unfinished the checksum holds only the pseudo-header's sum, so it does not know of options
 */
export function lowerSegmentSize(view: DataView, tcp: number, end: number, most: number, unfinished: boolean): void {
  const headerEnd = Math.min(end, tcp + ((view.getUint8(tcp + TCP.dataOffset) >> 4) << 2))
  for (let at = tcp + TCP_HEADER_LENGTH; at + SEGMENT_SIZE_LENGTH <= headerEnd; ) {
    const kind = view.getUint8(at)
    if (kind === OPTION_END) return
    const length = kind === OPTION_NO_OPERATION ? 1 : view.getUint8(at + 1)
    if (kind === OPTION_SEGMENT_SIZE && length === SEGMENT_SIZE_LENGTH) {
      lower(view, tcp, at + 2, most, unfinished)
      return
    }
    // A length that cannot be would keep us here for ever.
    if (length < 2 && kind !== OPTION_NO_OPERATION) return
    at += length
  }
}

function lower(view: DataView, tcp: number, at: number, most: number, unfinished: boolean): void {
  const before = view.getUint16(at)
  if (before <= most) return
  view.setUint16(at, most)
  if (unfinished) return
  // Behind an odd number of no-operations its bytes belong to two words of the sum, the other way round.
  const isOdd = ((at - tcp) & 1) === 1
  const difference = isOdd ? difference16(swap(before), swap(most)) : difference16(before, most)
  const checksum = view.getUint16(tcp + TCP.checksum)
  view.setUint16(tcp + TCP.checksum, updateChecksum(checksum, difference))
}

function swap(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8)
}
