/**
 * Which way batches of records go. Ordinarily by gossip: it brings them past a broken link too. But gossip signs, verifies, announces and
 * passes on every message, which takes each director more than the records do; so when there are many batches, and for what the forwarder
 * waits for, they go straight to each peer over our own streams. A peer that is not connected would miss those, and while there is one
 * only what is awaited goes so.
 *
 * That there are many is seen within a moment: a director that has just taken over has them at once, and may be the next to fail.
 */

/** Batches in a moment from which on there are many. */
const MOMENT_MS = 100
const MANY_FROM = 5
/** Then it stays so until there are clearly fewer in a window. */
const WINDOW_MS = 1000
const MANY_UNTIL = 25

export class BatchPath {
  readonly #moment = new Batches(MOMENT_MS)
  readonly #window = new Batches(WINDOW_MS)
  #areMany = false

  /**
   * Decides it for the next batch.
   * @param isAwaited the forwarder waits until a peer has it
   * @param isWhole every peer is connected
   */
  isStraight(nowMs: number, isAwaited: boolean, isWhole: boolean): boolean {
    const before = this.#window.add(nowMs)
    this.#moment.add(nowMs)
    if (before !== undefined) this.#areMany &&= before >= MANY_UNTIL
    this.#areMany ||= this.#moment.count >= MANY_FROM
    return isAwaited || (this.#areMany && isWhole)
  }
}

/** Batches counted from one time to the next, as long apart as given. */
class Batches {
  readonly #lengthMs: number
  #endsMs = Number.NEGATIVE_INFINITY
  #count = 0

  constructor(lengthMs: number) {
    this.#lengthMs = lengthMs
  }

  /** So far. */
  get count(): number {
    return this.#count
  }

  /** @returns if a time is over with this one, how many there were in it: none if that is long ago */
  add(nowMs: number): number | undefined {
    let before: number | undefined
    if (nowMs >= this.#endsMs) {
      before = nowMs >= this.#endsMs + this.#lengthMs ? 0 : this.#count
      this.#endsMs = nowMs + this.#lengthMs
      this.#count = 0
    }
    this.#count++
    return before
  }
}
