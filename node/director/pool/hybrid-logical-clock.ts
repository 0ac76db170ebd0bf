/**
 * Stamps that order changes made at different directors: wall clock time where clocks agree, cause before effect where they do not.
 *
 * A stamp is greater than every stamp its director had made or heard of before, and stays within the clocks' error of real
 * time. Equal times are decided by the director's name, so that everybody decides alike. As the paper proposes, a stamp of a
 * peer that is too far ahead is not believed: one clock set to next year would otherwise win every change until then.
 *
 * Source: S. Kulkarni, M. Demirbas, D. Madeppa, B. Avva, M. Leone, "Logical Physical Clocks", OPODIS 2014, figure 5. There,
 * hearing is an event with a stamp of its own; here only changes have stamps, so hearing just remembers the greatest.
 */

/** `wallMs` and `counter` are the paper's l and c. */
export interface Stamp {
  /** Milliseconds since 1970. */
  readonly wallMs: number
  /** Orders stamps of the same millisecond; at most MAX_COUNTER. */
  readonly counter: number
  /** Name of the director that made the change. */
  readonly director: string
}

export const MAX_COUNTER = 2 ** 32 - 1
/** How far ahead of this director's clock a peer's stamp may be. */
export const MAX_DRIFT_MS = 10 * 60_000

/** Negative when `a` is the older one. 0 only for the same stamp. */
export function compareStamps(a: Stamp, b: Stamp): number {
  return (
    a.wallMs - b.wallMs || a.counter - b.counter || (a.director < b.director ? -1 : Number(a.director > b.director))
  )
}

export class HybridLogicalClock {
  readonly #director: string
  readonly #wallClockMs: () => number
  #wallMs = 0
  #counter = 0

  constructor(director: string, wallClockMs: () => number) {
    this.#director = director
    this.#wallClockMs = wallClockMs
  }

  /** The stamp of a change made here and now. */
  next(): Stamp {
    const now = Math.floor(this.#wallClockMs())
    if (now > this.#wallMs) this.#set(now, 0)
    else if (this.#counter < MAX_COUNTER) this.#counter++
    else this.#set(this.#wallMs + 1, 0)
    return { wallMs: this.#wallMs, counter: this.#counter, director: this.#director }
  }

  /** Makes every later stamp of this director greater than `stamp`. */
  witness({ wallMs, counter }: Stamp): void {
    if (wallMs > this.#wallMs || (wallMs === this.#wallMs && counter > this.#counter)) this.#set(wallMs, counter)
  }

  /** Begins again at the wall clock, which was ahead and is right now: what is to be older than later stamps must be witnessed anew. */
  setBack(): void {
    this.#set(0, 0)
  }

  /** Whether the stamp is not further ahead of the wall clock than clocks may differ. */
  isCredible(stamp: Stamp): boolean {
    return stamp.wallMs - this.#wallClockMs() <= MAX_DRIFT_MS
  }

  #set(wallMs: number, counter: number): void {
    this.#wallMs = wallMs
    this.#counter = counter
  }
}
