/**
 * How many messages of peers the main thread has not taken yet. What is posted between threads waits without a bound: a peer that says more
 * than the main thread hears would otherwise fill its memory. What is dropped here counts as lost, as gossip may be at any time.
 */

/** Several times what all peers say at once in earnest, and at most a quarter of a gigabyte. */
export const UNTAKEN_MAX = 4096

export class UntakenMessages {
  readonly shared: SharedArrayBuffer
  readonly #taken: Int32Array
  #posted = 0

  constructor(shared = new SharedArrayBuffer(4)) {
    this.shared = shared
    this.#taken = new Int32Array(shared)
  }

  /** For the thread that posts, before it does; false: too many are under way. */
  post(): boolean {
    // Both numbers wrap around at 2^32.
    if (((this.#posted - Atomics.load(this.#taken, 0)) | 0) >= UNTAKEN_MAX) return false
    this.#posted = (this.#posted + 1) | 0
    return true
  }

  /** For the thread that takes. */
  take(): void {
    Atomics.add(this.#taken, 0, 1)
  }
}
