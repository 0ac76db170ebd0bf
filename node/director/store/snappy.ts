/**
 * Snappy, with which LevelDB compresses its tables' blocks: uncompressing alone.
 *
 * ```
 * varint: length of the whole, then elements:
 * llllll00 [1-4 bytes]    literal of l+1 bytes; l of 60 to 63: l is in the next 1 to 4 bytes (LE)
 * ooolll01 oooooooo       copy of l+4 bytes from o bytes back
 * llllll10 2 bytes (LE)   copy of l+1 bytes from so far back
 * llllll11 4 bytes (LE)   the same
 * ```
 * Source: Snappy format_description.txt.
 */
import { ByteReader } from './byte-reader.ts'

/** The most that an element makes of a byte, and then some. */
const EXPANSION_MAX = 32

/** What there is before the first element that cannot be right. */
export function uncompress(bytes: Uint8Array): Uint8Array {
  const reader = new ByteReader(bytes)
  let output = new Uint8Array()
  let length = 0
  try {
    output = new Uint8Array(Math.min(reader.varint(), bytes.length * EXPANSION_MAX))
    while (reader.left > 0) {
      const tag = reader.byte()
      const upper = tag >>> 2
      if ((tag & 3) === 0) {
        const literal = (upper < 60 ? upper : reader.fixed(upper - 59)) + 1
        if (length + literal > output.length) break
        reader.takeInto(output, length, literal)
        length += literal
        continue
      }
      const isShort = (tag & 3) === 1
      const back = isShort ? (tag >>> 5) * 256 + reader.byte() : reader.fixed((tag & 3) === 2 ? 2 : 4)
      const count = isShort ? (upper & 7) + 4 : upper + 1
      if (back === 0 || back > length || length + count > output.length) break
      // Byte by byte: what is copied may be what the copy itself has just written.
      for (const end = length + count; length < end; length++) output[length] = output[length - back]
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
  }
  return output.subarray(0, length)
}
