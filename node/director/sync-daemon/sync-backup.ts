/**
 * The backup's side of the kernel's sync protocol: a master's datagrams become records for the forwarder, as many as make sense.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_sync.c ip_vs_process_message().
 */
import { RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'
import { parseSyncDatagram } from '../../../protocol/wire/ipvs-sync.ts'
import { blockOf, type RecordBlock } from '../../../protocol/wire/record-block.ts'
import { recordCount, recordsOfEntry } from './sync-calls.ts'

export interface SyncBackupOptions {
  /** Of the masters that are listened to; 0: of all. */
  readonly syncId: number
  /** A longer datagram is not taken. */
  readonly maxLength: number
  /** False when the forwarder has enough before it. */
  readonly apply: (block: RecordBlock) => boolean
}

export class SyncBackup {
  readonly counters = { messages: 0, entries: 0, otherSyncIds: 0, malformedMessages: 0, refusedEntries: 0, dropped: 0 }
  readonly #options: SyncBackupOptions

  constructor(options: SyncBackupOptions) {
    this.#options = options
  }

  receive(datagram: Uint8Array): void {
    const { syncId, maxLength, apply } = this.#options
    const message = datagram.length <= maxLength ? parseSyncDatagram(datagram) : undefined
    if (message === undefined) {
      this.counters.malformedMessages++
      return
    }
    if (syncId !== 0 && message.syncId !== syncId) {
      this.counters.otherSyncIds++
      return
    }
    this.counters.messages++
    if (message.fault !== undefined) this.counters.malformedMessages++
    const room = message.entries.reduce((sum, entry) => sum + recordCount(entry), 0)
    const records = new Uint8Array(room * RECORD_LENGTH)
    let taken = 0
    let count = 0
    for (const entry of message.entries) {
      if (!recordsOfEntry(entry, records, count * RECORD_LENGTH)) continue
      taken++
      count += recordCount(entry)
    }
    this.counters.entries += taken
    this.counters.refusedEntries += message.skipped + message.entries.length - taken
    if (!apply(blockOf(records.subarray(0, count * RECORD_LENGTH)))) this.counters.dropped += taken
  }
}
