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
  #count = 0

  /** @param nowMs milliseconds that never jump */
  constructor(tell: (address: string, reason: string) => void, nowMs: () => number) {
    this.#tell = tell
    this.#nowMs = nowMs
  }

  get count(): number {
    return this.#count
  }

  refuse(address: string, reason: string): void {
    this.#count++
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
