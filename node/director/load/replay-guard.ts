/**
 * Tells a new report from one that was recorded on the network and sent again.
 *
 * A report is taken only if the agent's wall clock, which it carries, is within 30 s of the director's, and if its sequence
 * number is above the last one of the same run of the agent. The window bounds what must be remembered: once the latest time that
 * was taken of a run has left the window behind, all that was taken of it is too old by its time, and the run is forgotten. So an
 * agent whose machine was put back to a snapshot, with numbers that it has used before, is heard again after half a minute.
 *
 * It asks of agents and directors that their clocks agree to 30 s; one that is off is counted as 'clock', and its server is
 * used with the configured weight.
 *
 * A guard is for the reports under one key: whoever holds a key can fill no memory but his own.
 */
import type { AgentReport } from '../../../protocol/wire/agent-report.ts'

export type ReplayRefusal = 'clock' | 'replay' | 'capacity'

export const CLOCK_WINDOW_MS = 30_000

interface Run {
  readonly sequence: number
  /** The latest time that one of its reports carried. */
  readonly latestMs: number
  /** Numbers began again after this time: what is not later has been taken, though its number may be above the last. */
  readonly afterMs: number
}

export class ReplayGuard {
  /** Oldest heard first. */
  readonly #runs = new Map<string, Run>()
  /** As many are told apart at a time; a further one is refused until one of them is old. */
  runsMax: number

  constructor(runsMax: number) {
    this.runsMax = runsMax
  }

  /** Why the report is not believed, or undefined when it is; then it counts as heard. `wallClockMs` is since 1970. */
  check(report: Pick<AgentReport, 'runId' | 'sequence' | 'timeMs'>, wallClockMs: number): ReplayRefusal | undefined {
    if (Math.abs(report.timeMs - wallClockMs) > CLOCK_WINDOW_MS) return 'clock'
    const run = this.#runs.get(report.runId)
    const beginsAgain = run !== undefined && isOver(run, wallClockMs)
    const afterMs = (beginsAgain ? run.latestMs : run?.afterMs) ?? Number.NEGATIVE_INFINITY
    if (report.timeMs <= afterMs) return 'replay'
    if (run && !beginsAgain && report.sequence <= run.sequence) return 'replay'
    if (!run && this.#runs.size >= this.runsMax && !this.#forget(wallClockMs)) return 'capacity'
    this.#runs.delete(report.runId)
    const latestMs = Math.max(report.timeMs, run?.latestMs ?? report.timeMs)
    this.#runs.set(report.runId, { sequence: report.sequence, latestMs, afterMs })
    return undefined
  }

  /** Makes room; false when the run that was heard of least lately is not over. */
  #forget(wallClockMs: number): boolean {
    const before = this.#runs.size
    for (const [runId, run] of this.#runs) {
      if (!isOver(run, wallClockMs)) break
      this.#runs.delete(runId)
    }
    return this.#runs.size < before
  }
}

/** Whether whatever was taken of it would now be refused for its time. */
function isOver({ latestMs }: Run, wallClockMs: number): boolean {
  return wallClockMs - latestMs > CLOCK_WINDOW_MS
}
