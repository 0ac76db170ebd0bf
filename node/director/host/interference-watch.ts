/**
 * Looks again, while the director runs, whether the host's own stack stays out of its traffic: a container engine, or somebody, may
 * have switched forwarding on since the start. The director goes on whatever is found; giving the addresses up would be worse.
 */
import { type Clock, systemClock } from '../clock.ts'
import { SpacedTask } from '../spaced-task.ts'
import { RetriedLook } from './retried-look.ts'

/** It takes several starts of ip(8). */
const SPACING = { restMs: 5000, retryMs: 5000 }

export interface InterferenceWatchOptions {
  /** What interferes now, each in words that stay the same. */
  readonly look: () => Promise<readonly string[]>
  readonly onAppeared: (interference: string) => void
  readonly onGone: (interference: string) => void
  /** A line for the log: nothing is seen any more, and why. */
  readonly warn: (message: string) => void
  readonly clock?: Clock
}

export class InterferenceWatch {
  #found: readonly string[] = []
  readonly #looking: SpacedTask

  constructor({ look, onAppeared, onGone, warn, clock = systemClock }: InterferenceWatchOptions) {
    const looks = new RetriedLook('how the host is set up', look, clock, warn)
    this.#looking = new SpacedTask(
      async () => {
        const before = this.#found
        const found = await looks.take()
        if (!found) return false
        this.#found = found
        for (const each of found) if (!before.includes(each)) onAppeared(each)
        for (const each of before) if (!found.includes(each)) onGone(each)
        return true
      },
      SPACING,
      clock,
    )
  }

  /** As of the last look. */
  get found(): readonly string[] {
    return this.#found
  }

  /** Something about the host may be other than before: it is looked at soon. */
  mayHaveChanged(): void {
    this.#looking.request()
  }

  stop(): void {
    this.#looking.stop()
  }
}
