/** Who was refused, counted, and told to the log so seldom that a flood of strangers fills no disk. */

/** Of one address. */
const TOLD_AGAIN_MS = 60_000
/** Further ones are counted only. */
const ADDRESSES_MAX = 64

export class RefusalLog {
  readonly #tell: (address: string, reason: string) => void
  readonly #nowMs: () => number
  /** When each was told of, the oldest first. */
  readonly #told = new Map<string, number>()
  readonly #count: Uint32Array

  /**
   * @param nowMs milliseconds that never jump
   * @param count one number, which another thread may read
   */
  constructor(
    tell: (address: string, reason: string) => void,
    nowMs: () => number,
    count: Uint32Array = new Uint32Array(1),
  ) {
    this.#tell = tell
    this.#nowMs = nowMs
    this.#count = count
  }

  get count(): number {
    return Atomics.load(this.#count, 0)
  }

  refuse(address: string, reason: string): void {
    Atomics.add(this.#count, 0, 1)
    const now = this.#nowMs()
    for (const [each, toldMs] of this.#told) {
      if (now - toldMs < TOLD_AGAIN_MS) break
      this.#told.delete(each)
    }
    if (this.#told.has(address) || this.#told.size >= ADDRESSES_MAX) return
    this.#told.set(address, now)
    this.#tell(address, reason)
  }
}
