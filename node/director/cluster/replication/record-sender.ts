/**
 * Takes what the forwarder writes into its outgoing ring, gathers it into numbered batches and gossips them.
 *
 * A batch goes out when it is full, or when it is due (batch-pace.ts): gossip carries a few hundred messages of 16 KiB a second at
 * half a millisecond, and chokes on thousands of small ones. What the forwarder waits for goes at once.
 */
import { isActiveState } from '../../../../forwarder/engine/protocols/registry.ts'
import type { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import { PROTOCOL_SCTP, PROTOCOL_TCP } from '../../../../protocol/packet/ipv4.ts'
import { RECORD, RECORD_UPSERT } from '../../../../protocol/wire/connection-record.ts'
import type { Position } from '../../../../protocol/wire/presence.ts'
import { BATCH_HEADER_LENGTH, type Epoch, writeBatchHeader } from '../../../../protocol/wire/record-batch.ts'
import { RecordBlockWriter, type RecordTails } from '../../../../protocol/wire/record-block.ts'
import type { Clock } from '../../clock.ts'
import { AwaitedBatches } from './awaited-batches.ts'
import { BatchPace } from './batch-pace.ts'
import { ResendBuffer, type SentBatch } from './resend-buffer.ts'

export interface RecordSenderOptions {
  readonly epoch: Epoch
  readonly ring: RecordRing
  readonly clock: Clock
  /** @param isAwaited the forwarder waits until a peer has it */
  readonly send: (batch: Uint8Array, isAwaited: boolean) => void
  /** Sees every record before it is sent; the record is RECORD_LENGTH bytes at `offset`. */
  readonly onRecord: (bytes: Uint8Array, offset: number) => void
  /** Called when the forwarder need not wait any longer for what it was waiting for. */
  readonly onConfirmed: () => void
  /** What goes behind records. */
  readonly tails: RecordTails
  readonly batchBytes: number
  readonly resendBytes: number
}

/** Batches made without giving the thread's other work a turn. */
const BATCHES_PER_TURN = 32

export class RecordSender {
  readonly #options: RecordSenderOptions
  readonly #ringView: DataView
  readonly #bytes: Uint8Array
  readonly #writer: RecordBlockWriter
  readonly #sent: ResendBuffer
  readonly #pace = new BatchPace()
  #sequence = 0
  #records = 0
  #cancelFlush: (() => void) | undefined
  #flushAt = Number.POSITIVE_INFINITY
  #cancelTurn: (() => void) | undefined
  readonly #awaited: AwaitedBatches

  constructor(options: RecordSenderOptions) {
    this.#options = options
    const { bytes } = options.ring
    this.#ringView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#bytes = new Uint8Array(options.batchBytes)
    this.#writer = new RecordBlockWriter(this.#bytes, BATCH_HEADER_LENGTH, options.tails)
    this.#sent = new ResendBuffer(options.resendBytes)
    this.#awaited = new AwaitedBatches(options.ring)
  }

  /** Number of the last batch. */
  get sequence(): number {
    return this.#sequence
  }

  /** Records in all batches so far. */
  get records(): number {
    return this.#records
  }

  get sent(): ResendBuffer {
    return this.#sent
  }

  /**
   * What a peer that has confirmed up to `confirmed` has not, of the batches sent until `until`.
   * @returns records, and when the oldest of them was sent
   */
  unconfirmed(confirmed: Position, until: number): { records: number; oldestSentAt: number } | undefined {
    const first = confirmed.sequence + 1
    // It has begun anew and not yet said what it has, or was no peer for a while.
    if (first < this.#sent.oldest)
      return { records: Math.max(0, this.#records - confirmed.records), oldestSentAt: this.#sent.droppedSentAt }
    const oldest = this.#sent.get(first)
    if (!oldest || oldest.sentAt > until) return undefined
    let low = first
    let high = this.#sequence
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if ((this.#sent.get(middle) as SentBatch).sentAt <= until) low = middle
      else high = middle - 1
    }
    const { recordsAfter } = this.#sent.get(low) as SentBatch
    return { records: Math.max(0, recordsAfter - confirmed.records), oldestSentAt: oldest.sentAt }
  }

  /** Takes what is in the ring. Call when something has been written there. */
  collect(): void {
    const { ring, clock, onRecord } = this.#options
    const now = clock.now()
    const last = this.#sequence + BATCHES_PER_TURN
    for (let offset = ring.peek(); offset >= 0; offset = ring.peek()) {
      if (!this.#writer.add(this.#ringView, offset)) {
        this.flush()
        if (this.#sequence >= last) {
          this.#cancelTurn ??= clock.schedule(0, () => {
            this.#cancelTurn = undefined
            this.collect()
          })
          return
        }
        continue
      }
      onRecord(ring.bytes, offset)
      this.#flushBy(this.#pace.dueAt(now, isEnding(ring.bytes, offset)), now)
      ring.advance()
    }
    if (this.#awaited.isUrgent(now)) this.flush()
  }

  /** A peer has all batches up to this one. */
  confirm(sequence: number): void {
    if (!this.#awaited.confirm(sequence)) return
    this.#options.onConfirmed()
    if (this.#awaited.isMoreAwaited) this.flush()
  }

  #flushBy(time: number, now: number): void {
    if (time >= this.#flushAt) return
    this.#cancelFlush?.()
    this.#flushAt = time
    this.#cancelFlush = this.#options.clock.schedule(time - now, () => this.flush())
  }

  /** Sends what has been gathered. */
  flush(): void {
    this.#cancelFlush?.()
    this.#cancelFlush = undefined
    this.#flushAt = Number.POSITIVE_INFINITY
    const { count, end } = this.#writer
    if (count === 0) return
    const now = this.#options.clock.now()
    this.#writer.finish()
    const isAwaited = this.#awaited.isMoreAwaited
    writeBatchHeader(this.#bytes, {
      epoch: this.#options.epoch,
      sequence: ++this.#sequence,
      recordsBefore: this.#records,
      sentAtMs: now,
      isAwaited,
    })
    this.#awaited.sent(this.#sequence, now, isAwaited)
    this.#pace.sent(now)
    this.#records += count
    const bytes = this.#bytes.slice(0, end)
    this.#sent.add(this.#sequence, { bytes, sentAt: now, recordsAfter: this.#records })
    this.#writer.reset()
    this.#options.send(bytes, isAwaited)
  }

  stop(): void {
    this.#cancelTurn?.()
    this.flush()
  }
}

/** Whether a record says that a connection is over, or about to be. */
function isEnding(bytes: Uint8Array, at: number): boolean {
  const protocol = bytes[at + RECORD.protocol]
  if (bytes[at + RECORD.kind] !== RECORD_UPSERT) return true
  const hasEnd = protocol === PROTOCOL_TCP || protocol === PROTOCOL_SCTP
  return hasEnd && !isActiveState(protocol, bytes[at + RECORD.state])
}
