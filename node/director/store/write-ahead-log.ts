/**
 * A look at LevelDB's write-ahead log before LevelDB opens it.
 *
 * LevelDB drops damaged records of its log without a word, and a director's whole configuration may be in there. A record
 * cut off at the end of the file is no damage: that write was never acknowledged before power was lost.
 *
 * ```
 * A log is blocks of 32 KiB; a block is records, and zeros where no header (7 bytes) fits any more.
 * +----------------------+----------------+----------+----------------+
 * | masked CRC32C (4 LE) | length (2 LE)  | type (1) | data (length)  |
 * +----------------------+----------------+----------+----------------+
 * type: 0 padding, 1 full, 2 first, 3 middle, 4 last. The CRC covers type and data.
 * ```
 * Source: LevelDB doc/log_format.md, util/crc32c.h (the mask); polynomial of RFC 3720 B.4.
 */
const BLOCK_BYTES = 32768
const HEADER_BYTES = 7
const LAST_TYPE = 4

const table = new Uint32Array(256)
for (let byte = 0; byte < 256; byte++) {
  let remainder = byte
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? (remainder >>> 1) ^ 0x82f63b78 : remainder >>> 1
  table[byte] = remainder
}

function maskedCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = table[(crc ^ byte) & 0xff] ^ (crc >>> 8)
  crc = ~crc >>> 0
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

/** Offset of the first record that was written whole and is damaged now; undefined when there is none. */
export function damagedRecord(log: Uint8Array): number | undefined {
  const view = new DataView(log.buffer, log.byteOffset, log.length)
  for (let offset = 0; offset + HEADER_BYTES <= log.length; ) {
    const blockEnd = offset - (offset % BLOCK_BYTES) + BLOCK_BYTES
    if (offset + HEADER_BYTES > blockEnd) {
      offset = blockEnd
      continue
    }
    const length = view.getUint16(offset + 4, true)
    const type = log[offset + 6]
    const end = offset + HEADER_BYTES + length
    if (type === 0 && length === 0) {
      offset = blockEnd
      continue
    }
    if (type > LAST_TYPE || end > blockEnd) return offset
    const isIntact = end <= log.length && view.getUint32(offset, true) === maskedCrc32c(log.subarray(offset + 6, end))
    if (!isIntact) return end >= log.length ? undefined : offset
    offset = end
  }
  return undefined
}
