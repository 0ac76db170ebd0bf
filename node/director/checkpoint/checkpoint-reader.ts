/**
 * What of a checkpoint still holds: its connections as they would be now, in the time that has gone by without a packet of theirs.
 */
import { readInt32, readUint16, writeInt32, writeUint16 } from '../../../protocol/packet/bytes.ts'
import { RECORD, RECORD_CALL, RECORD_LENGTH, RECORD_RESTORED } from '../../../protocol/wire/connection-record.ts'
import type { RecordBlock } from '../../../protocol/wire/record-block.ts'
import type { Store } from '../store/store.ts'
import { type CheckpointHead, chunkKey, parseChunk } from './checkpoint-format.ts'

export interface CheckpointReport {
  /** Since it was begun. */
  readonly awayMs: number
  /** Records that still hold. */
  records: number
  /** Records whose time has run out meanwhile. */
  expired: number
  readonly chunks: number
  /** Chunks that are missing, damaged, or not of this checkpoint. */
  damagedChunks: number
}

/** Gives the records that still hold, RECORD_LENGTH bytes each, as they go into the forwarder's ring; some at a time. */
export async function* readCheckpoint(
  store: Store,
  head: CheckpointHead,
  report: CheckpointReport,
): AsyncGenerator<Uint8Array> {
  const filter = new StillAlive(report)
  for (let chunk = 0; chunk < head.chunks; chunk++) {
    const block = await readChunk(store, head.number, chunk)
    if (block) {
      const records = filter.take(block)
      if (records.length > 0) yield records
    } else {
      report.damagedChunks++
      filter.skip()
    }
  }
}

/** Undefined for one that cannot be believed. */
async function readChunk(store: Store, number: number, chunk: number): Promise<RecordBlock | undefined> {
  const bytes = await store.get(chunkKey(number, chunk)).catch(() => undefined)
  return bytes && parseChunk(bytes, number)
}

class StillAlive {
  readonly #report: CheckpointReport
  /** Of the last template, which what describes a call follows. */
  #isKept = false

  constructor(report: CheckpointReport) {
    this.#report = report
  }

  take(block: RecordBlock): Uint8Array {
    const records = new Uint8Array(block.count * RECORD_LENGTH)
    let end = 0
    for (let index = 0; index < block.count; index++) {
      block.read(index, records, end)
      if (records[end + RECORD.protocol] !== RECORD_CALL) this.#isKept = this.#age(records, end)
      if (this.#isKept) end += RECORD_LENGTH
    }
    this.#report.records += end / RECORD_LENGTH
    return records.subarray(0, end)
  }

  skip(): void {
    this.#isKept = false
  }

  /** @returns whether the connection has time left */
  #age(bytes: Uint8Array, at: number): boolean {
    const left = (readInt32(bytes, at + RECORD.timeoutMs) >>> 0) - this.#report.awayMs
    if (left <= 0) {
      this.#report.expired++
      return false
    }
    writeInt32(bytes, at + RECORD.timeoutMs, left)
    writeUint16(bytes, at + RECORD.flags, readUint16(bytes, at + RECORD.flags) | RECORD_RESTORED)
    return true
  }
}
