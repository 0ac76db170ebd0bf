/**
 * Tells a new report from one that was recorded on the network and sent again.
 *
 * A report is taken only if the agent's wall clock, which it carries, is within 30 s of the director's, and if its sequence
 * number is above the last one of the same run of the agent. The window bounds what must be remembered: once a run has been
 * silent for longer than the window can reach, each of its datagrams is too old by its time, and the run may be forgotten.
 * It asks of agents and directors that their clocks agree to 30 s; one that is off is counted as 'clock', and its server is
 * used with the configured weight.
 *
 * A guard is for the reports under one key: whoever holds a key can fill no memory but his own.
 */
import type { AgentReport } from '../../../protocol/wire/agent-report.ts'

export type ReplayRefusal = 'clock' | 'replay' | 'capacity'

export const CLOCK_WINDOW_MS = 30_000
/** A run is remembered until a datagram stamped up to a window ahead of us has left the window behind. */
const REMEMBERED_MS = 2 * CLOCK_WINDOW_MS

export class ReplayGuard {
  /** Oldest heard first. */
  readonly #runs = new Map<string, { sequence: number; heardAtMs: number }>()
  /** As many are told apart at a time; a further one is refused until one of them is old. */
  runsMax: number

  constructor(runsMax: number) {
    this.runsMax = runsMax
  }

  /** Why the report is not believed, or undefined when it is; then it counts as heard. `wallClockMs` is since 1970. */
  check(report: Pick<AgentReport, 'runId' | 'sequence' | 'timeMs'>, wallClockMs: number): ReplayRefusal | undefined {
    if (Math.abs(report.timeMs - wallClockMs) > CLOCK_WINDOW_MS) return 'clock'
    const run = this.#runs.get(report.runId)
    if (run && report.sequence <= run.sequence) return 'replay'
    if (!run && this.#runs.size >= this.runsMax && !this.#forget(wallClockMs)) return 'capacity'
    this.#runs.delete(report.runId)
    this.#runs.set(report.runId, { sequence: report.sequence, heardAtMs: wallClockMs })
    return undefined
  }

  /** Makes room; false when every run was heard of lately. */
  #forget(wallClockMs: number): boolean {
    const before = this.#runs.size
    for (const [runId, { heardAtMs }] of this.#runs) {
      if (wallClockMs - heardAtMs <= REMEMBERED_MS) break
      this.#runs.delete(runId)
    }
    return this.#runs.size < before
  }
}
