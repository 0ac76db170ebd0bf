/**
 * A task for events that come in crowds: it runs at once when it has rested, never twice at the same time, and rests after each run.
 * Nothing is lost: what comes while it runs or rests makes it run once more. One that has failed runs again by itself.
 */
import { type Clock, systemClock } from './clock.ts'

export interface Spacing {
  /** From the end of a run to the start of the next one. */
  readonly restMs: number
  /** From a failure. */
  readonly retryMs: number
}

export class SpacedTask {
  readonly #task: () => Promise<boolean>
  readonly #spacing: Spacing
  readonly #clock: Clock
  #isWanted = false
  /** Runs or rests. */
  #isBusy = false
  #isStopped = false
  #cancelRest = () => {}

  /** @param task resolves with whether it has not failed */
  constructor(task: () => Promise<boolean>, spacing: Spacing, clock: Clock = systemClock) {
    this.#task = task
    this.#spacing = spacing
    this.#clock = clock
  }

  request(): void {
    this.#isWanted = true
    if (!this.#isBusy && !this.#isStopped) void this.#run()
  }

  /** A run that is under way goes on; no other begins. */
  stop(): void {
    this.#isStopped = true
    this.#cancelRest()
  }

  async #run(): Promise<void> {
    this.#isBusy = true
    this.#isWanted = false
    const hasWorked = await this.#task()
    if (!hasWorked) this.#isWanted = true
    if (this.#isStopped) return
    const { restMs, retryMs } = this.#spacing
    this.#cancelRest = this.#clock.schedule(hasWorked ? restMs : retryMs, () => {
      this.#isBusy = false
      if (this.#isWanted) void this.#run()
    })
  }
}
