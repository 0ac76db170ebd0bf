/**
 * The envelope in which a director gossips what changed in its connection table. Big endian.
 *
 * ```
 *  0         1     4             8                 16                24               32
 * +---------+-----+-------------+-----------------+-----------------+----------------+---------------------+
 * | version |flags| sent at ms  | epoch           | sequence        | records before | record-block.ts     |
 * +---------+-----+-------------+-----------------+-----------------+----------------+---------------------+
 * ```
 *
 * `epoch` is drawn at random when the sender starts: a sender that restarted counts from 1 again and is told apart by it.
 * `sequence` numbers the sender's batches from 1. `records before` counts the records in all batches before this one.
 * Flags: 1, the sender waits for a confirmation (sync-message.ts) that the receiver has this batch and all before it.
 * `sent at` is the sender's monotonic clock modulo 2^32; only the sender can read it.
 * Version rule: format-version.ts.
 */
import { FORMAT_VERSION, isLater, isReadable } from './format-version.ts'
import { type RecordBlock, readBlock } from './record-block.ts'

const FLAG_AWAITED = 1
/** The block starts here. */
export const BATCH_HEADER_LENGTH = 32

/** 16 hexadecimal digits. */
export type Epoch = string

export interface BatchHeader {
  readonly epoch: Epoch
  readonly sequence: number
  readonly recordsBefore: number
  readonly sentAtMs: number
  readonly isAwaited: boolean
}

export interface RecordBatch extends BatchHeader {
  readonly block: RecordBlock
}

export function writeBatchHeader(bytes: Uint8Array, header: BatchHeader): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  view.setUint32(0, (FORMAT_VERSION << 24) | ((header.isAwaited ? FLAG_AWAITED : 0) << 16))
  view.setUint32(4, header.sentAtMs >>> 0)
  writeEpoch(view, 8, header.epoch)
  writeCounter(view, 16, header.sequence)
  writeCounter(view, 24, header.recordsBefore)
}

/** Undefined for anything but a well-formed batch with at least one record. */
export function parseBatch(bytes: Uint8Array): RecordBatch | undefined {
  if (bytes.length < BATCH_HEADER_LENGTH || !isReadable(bytes[0])) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const sequence = readCounter(view, 16)
  const recordsBefore = readCounter(view, 24)
  const block = readBlock(bytes, BATCH_HEADER_LENGTH, isLater(bytes[0]))
  if (sequence === undefined || sequence === 0 || recordsBefore === undefined || !block || block.count === 0) return
  const isAwaited = (bytes[1] & FLAG_AWAITED) !== 0
  return { epoch: readEpoch(view, 8), sequence, recordsBefore, sentAtMs: view.getUint32(4), isAwaited, block }
}

export function writeEpoch(view: DataView, offset: number, epoch: Epoch): void {
  view.setUint32(offset, Number.parseInt(epoch.slice(0, 8), 16))
  view.setUint32(offset + 4, Number.parseInt(epoch.slice(8), 16))
}

export function readEpoch(view: DataView, offset: number): Epoch {
  return (
    view.getUint32(offset).toString(16).padStart(8, '0') +
    view
      .getUint32(offset + 4)
      .toString(16)
      .padStart(8, '0')
  )
}

/** A count as 8 bytes. */
export function writeCounter(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, Math.floor(value / 2 ** 32))
  view.setUint32(offset + 4, value >>> 0)
}

/** Undefined when it is more than a number holds exactly, which no honest sender reaches. */
export function readCounter(view: DataView, offset: number): number | undefined {
  const value = view.getUint32(offset) * 2 ** 32 + view.getUint32(offset + 4)
  return Number.isSafeInteger(value) ? value : undefined
}
