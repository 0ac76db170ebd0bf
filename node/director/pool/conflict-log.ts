/**
 * How peers' changes have met others, told to the log: the first of each, and so many lines a minute, so that a peer which changes
 * everything all the time fills no disk. `director config history` has them too.
 */
import type { Stamp } from './hybrid-logical-clock.ts'
import { TOLD_MAX } from './revision-history.ts'
import { withRest } from './revisions.ts'

const MINUTE_MS = 60_000
const LINES_MAX = 30

export class ConflictLog {
  readonly #warn: (what: object, message: string) => void
  readonly #nowMs: () => number
  #minuteEndsMs = 0
  #lines = 0

  /** @param nowMs milliseconds that never jump */
  constructor(warn: (what: object, message: string) => void, nowMs: () => number) {
    this.#warn = warn
    this.#nowMs = nowMs
  }

  overridden(changes: readonly string[], by: Stamp): void {
    const message = "a peer's newer change has overridden others that it did not know of"
    this.#tell({ overridden: firstOf(changes), by: authorOf(by) }, message)
  }

  beside(changes: readonly string[], by: Stamp): void {
    const message = "a peer's change was made at the same time as others, and all are in force"
    this.#tell({ beside: firstOf(changes), by: authorOf(by) }, message)
  }

  #tell(what: object, message: string): void {
    const now = this.#nowMs()
    if (now >= this.#minuteEndsMs) {
      this.#minuteEndsMs = now + MINUTE_MS
      this.#lines = 0
    }
    this.#lines++
    if (this.#lines <= LINES_MAX) this.#warn(what, message)
    else if (this.#lines === LINES_MAX + 1) {
      this.#warn({}, "no more of peers' changes that met others is told for this minute: see `director config history`")
    }
  }
}

function firstOf(changes: readonly string[]): string[] {
  return withRest(changes.slice(0, TOLD_MAX), changes.length)
}

/** Without what else the peer says of it. */
function authorOf({ wallMs, counter, director }: Stamp): Stamp {
  return { wallMs, counter, director }
}
