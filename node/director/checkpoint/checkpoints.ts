/**
 * The checkpoints of one director's connection table: written every so often and at its orderly end, and read once after its start, if it
 * starts a pool with its own table (cluster/replication/restoration.ts). docs/decisions/checkpoint.md.
 */
import type { Clock } from '../clock.ts'
import type { ConnectionSource } from '../cluster/replication/snapshot-server.ts'
import type { Store } from '../store/store.ts'
import { type CheckpointHead, HEAD_KEY, parseHead } from './checkpoint-format.ts'
import { type CheckpointReport, readCheckpoint } from './checkpoint-reader.ts'
import { writeCheckpoint } from './checkpoint-writer.ts'
import { elapsedMs, type Instant } from './instant.ts'

export interface CheckpointsOptions {
  readonly store: Store
  readonly source: ConnectionSource
  readonly clock: Clock
  readonly instant: () => Instant
  /** From the end of one to the beginning of the next. */
  readonly intervalMs: number
  /** Whether the table is worth keeping: before it has been filled at the start the last checkpoint is better. */
  readonly isWhole: () => boolean
  /** All of it has been read, or it is none ('unreadable'). */
  readonly onRead: (report: CheckpointReport | 'unreadable') => void
  /** Told once of checkpoints that cannot be written, and once, with undefined, that they can again. */
  readonly onTrouble: (error: unknown) => void
}

export class Checkpoints {
  readonly #options: CheckpointsOptions
  #head: CheckpointHead | undefined
  #reading: AsyncGenerator<Uint8Array> | undefined
  #cancel: () => void = () => {}
  /** The one that is being written. */
  #writing: Promise<void> = Promise.resolve()
  #isEnding = false
  #isTroubled = false

  constructor(options: CheckpointsOptions) {
    this.#options = options
  }

  /** Finds the last run's checkpoint. */
  async load(): Promise<void> {
    const { store, onRead } = this.#options
    const bytes = await store.get(HEAD_KEY)
    this.#head = bytes && parseHead(bytes)
    if (bytes && !this.#head) onRead('unreadable')
  }

  /** The one in the store. */
  get last(): { records: number; ageMs: number } | undefined {
    const head = this.#head
    return head && { records: head.records, ageMs: Math.round(elapsedMs(head.begunAt, this.#options.instant())) }
  }

  /** The next records of the last run's checkpoint that still hold (checkpoint-reader.ts); undefined after the last of them. */
  async next(): Promise<Uint8Array | undefined> {
    this.#reading ??= this.#read()
    return (await this.#reading.next()).value
  }

  start(): void {
    const { clock, intervalMs } = this.#options
    this.#cancel = clock.schedule(intervalMs, () => {
      this.#writing = this.#write(() => !this.#isEnding).then(() => {
        if (!this.#isEnding) this.start()
      })
    })
  }

  /** Writes the last one. */
  async stop(): Promise<void> {
    this.#isEnding = true
    this.#cancel()
    await this.#writing
    await this.#write(() => true)
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    const { store, instant, onRead } = this.#options
    const head = this.#head
    if (!head) return
    const awayMs = Math.round(elapsedMs(head.begunAt, instant()))
    const report: CheckpointReport = { awayMs, records: 0, expired: 0, chunks: head.chunks, damagedChunks: 0 }
    yield* readCheckpoint(store, head, report)
    onRead(report)
  }

  async #write(isWanted: () => boolean): Promise<void> {
    const { store, source, clock, instant, isWhole, onTrouble } = this.#options
    if (!isWhole()) return
    try {
      const subject = { store, source, clock, begunAt: instant(), previous: this.#head, isWanted }
      this.#head = (await writeCheckpoint(subject)) ?? this.#head
      if (this.#isTroubled) onTrouble(undefined)
      this.#isTroubled = false
    } catch (error) {
      if (!this.#isTroubled) onTrouble(error)
      this.#isTroubled = true
    }
  }
}
