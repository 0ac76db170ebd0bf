/**
 * Runs the scripts that groups track, each by itself, from interval to interval and never twice at once. What several groups track
 * with the same interval and timeout is run once for all of them. The first runs are spread, and with them those that follow: each
 * start of a program holds up the thread that speaks VRRP.
 */
import type { Clock } from '../clock.ts'
import type { RunScript, ScriptRun } from './run-script.ts'
import type { TrackConfig } from './vip-config.ts'

/** A group may be waiting for its scripts, so they do not begin later than this. */
const LONGEST_SPREAD_MS = 1000

type Script = Pick<TrackConfig['scripts'][number], 'command' | 'intervalMs' | 'timeoutMs'>
/** The script has ended, with why it failed, or undefined. */
type OnResult = (failure: string | undefined) => void

interface Check {
  readonly script: Script
  readonly handlers: OnResult[]
  running: ScriptRun | undefined
  cancelTimer: () => void
}

export class ScriptChecks {
  readonly #clock: Clock
  readonly #run: RunScript
  readonly #checks = new Map<string, Check>()
  #isStopped = false

  constructor(clock: Clock, run: RunScript) {
    this.#clock = clock
    this.#run = run
  }

  /** To be called before the start. */
  add(script: Script, onResult: OnResult): void {
    const { command, intervalMs, timeoutMs } = script
    const key = JSON.stringify([command, intervalMs, timeoutMs])
    const check = this.#checks.get(key) ?? { script, handlers: [], running: undefined, cancelTimer: () => {} }
    check.handlers.push(onResult)
    this.#checks.set(key, check)
  }

  start(): void {
    for (const [index, check] of [...this.#checks.values()].entries()) {
      const spreadMs = Math.min(check.script.intervalMs, LONGEST_SPREAD_MS)
      this.#schedule(check, (spreadMs * index) / this.#checks.size)
    }
  }

  stop(): void {
    this.#isStopped = true
    for (const { running, cancelTimer } of this.#checks.values()) {
      cancelTimer()
      running?.kill()
    }
  }

  #schedule(check: Check, delayMs: number): void {
    check.cancelTimer = this.#clock.schedule(delayMs, () => void this.#check(check))
  }

  async #check(check: Check): Promise<void> {
    const { command, timeoutMs, intervalMs } = check.script
    const dueMs = this.#clock.now() + intervalMs
    const run = this.#run(command, timeoutMs)
    check.running = run
    const failure = await run.ended
    if (this.#isStopped) return
    for (const handler of check.handlers) handler(failure)
    await run.gone
    check.running = undefined
    if (this.#isStopped) return
    this.#schedule(check, Math.max(0, dueMs - this.#clock.now()))
  }
}
