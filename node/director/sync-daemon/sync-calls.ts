/**
 * Templates of SIP calls between the pool's records and the kernel's sync protocol: several records on this side, of which the first is
 * the template and the others say what it was made from, are one entry on that side.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_sync.c, ip_vs_pe_sip.c.
 */
import { isTemplateOfCall } from '../../../forwarder/engine/templates.ts'
import { hashCall } from '../../../forwarder/table/call-hash.ts'
import {
  CALL,
  CALL_LENGTH_MAX,
  CALL_PIECE_LENGTH,
  RECORD,
  RECORD_CALL,
  RECORD_LENGTH,
  RECORD_UPSERT,
} from '../../../protocol/wire/connection-record.ts'
import type { SyncEntry } from '../../../protocol/wire/ipvs-sync.ts'
import { entryOfRecord, isEntryOfCall, recordOfEntry, writeAddress } from './sync-entries.ts'

const ADDRESS_LENGTH = 16

/** Makes one entry of the records of a call, which come one after the other. */
export class CallRecords {
  readonly #template = new Uint8Array(RECORD_LENGTH)
  readonly #description = new Uint8Array(CALL_LENGTH_MAX)
  /** Pieces of the description that are here; none are awaited before there is a template. */
  #pieces = 0
  #isAwaited = false

  /** Whether the record at `at` is one of a call. */
  static includes(bytes: Uint8Array, at: number): boolean {
    return isTemplateOfCall(bytes[at + RECORD.protocol]) || bytes[at + RECORD.protocol] === RECORD_CALL
  }

  /** @returns the entry, if this was the last record that it takes */
  take(bytes: Uint8Array, at: number): SyncEntry | undefined {
    const record = bytes.subarray(at, at + RECORD_LENGTH)
    if (record[RECORD.protocol] !== RECORD_CALL) {
      this.#template.set(record)
      this.#pieces = 0
      this.#isAwaited = true
      return undefined
    }
    const length = new DataView(record.buffer, record.byteOffset).getUint16(CALL.length)
    this.#isAwaited &&= record[CALL.piece] === this.#pieces && length <= CALL_LENGTH_MAX && this.#isSameCall(record)
    if (!this.#isAwaited) return undefined
    const start = this.#pieces++ * CALL_PIECE_LENGTH
    this.#description.set(record.subarray(CALL.bytes, CALL.bytes + Math.min(CALL_PIECE_LENGTH, length - start)), start)
    if (this.#pieces * CALL_PIECE_LENGTH < length) return undefined
    this.#isAwaited = false
    const client = this.#description.slice(0, ADDRESS_LENGTH)
    return entryOfRecord(this.#template, 0, { client, callId: this.#description.slice(ADDRESS_LENGTH, length) })
  }

  #isSameCall(piece: Uint8Array): boolean {
    for (let i = 0; i < ADDRESS_LENGTH; i++) {
      if (piece[CALL.hash + i] !== this.#template[RECORD.clientAddress + i]) return false
    }
    return true
  }
}

/** How many records an entry becomes, if it becomes any. */
export function recordCount(entry: SyncEntry): number {
  if (!isEntryOfCall(entry)) return 1
  return 1 + Math.ceil((ADDRESS_LENGTH + entry.engineData!.length) / CALL_PIECE_LENGTH)
}

/**
 * Writes the recordCount() records of an entry.
 * @returns false for an entry that no record can stand for
 */
export function recordsOfEntry(entry: SyncEntry, target: Uint8Array, at: number): boolean {
  if (!recordOfEntry(entry, target, at)) return false
  if (!isEntryOfCall(entry)) return true
  const callId = entry.engineData!
  const description = new Uint8Array(ADDRESS_LENGTH + callId.length)
  writeAddress(new DataView(description.buffer), 0, entry.clientAddress)
  description.set(callId, ADDRESS_LENGTH)
  const hash = new Int32Array(4)
  hashCall(description, description.length, hash)
  const view = new DataView(target.buffer, target.byteOffset)
  for (const [word, value] of hash.entries()) view.setInt32(at + RECORD.clientAddress + word * 4, value)
  for (let piece = 0; piece * CALL_PIECE_LENGTH < description.length; piece++) {
    const record = at + (1 + piece) * RECORD_LENGTH
    target.fill(0, record, record + RECORD_LENGTH)
    target[record + RECORD.kind] = RECORD_UPSERT
    target[record + RECORD.protocol] = RECORD_CALL
    target[record + CALL.piece] = piece
    view.setUint16(record + CALL.length, description.length)
    for (const [word, value] of hash.entries()) view.setInt32(record + CALL.hash + word * 4, value)
    const start = piece * CALL_PIECE_LENGTH
    target.set(description.subarray(start, start + CALL_PIECE_LENGTH), record + CALL.bytes)
  }
  return true
}
