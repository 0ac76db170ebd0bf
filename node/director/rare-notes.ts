/** Notes for the log of what goes on and on, such as once an advertisement: each kind is told at once, and then every ten minutes at most. */
import type { Clock } from './clock.ts'

const TELL_AGAIN_MS = 600_000

export class RareNotes {
  readonly #clock: Pick<Clock, 'now'>
  readonly #note: (message: string) => void
  readonly #toldMs = new Map<string, number>()

  constructor(clock: Pick<Clock, 'now'>, note: (message: string) => void) {
    this.#clock = clock
    this.#note = note
  }

  tell(kind: string, message: string): void {
    const nowMs = this.#clock.now()
    if (nowMs - (this.#toldMs.get(kind) ?? Number.NEGATIVE_INFINITY) < TELL_AGAIN_MS) return
    this.#toldMs.set(kind, nowMs)
    this.#note(message)
  }
}
