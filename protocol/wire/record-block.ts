/**
 * A run of connection records on the wire: the body of a batch and of a piece of a snapshot. Big endian.
 *
 * ```
 *  0        1      2               4       6
 * +--------+------+---------------+-------+------------------------------+
 * | format |  0   | record length | count | count x record length bytes  |
 * +--------+------+---------------+-------+------------------------------+
 * ```
 *
 * format 0: records as connection-record.ts draws them (72 bytes).
 * format 1: all addresses are IPv4, 34 bytes a record: the first 18 bytes of the record as they are, then the last four
 * bytes of the client, virtual and server address, then the firewall mark.
 *
 * ```
 *  0                              18               22                26               30              34
 * +------------------------------+----------------+-----------------+----------------+---------------+
 * | kind ... server port         | client address | virtual address | server address | firewall mark |
 * +------------------------------+----------------+-----------------+----------------+---------------+
 * ```
 *
 * Version rule: record length says where the next record starts. In both formats later versions add their fields at a record's end: its tail here, of which
 * nothing is known but that it belongs to the record's connection. A field of zeros says nothing, so that records with and without it can share a block.
 */
import { RECORD, RECORD_LENGTH, RECORD_REMOVE, RECORD_UPSERT } from './connection-record.ts'

export const BLOCK_HEADER_LENGTH = 6
export const PACKED_RECORD_LENGTH = 34

const FORMAT_WHOLE = 0
const FORMAT_IPV4 = 1
/** Bytes of a record before the padding and the addresses. */
const FIXED_LENGTH = 18
const MAPPED_PREFIX = 0xffff
/** What is kept and told on of a tail: more than all later versions may add. */
export const TAIL_LENGTH_MAX = 64

/** Tails of records, by connection (node/director/cluster/replication/unknown-fields.ts). */
export interface RecordTails {
  /** Of the longest one, bytes; 0: there are none. */
  readonly length: number
  /** That of the connection which the record at `at` is of. */
  of(bytes: Uint8Array, at: number): Uint8Array | undefined
}

const NO_TAILS: RecordTails = { length: 0, of: () => undefined }
const NO_TAIL = new Uint8Array()

export interface RecordBlock {
  /** Records in it. */
  readonly count: number
  /** Length of the block on the wire, header included. */
  readonly byteLength: number
  /** Writes record `index` as RECORD_LENGTH bytes. */
  read(index: number, target: Uint8Array, targetOffset: number): void
  /** Bytes of each record that are not known here. */
  readonly tailLength: number
  /** Those of record `index`, in the memory of the block. */
  tail(index: number): Uint8Array
}

/** Gathers records; the first one decides the format. */
export class RecordBlockWriter {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #start: number
  #end: number
  #count = 0
  #packed = false
  #whole = false
  readonly #tails: RecordTails
  /** Of the block that is being filled. */
  #tailLength = 0
  /** The memory that records came from last. */
  #source: DataView | undefined
  #sourceBytes: Uint8Array = NO_TAIL

  /**
   * @param bytes where to write; the block starts at `start` and may reach to the end of it
   * @param tails what goes behind records
   */
  constructor(bytes: Uint8Array, start: number, tails: RecordTails = NO_TAILS) {
    this.#tails = tails
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#start = start
    this.#end = start + BLOCK_HEADER_LENGTH
  }

  get count(): number {
    return this.#count
  }

  /** Offset behind the last byte written. */
  get end(): number {
    return this.#end
  }

  /**
   * Takes one record of RECORD_LENGTH bytes.
   * @param source a view over the memory that has the record at `offset`
   * @returns false when it does not fit: the block is full, or has the IPv4 form and the record is not IPv4, or its tail is longer than the block's
   */
  add(source: DataView, offset: number): boolean {
    const packable = isPackable(source, offset)
    if (this.#count === 0) {
      this.#packed = packable && !this.#whole
      this.#tailLength = this.#tails.length
    } else if (this.#packed && !packable) return false
    const tail = this.#tails.length > 0 ? this.#tails.of(this.#bytesOf(source), offset) : undefined
    if (tail && tail.length > this.#tailLength) return false
    const length = this.#knownLength + this.#tailLength
    if (this.#end + length > this.#bytes.length || this.#count === 0xffff) return false
    const target = this.#view
    let at = this.#end
    if (this.#packed) {
      target.setUint32(at, source.getUint32(offset))
      target.setUint32(at + 4, source.getUint32(offset + 4))
      target.setUint32(at + 8, source.getUint32(offset + 8))
      target.setUint32(at + 12, source.getUint32(offset + 12))
      target.setUint16(at + 16, source.getUint16(offset + 16))
      target.setUint32(at + 18, source.getUint32(offset + RECORD.clientAddress + 12))
      target.setUint32(at + 22, source.getUint32(offset + RECORD.virtualAddress + 12))
      target.setUint32(at + 26, source.getUint32(offset + RECORD.serverAddress + 12))
      target.setUint32(at + 30, source.getUint32(offset + RECORD.firewallMark))
    } else {
      for (let i = 0; i < RECORD_LENGTH; i += 4, at += 4) target.setUint32(at, source.getUint32(offset + i))
    }
    if (this.#tailLength > 0) {
      this.#bytes.fill(0, this.#end + this.#knownLength, this.#end + length)
      if (tail) this.#bytes.set(tail, this.#end + this.#knownLength)
    }
    this.#end += length
    this.#count++
    return true
  }

  get #knownLength(): number {
    return this.#packed ? PACKED_RECORD_LENGTH : RECORD_LENGTH
  }

  #bytesOf(source: DataView): Uint8Array {
    if (source !== this.#source) {
      this.#source = source
      this.#sourceBytes = new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    }
    return this.#sourceBytes
  }

  /** Writes the header. The block is then bytes[start, end). */
  finish(): void {
    this.#view.setUint8(this.#start, this.#packed ? FORMAT_IPV4 : FORMAT_WHOLE)
    this.#view.setUint8(this.#start + 1, 0)
    this.#view.setUint16(this.#start + 2, this.#knownLength + this.#tailLength)
    this.#view.setUint16(this.#start + 4, this.#count)
  }

  /**
   * Empties it for the next block.
   * @param whole the next block takes any record, whatever its first one is
   */
  reset(whole = false): void {
    this.#count = 0
    this.#packed = false
    this.#whole = whole
    this.#end = this.#start + BLOCK_HEADER_LENGTH
  }
}

/**
 * Undefined unless there is a whole, well-formed block with known kinds of records, which ends exactly at the end of `bytes`.
 * @param isLater something may be behind it (format-version.ts)
 */
export function readBlock(bytes: Uint8Array, start: number, isLater = false): RecordBlock | undefined {
  if (start + BLOCK_HEADER_LENGTH > bytes.length) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const format = view.getUint8(start)
  const recordLength = view.getUint16(start + 2)
  const count = view.getUint16(start + 4)
  const records = start + BLOCK_HEADER_LENGTH
  if (format !== FORMAT_WHOLE && format !== FORMAT_IPV4) return undefined
  const knownLength = format === FORMAT_IPV4 ? PACKED_RECORD_LENGTH : RECORD_LENGTH
  const end = records + count * recordLength
  if (recordLength < knownLength || end > bytes.length || (end < bytes.length && !isLater)) return undefined
  for (let i = 0; i < count; i++) {
    const kind = bytes[records + i * recordLength]
    if (kind !== RECORD_UPSERT && kind !== RECORD_REMOVE) return undefined
  }
  return {
    count,
    byteLength: bytes.length - start,
    tailLength: recordLength - knownLength,
    tail: (index) => bytes.subarray(records + index * recordLength + knownLength, records + (index + 1) * recordLength),
    read:
      format === FORMAT_IPV4
        ? (index, target, offset) => unpack(view, records + index * recordLength, target, offset)
        : (index, target, offset) => {
            const from = records + index * recordLength
            for (let i = 0; i < RECORD_LENGTH; i++) target[offset + i] = bytes[from + i]
          },
  }
}

/** A block in memory, of the records that `keep` wants, without their tails. */
export function filterBlock(block: RecordBlock, keep: (record: Uint8Array) => boolean): RecordBlock {
  const kept = new Uint8Array(block.count * RECORD_LENGTH)
  let count = 0
  for (let i = 0; i < block.count; i++) {
    const record = kept.subarray(count * RECORD_LENGTH, (count + 1) * RECORD_LENGTH)
    block.read(i, record, 0)
    if (keep(record)) count++
  }
  return blockOf(kept.subarray(0, count * RECORD_LENGTH))
}

/** A block in memory, of records of RECORD_LENGTH bytes each. */
export function blockOf(records: Uint8Array): RecordBlock {
  return {
    count: records.length / RECORD_LENGTH,
    byteLength: records.length,
    tailLength: 0,
    tail: () => NO_TAIL,
    read: (index, target, offset) => {
      target.set(records.subarray(index * RECORD_LENGTH, (index + 1) * RECORD_LENGTH), offset)
    },
  }
}

function isPackable(view: DataView, offset: number): boolean {
  if (!isMapped(view, offset + RECORD.clientAddress) || !isMapped(view, offset + RECORD.virtualAddress)) return false
  // The server of a connection that has ended says nothing, and may have been left out.
  return isMapped(view, offset + RECORD.serverAddress) || view.getUint8(offset + RECORD.kind) === RECORD_REMOVE
}

/** RFC 4291 2.5.5.2 */
function isMapped(view: DataView, offset: number): boolean {
  return (
    view.getUint32(offset) === 0 && view.getUint32(offset + 4) === 0 && view.getUint32(offset + 8) === MAPPED_PREFIX
  )
}

function unpack(view: DataView, from: number, target: Uint8Array, to: number): void {
  for (let i = 0; i < FIXED_LENGTH; i++) target[to + i] = view.getUint8(from + i)
  target[to + 18] = 0
  target[to + 19] = 0
  for (let address = 0; address < 3; address++) {
    const start = to + RECORD.clientAddress + address * 16
    for (let i = 0; i < 10; i++) target[start + i] = 0
    target[start + 10] = 0xff
    target[start + 11] = 0xff
    for (let i = 0; i < 4; i++) target[start + 12 + i] = view.getUint8(from + FIXED_LENGTH + address * 4 + i)
  }
  for (let i = 0; i < 4; i++) target[to + RECORD.firewallMark + i] = view.getUint8(from + 30 + i)
}
