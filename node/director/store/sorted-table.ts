/**
 * LevelDB's tables (.ldb), read without LevelDB, which checks no checksum of theirs unless it is told to.
 *
 * ```
 * A table: data blocks, then blocks about them (filter, metaindex, index), then the footer of 48 bytes:
 * metaindex handle, index handle (a handle is two varints, offset and length), padding, magic number (8 bytes).
 *
 * A block as it is stored:
 * +------------------+---------------------------+----------------------+
 * | contents         | 0 plain, 1 Snappy (1)     | masked CRC32C (4 LE) |  the CRC covers contents and type
 * +------------------+---------------------------+----------------------+
 * Its contents: entries, then offsets of some of them (4 LE each) and their number (4 LE). An entry, of three varints and bytes:
 * +--------------------------------+------------+--------------+----------------------+-------+
 * | length shared with the last key | key length | value length | the rest of the key  | value |
 * +--------------------------------+------------+--------------+----------------------+-------+
 * ```
 * Source: LevelDB doc/table_format.md, table/format.cc.
 */
import { ByteReader } from './byte-reader.ts'
import { CRC_SEED, extendCrc, maskCrc, maskedCrc32c } from './crc32c.ts'
import { uncompress } from './snappy.ts'

const FOOTER_BYTES = 48
const MAGIC = Buffer.from('57fb808b247547db', 'hex')
const TRAILER_BYTES = 5
const SNAPPY = 1

export interface TableBlock {
  /** Offset in the file. */
  readonly at: number
  readonly contents: Uint8Array
  /**
   * By its checksum. Without an index blocks are found by theirs, and what is found may be about blocks itself: its values are
   * not those of a store.
   */
  readonly kind: 'whole' | 'found' | 'damaged'
}

interface Handle {
  readonly at: number
  readonly length: number
}

/** The data blocks, and damaged ones of any kind. */
export function* readTable(file: Uint8Array): Generator<TableBlock> {
  const about = blocksAbout(file)
  if (!about) {
    yield { at: Math.max(0, file.length - FOOTER_BYTES), contents: new Uint8Array(), kind: 'damaged' }
    yield* find(file)
    return
  }
  for (const handle of about.filters) {
    if (!isWhole(file, handle)) yield { at: handle.at, contents: new Uint8Array(), kind: 'damaged' }
  }
  for (const handle of about.data) {
    const kind = isWhole(file, handle) ? 'whole' : 'damaged'
    yield { at: handle.at, contents: contentsOf(file, handle), kind }
  }
}

/** Keys are LevelDB's own, with the sequence number and the type behind them. Ends before the first that cannot be right. */
export function* blockEntries(contents: Uint8Array): Generator<readonly [key: Uint8Array, value: Uint8Array]> {
  const reader = new ByteReader(contents.subarray(0, entriesEnd(contents)))
  let key = new Uint8Array()
  try {
    while (reader.left > 0) {
      const shared = reader.varint()
      const length = reader.varint()
      const valueLength = reader.varint()
      if (shared > key.length) return
      key = Buffer.concat([key.subarray(0, shared), reader.take(length)])
      yield [key, reader.take(valueLength)]
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
  }
}

function entriesEnd(contents: Uint8Array): number {
  if (contents.length < 4) return contents.length
  const restarts = new DataView(contents.buffer, contents.byteOffset).getUint32(contents.length - 4, true)
  const end = contents.length - 4 - 4 * restarts
  return end < 0 ? contents.length : end
}

/** Where the blocks are; undefined when that can no longer be read. */
function blocksAbout(file: Uint8Array): { data: Handle[]; filters: Handle[] } | undefined {
  const footer = file.subarray(-FOOTER_BYTES)
  if (file.length < FOOTER_BYTES || !MAGIC.equals(footer.subarray(-MAGIC.length))) return undefined
  try {
    const reader = new ByteReader(footer)
    const [metaindex, index] = [readHandle(reader), readHandle(reader)]
    if (!isWhole(file, metaindex) || !isWhole(file, index)) return undefined
    const [filters, data] = [metaindex, index].map((handle) =>
      blockEntries(contentsOf(file, handle))
        .map(([, value]) => readHandle(new ByteReader(value)))
        .toArray(),
    )
    return { data, filters }
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function readHandle(reader: ByteReader): Handle {
  return { at: reader.varint(), length: reader.varint() }
}

function isWhole(file: Uint8Array, { at, length }: Handle): boolean {
  const end = at + length
  if (end + TRAILER_BYTES > file.length) return false
  return storedCrc(file, end + 1) === maskedCrc32c(file.subarray(at, end + 1))
}

function contentsOf(file: Uint8Array, { at, length }: Handle): Uint8Array {
  const stored = file.subarray(at, at + length)
  return file[at + length] === SNAPPY ? uncompress(stored) : stored
}

function storedCrc(file: Uint8Array, at: number): number {
  return new DataView(file.buffer, file.byteOffset).getUint32(at, true)
}

/** Blocks follow each other from the file's beginning: one ends where the checksum of all that it has is behind it. */
function* find(file: Uint8Array): Generator<TableBlock> {
  let at = 0
  let state = CRC_SEED
  for (let end = 0; end + TRAILER_BYTES <= file.length; end++) {
    state = extendCrc(state, file[end])
    if (file[end] > SNAPPY || storedCrc(file, end + 1) !== maskCrc(state)) continue
    yield { at, contents: contentsOf(file, { at, length: end - at }), kind: 'found' }
    at = end + TRAILER_BYTES
    end = at - 1
    state = CRC_SEED
  }
}
