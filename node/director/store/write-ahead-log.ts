/**
 * LevelDB's log format, of its write-ahead log and of its manifest, read without LevelDB: which drops damaged records without a
 * word, and whatever follows them in their block.
 *
 * ```
 * A log is blocks of 32 KiB; a block is fragments of records, and zeros where no header (7 bytes) fits any more.
 * +----------------------+----------------+----------+----------------+
 * | masked CRC32C (4 LE) | length (2 LE)  | type (1) | data (length)  |
 * +----------------------+----------------+----------+----------------+
 * type: 1 full, 2 first, 3 middle, 4 last. The CRC covers type and data.
 * ```
 * A record is written when the one before it is on the disk. So whatever is wrong with the last record, cut off or not there in
 * parts, a loss of power does that to one that was never acknowledged; with a later record behind it, it is damage.
 *
 * Source: LevelDB doc/log_format.md.
 */
import { maskedCrc32c } from './crc32c.ts'

const BLOCK_BYTES = 32768
const HEADER_BYTES = 7
const [FULL, FIRST, LAST] = [1, 2, 4]

export interface LogRecord {
  readonly data: Uint8Array
  /** By its checksums. */
  readonly isWhole: boolean
}

export interface LogContents {
  /** In their order. A record without end, which was never acknowledged, is none of them. */
  readonly records: readonly LogRecord[]
  /** Offset of the first record that was acknowledged and is damaged. */
  readonly damagedAt: number | undefined
}

interface Fragment {
  readonly type: number
  readonly data: Uint8Array
  readonly end: number
  readonly isWhole: boolean
}

export function readLog(log: Uint8Array): LogContents {
  const records: LogRecord[] = []
  let begun: { readonly at: number; readonly parts: Uint8Array[] } | undefined
  /** What is wrong and may be the end. */
  let wrongAt: number | undefined
  let wrong: LogRecord[] = []
  let damagedAt: number | undefined
  const takeAsWrong = (at: number) => {
    wrongAt ??= at
    begun = undefined
  }
  for (let at = 0; at + HEADER_BYTES <= log.length; ) {
    const blockEnd = at - (at % BLOCK_BYTES) + BLOCK_BYTES
    const fragment = fragmentAt(log, at, blockEnd)
    if (!fragment?.isWhole) {
      if (at + HEADER_BYTES <= blockEnd) takeAsWrong(at)
      if (fragment?.type === FULL) wrong.push({ data: fragment.data, isWhole: false })
      at = nextWhole(log, at + 1, blockEnd)
      continue
    }
    const { type, data, end } = fragment
    if (type === FULL || type === FIRST) {
      if (begun) takeAsWrong(begun.at)
      damagedAt ??= wrongAt
      records.push(...wrong)
      wrong = []
      begun = type === FIRST ? { at, parts: [data] } : undefined
      if (type === FULL) records.push({ data, isWhole: true })
    } else if (begun) {
      begun.parts.push(data)
      if (type === LAST) {
        records.push({ data: Buffer.concat(begun.parts), isWhole: true })
        begun = undefined
      }
    } else takeAsWrong(at)
    at = end
  }
  return { records, damagedAt }
}

/** undefined: there cannot be one. */
function fragmentAt(log: Uint8Array, at: number, blockEnd: number): Fragment | undefined {
  if (at + HEADER_BYTES > Math.min(blockEnd, log.length)) return undefined
  const view = new DataView(log.buffer, log.byteOffset + at, HEADER_BYTES)
  const type = view.getUint8(6)
  const end = at + HEADER_BYTES + view.getUint16(4, true)
  if (type < FULL || type > LAST || end > Math.min(blockEnd, log.length)) return undefined
  const isWhole = view.getUint32(0, true) === maskedCrc32c(log.subarray(at + HEADER_BYTES - 1, end))
  return { type, data: log.subarray(at + HEADER_BYTES, end), end, isWhole }
}

/** The next place in the block with a whole fragment, or the block's end: a length that is wrong leads nowhere. */
function nextWhole(log: Uint8Array, from: number, blockEnd: number): number {
  for (let at = from; at + HEADER_BYTES <= Math.min(blockEnd, log.length); at++) {
    if (fragmentAt(log, at, blockEnd)?.isWhole) return at
  }
  return blockEnd
}
