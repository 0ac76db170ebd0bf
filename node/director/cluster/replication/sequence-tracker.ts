/**
 * Which batches of one sender have come, and which are missing. Batches are applied as they come; what this keeps is the
 * numbers: everything below `next` has come, and beyond it the intervals that have, with holes between them.
 *
 * Source: the selective acknowledgement of TCP (RFC 2018) is the same bookkeeping over bytes.
 */
import type { Epoch } from '../../../../protocol/wire/record-batch.ts'
import type { SequenceRange } from '../../../../protocol/wire/sync-message.ts'

interface Interval {
  from: number
  to: number
  /** The sender's count of records before and after the interval. */
  before: number
  after: number
  /** When the hole in front of it was noticed. */
  holeSince: number
}

/** With more holes than this a snapshot is cheaper than questions. */
const MAX_INTERVALS = 1024

export class SequenceTracker {
  readonly epoch: Epoch
  #next = 1
  /** The sender's records up to `next`. */
  #total = 0
  readonly #beyond: Interval[] = []
  #announcedSequence = 0
  #announcedTotal = 0
  /** When the hole behind everything that has come was noticed. */
  #tailSince = 0

  constructor(epoch: Epoch) {
    this.epoch = epoch
  }

  /** Everything up to this has come. */
  get sequence(): number {
    return this.#next - 1
  }

  /** Highest number that has come. */
  get highest(): number {
    return this.#beyond.at(-1)?.to ?? this.#next - 1
  }

  get hasHoles(): boolean {
    return this.#beyond.length > 0
  }

  /** Records that have come. */
  get records(): number {
    let total = this.#total
    for (const interval of this.#beyond) total += interval.after - interval.before
    return total
  }

  /** Records that the sender is known to have sent and that have not come. */
  get recordsBehind(): number {
    const head = Math.max(this.#announcedTotal, this.#beyond.at(-1)?.after ?? this.#total)
    return Math.max(0, head - this.records)
  }

  /** When the oldest missing number was noticed; undefined: none is missing. */
  get missingSince(): number | undefined {
    if (this.#beyond.length > 0) return this.#beyond[0].holeSince
    return this.#announcedSequence >= this.#next ? this.#tailSince : undefined
  }

  /**
   * Notes a batch.
   * @returns 'duplicate': do not apply it; 'refused': too many holes, as if it had been lost; 'next': all before it has come;
   * 'early': a number before it is missing; 'late': a later one came first
   */
  accept(
    batch: { sequence: number; recordsBefore: number; count: number },
    now: number,
  ): 'next' | 'early' | 'late' | 'duplicate' | 'refused' {
    const { sequence } = batch
    const before = batch.recordsBefore
    const after = before + batch.count
    if (sequence < this.#next) return 'duplicate'
    const highest = this.highest
    if (sequence === this.#next && this.#beyond.length === 0) {
      this.#next++
      this.#total = after
      return 'next'
    }
    const beyond = this.#beyond
    let index = beyond.length
    while (index > 0 && beyond[index - 1].from > sequence) index--
    const left = beyond[index - 1]
    const right = beyond[index]
    if (left && left.to >= sequence) return 'duplicate'
    const joinsLeft = left?.to === sequence - 1
    const joinsRight = right?.from === sequence + 1
    if (joinsLeft && joinsRight) {
      left.to = right.to
      left.after = right.after
      beyond.splice(index, 1)
    } else if (joinsLeft) {
      left.to = sequence
      left.after = after
    } else if (joinsRight) {
      right.from = sequence
      right.before = before
    } else {
      // The first missing one makes no interval that stays.
      if (beyond.length >= MAX_INTERVALS && sequence !== this.#next) return 'refused'
      const holeSince = right?.holeSince ?? (this.#announcedSequence > highest ? this.#tailSince : now)
      beyond.splice(index, 0, { from: sequence, to: sequence, before, after, holeSince })
    }
    this.#absorb()
    return sequence <= highest ? 'late' : 'early'
  }

  /** The sender says that this is its last batch. */
  announce(sequence: number, records: number, now: number): void {
    if (sequence <= this.#announcedSequence) return
    if (sequence > this.highest && this.#announcedSequence <= this.highest) this.#tailSince = now
    this.#announcedSequence = sequence
    this.#announcedTotal = records
  }

  /** Everything up to this number is known by other means. */
  advanceTo(sequence: number, records: number): void {
    if (sequence < this.#next) return
    this.#next = sequence + 1
    this.#total = records
    while (this.#beyond.length > 0 && this.#beyond[0].from <= this.#next) {
      const first = this.#beyond.shift() as Interval
      if (first.to >= this.#next) {
        this.#next = first.to + 1
        this.#total = first.after
      }
    }
  }

  /** The numbers missing for at least graceMs, the oldest first, at most `limit` of them. */
  missing(now: number, graceMs: number, limit: number): SequenceRange[] {
    const ranges: SequenceRange[] = []
    let left = limit
    let from = this.#next
    const add = (to: number, since: number) => {
      if (left > 0 && to >= from && now - since >= graceMs) {
        const end = Math.min(to, from + left - 1)
        ranges.push({ from, to: end })
        left -= end - from + 1
      }
    }
    for (const interval of this.#beyond) {
      add(interval.from - 1, interval.holeSince)
      from = interval.to + 1
    }
    add(this.#announcedSequence, this.#tailSince)
    return ranges
  }

  #absorb(): void {
    if (this.#beyond.length > 0 && this.#beyond[0].from === this.#next) {
      const first = this.#beyond.shift() as Interval
      this.#next = first.to + 1
      this.#total = first.after
    }
  }
}
