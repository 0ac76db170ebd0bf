/**
 * The batches sent last, kept for peers that missed some, until all have them. Bounded in bytes: the oldest go first, and who needs those
 * takes a snapshot.
 */

export interface SentBatch {
  readonly bytes: Uint8Array
  readonly sentAt: number
  /** Records up to and with this batch. */
  readonly recordsAfter: number
}

/** What a batch costs in memory beside its bytes. */
const OVERHEAD_BYTES = 256

export class ResendBuffer {
  readonly #limitBytes: number
  readonly #batches = new Map<number, SentBatch>()
  #bytes = 0
  /** Lowest number kept; one more than the last when it keeps none. */
  #oldest = 1
  #droppedSentAt = Number.NEGATIVE_INFINITY

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  get oldest(): number {
    return this.#oldest
  }

  get size(): number {
    return this.#batches.size
  }

  /** When the last batch was sent that is kept no more. */
  get droppedSentAt(): number {
    return this.#droppedSentAt
  }

  /** Numbers must come one after the other, from 1. */
  add(sequence: number, batch: SentBatch): void {
    this.#batches.set(sequence, batch)
    this.#bytes += batch.bytes.length + OVERHEAD_BYTES
    while (this.#bytes > this.#limitBytes && this.#oldest < sequence) this.#dropOldest()
  }

  /** Nobody needs the batches up to this one any more. */
  dropUpTo(sequence: number): void {
    while (this.#batches.size > 0 && this.#oldest <= sequence) this.#dropOldest()
  }

  get(sequence: number): SentBatch | undefined {
    return this.#batches.get(sequence)
  }

  #dropOldest(): void {
    const { bytes, sentAt } = this.#batches.get(this.#oldest) as SentBatch
    this.#bytes -= bytes.length + OVERHEAD_BYTES
    this.#droppedSentAt = sentAt
    this.#batches.delete(this.#oldest++)
  }
}
