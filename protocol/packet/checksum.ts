/**
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3).
 *
 * A running sum is an unfolded one's complement sum in a number; fold() makes 16 bits of it. Sums of up to 64 KiB stay
 * below 2^31, so plain integers do.
 */
import { readUint16 } from './bytes.ts'

/** Adds `length` bytes from `at` to a running sum; an odd last byte counts as the high half of a word. */
export function addBytes(sum: number, bytes: Uint8Array, at: number, length: number): number {
  const end = at + (length & ~1)
  for (let i = at; i < end; i += 2) sum += (bytes[i] << 8) | bytes[i + 1]
  return length & 1 ? sum + (bytes[end] << 8) : sum
}

/** Running sum to 16 bits, not complemented. */
export function fold(sum: number): number {
  sum = (sum & 0xffff) + (sum >>> 16)
  return (sum & 0xffff) + (sum >>> 16)
}

/** The checksum field's value for the bytes given; verifying a block that holds its checksum gives 0. */
export function checksum(bytes: Uint8Array, at: number, length: number, initial = 0): number {
  return ~fold(addBytes(initial, bytes, at, length)) & 0xffff
}

/** The running difference that replacing one 16-bit word makes: to be added to ~checksum. */
export function difference16(before: number, after: number): number {
  return (~before & 0xffff) + after
}

/** As difference16 for a 32-bit field, signed or unsigned. */
export function difference32(before: number, after: number): number {
  return (~(before >>> 16) & 0xffff) + (~before & 0xffff) + (after >>> 16) + (after & 0xffff)
}

/** A finished checksum after a running difference: HC' = ~(~HC + ~m + m'). */
export function updateChecksum(checksumBefore: number, difference: number): number {
  return ~fold((~checksumBefore & 0xffff) + difference) & 0xffff
}

/** Running sum of the IPv4 pseudo-header (RFC 9293 section 3.1) of the packet whose IP header is at `ip`. */
export function pseudoHeaderSum(bytes: Uint8Array, ip: number, protocol: number, transportLength: number): number {
  return (
    readUint16(bytes, ip + 12) +
    readUint16(bytes, ip + 14) +
    readUint16(bytes, ip + 16) +
    readUint16(bytes, ip + 18) +
    protocol +
    transportLength
  )
}
