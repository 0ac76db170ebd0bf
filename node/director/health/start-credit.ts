/** How many checks may be started now: one for each millisecond that has passed, and so many at once at most. VRRP's timers run on the same thread. */
export class StartCredit {
  readonly #most: number
  #earnedAtMs = Number.NEGATIVE_INFINITY
  #left = 0

  constructor(most: number) {
    this.#most = most
  }

  earn(nowMs: number): void {
    this.#left = Math.min(this.#most, this.#left + nowMs - this.#earnedAtMs)
    this.#earnedAtMs = nowMs
  }

  get isLeft(): boolean {
    return this.#left >= 1
  }

  spend(): void {
    this.#left--
  }
}
