/**
 * Which way batches of records go. Ordinarily by gossip: it brings them past a broken link too. But gossip signs, verifies, announces and
 * passes on every message, which takes each director more than the records do; so when there are many batches, and for what the forwarder
 * waits for, they go straight to each peer over our own streams. A peer that is not connected would miss those, and while there is one
 * only what is awaited goes so.
 */

/** Batches in a window from which on there are many; then it stays so until there are clearly fewer. */
const WINDOW_MS = 1000
const MANY_FROM = 50
const MANY_UNTIL = 25

export class BatchPath {
  #windowEndsMs = Number.NEGATIVE_INFINITY
  /** In this window so far. */
  #batches = 0
  #areMany = false

  /**
   * Decides it for the next batch.
   * @param isAwaited the forwarder waits until a peer has it
   * @param isWhole every peer is connected
   */
  isStraight(nowMs: number, isAwaited: boolean, isWhole: boolean): boolean {
    if (nowMs >= this.#windowEndsMs) {
      const isSilent = nowMs >= this.#windowEndsMs + WINDOW_MS
      this.#areMany &&= !isSilent && this.#batches >= MANY_UNTIL
      this.#windowEndsMs = nowMs + WINDOW_MS
      this.#batches = 0
    }
    this.#batches++
    this.#areMany ||= this.#batches >= MANY_FROM
    return isAwaited || (this.#areMany && isWhole)
  }
}
