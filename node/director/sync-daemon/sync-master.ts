/**
 * The master's side of the kernel's sync protocol: what becomes of this director's connection records on the multicast group.
 *
 * A record is told of if the kernel would tell of its state (sync-entries.ts). Records come when a connection is established, at
 * every change, and again when an eighth of its timeout has gone by; that takes the place of the kernel's count of packets.
 * A new master also tells of the whole table once, which the kernel's does not, so that a backup need not wait for packets.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_sync.c ip_vs_sync_conn(), sync_thread_master().
 */
import { RECORD_LENGTH, RECORDS_OF_PLACE_MAX } from '../../../protocol/wire/connection-record.ts'
import { SyncDatagramWriter } from '../../../protocol/wire/ipvs-sync.ts'
import type { Clock } from '../clock.ts'
import type { ConnectionSource } from '../cluster/replication/snapshot-server.ts'
import { CallRecords } from './sync-calls.ts'
import { entryOfRecord } from './sync-entries.ts'

/** An entry waits for company at most this long. The kernel allows 2 s; what waits is lost with the director. */
const FLUSH_MS = 100
/** Places of the table that are told of at a time, and the pause before the next: a kernel's receive buffer takes as much. */
const PLACES_PER_STEP = 512
const STEP_PAUSE_MS = 5
/** Datagrams that the kernel has not taken off our hands; beyond that they are dropped, as at sync_qlen_max. */
const UNSENT_MAX = 1024

export interface SyncMasterOptions {
  readonly syncId: number
  readonly maxLength: number
  /** Resolves when the datagram has left, or never will. */
  readonly send: (datagram: Uint8Array) => Promise<void>
  readonly clock: Clock
  readonly source: ConnectionSource
}

export class SyncMaster {
  readonly counters = { messages: 0, entries: 0, dropped: 0 }
  readonly #options: SyncMasterOptions
  readonly #writer: SyncDatagramWriter
  readonly #calls = new CallRecords()
  readonly #unsent = new Set<Promise<void>>()
  #cancelFlush: (() => void) | undefined
  #cancelStep: (() => void) | undefined

  constructor(options: SyncMasterOptions) {
    this.#options = options
    this.#writer = new SyncDatagramWriter(options.syncId, options.maxLength)
    this.#tellTable(0)
  }

  /** A record that the forwarder has written. */
  note(bytes: Uint8Array, at: number): void {
    const entry = CallRecords.includes(bytes, at) ? this.#calls.take(bytes, at) : entryOfRecord(bytes, at)
    if (entry === undefined) return
    this.counters.entries++
    if (!this.#writer.add(entry)) {
      this.#flush()
      this.#writer.add(entry)
    }
    this.#cancelFlush ??= this.#options.clock.schedule(FLUSH_MS, () => this.#flush())
  }

  /** Sends what waits. Resolves when it has left. */
  async stop(): Promise<void> {
    this.#cancelStep?.()
    if (this.#writer.count > 0) this.#flush()
    await Promise.all(this.#unsent)
  }

  #flush(): void {
    this.#cancelFlush?.()
    this.#cancelFlush = undefined
    const datagram = this.#writer.finish()
    if (this.#unsent.size >= UNSENT_MAX) {
      this.counters.dropped++
      return
    }
    this.counters.messages++
    const sent = this.#options.send(datagram).finally(() => this.#unsent.delete(sent))
    this.#unsent.add(sent)
  }

  #tellTable(from: number): void {
    const { source, clock } = this.#options
    if (from >= source.capacity) return
    const records = new Uint8Array(PLACES_PER_STEP * RECORDS_OF_PLACE_MAX * RECORD_LENGTH)
    const count = source.encodeRange(from, PLACES_PER_STEP, records, 0)
    for (let i = 0; i < count; i++) this.note(records, i * RECORD_LENGTH)
    this.#cancelStep = clock.schedule(STEP_PAUSE_MS, () => this.#tellTable(from + PLACES_PER_STEP))
  }
}
