/** Runs the scripts that a group tracks, each by itself, from interval to interval and never twice at once. */
import type { Clock } from '../clock.ts'
import type { RunScript, ScriptRun } from './run-script.ts'
import type { TrackConfig } from './vip-config.ts'

export class ScriptChecks {
  readonly #scripts: TrackConfig['scripts']
  readonly #clock: Clock
  readonly #run: RunScript
  readonly #onResult: (index: number, failure: string | undefined) => void
  readonly #running = new Map<number, ScriptRun>()
  readonly #cancelTimers = new Map<number, () => void>()
  #isStopped = false

  /** @param onResult the script of this number has ended, with why it failed, or undefined */
  constructor(
    scripts: TrackConfig['scripts'],
    clock: Clock,
    run: RunScript,
    onResult: (index: number, failure: string | undefined) => void,
  ) {
    this.#scripts = scripts
    this.#clock = clock
    this.#run = run
    this.#onResult = onResult
  }

  start(): void {
    for (const index of this.#scripts.keys()) void this.#check(index)
  }

  stop(): void {
    this.#isStopped = true
    for (const cancel of this.#cancelTimers.values()) cancel()
    for (const run of this.#running.values()) run.kill()
  }

  async #check(index: number): Promise<void> {
    const { command, timeoutMs, intervalMs } = this.#scripts[index]
    const dueMs = this.#clock.now() + intervalMs
    const run = this.#run(command, timeoutMs)
    this.#running.set(index, run)
    const failure = await run.ended
    this.#running.delete(index)
    if (this.#isStopped) return
    this.#onResult(index, failure)
    const delayMs = Math.max(0, dueMs - this.#clock.now())
    this.#cancelTimers.set(
      index,
      this.#clock.schedule(delayMs, () => void this.#check(index)),
    )
  }
}
