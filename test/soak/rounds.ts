/** Rounds of drills: one after another until somebody interrupts them, and the table of what came of them. */
import Table from 'cli-table3'
import { type DrillResult, percentile } from '../../node/drill/drill-report.ts'

/** What a pause may be, the 99th percentile of the sessions': of itself, or by how much more than the same sessions' before the failure. */
const LONGEST_MS: Readonly<Record<string, number>> = { crash: 300 }
const LONGEST_OVER_BASELINE_MS: Readonly<Record<string, number>> = { handover: 20 }

const METHODS = ['nat', 'dr', 'tun'] as const
export type Method = (typeof METHODS)[number]

/** One drill that was run. */
export interface Run {
  readonly drill: string
  readonly method: Method
  readonly hasPassed: boolean
  /** undefined: it could not be ended. */
  readonly result: DrillResult | undefined
}

/**
 * Runs each drill by every method, so many times. One that the interruption cut short does not count.
 * @param tell is given a line a round and method
 */
export async function runRounds(
  times: number,
  drills: readonly string[],
  run: (drill: string, method: Method) => Promise<Run>,
  signal: AbortSignal,
  tell: (line: string) => void,
): Promise<Run[]> {
  const runs: Run[] = []
  for (let round = 1; round <= times; round++) {
    for (const method of METHODS) {
      const begin = runs.length
      for (const drill of drills) {
        const one = await run(drill, method)
        if (!signal.aborted || one.result) runs.push(one)
        if (signal.aborted) return runs
      }
      const isWell = runs.slice(begin).every(isGood)
      tell(`${round} of ${times}, ${method}: ${isWell ? 'passed' : 'failed'}`)
    }
  }
  return runs
}

/** A line for each drill by each method, in the order in which they were first run, of the worst that was seen. */
export function tableOf(runs: readonly Run[]): string {
  const head = [
    'drill',
    'passed',
    'pause too long',
    'sessions lost',
    'pause p99: median, worst',
    'p99 before: median, worst',
    'over it: median, worst',
    'set-up p50: median, worst',
    'new failed',
    'downloads lost',
  ]
  const table = new Table({ head, style: { head: [], border: [] } })
  for (const [name, those] of Map.groupBy(runs, ({ drill, method }) => `${drill} ${method}`)) {
    const results = those.flatMap(({ result }) => result ?? [])
    table.push([
      name,
      `${those.filter(({ hasPassed }) => hasPassed).length} of ${those.length}`,
      `${results.filter(isTooLong).length} of ${results.length}`,
      `${sum(results, ({ sessions }) => sessions.lost)} of ${sum(results, ({ sessions }) => sessions.opened)}`,
      medianAndWorst(results, ({ pauseMs }) => pauseMs.p99),
      medianAndWorst(results, ({ pauseMs }) => pauseMs.baselineP99),
      medianAndWorst(results, overBaselineMs),
      medianAndWorst(results, ({ newConnections }) => newConnections.setUpMs.p50),
      `${sum(results, (each) => each.newConnections.failed)} of ${sum(results, (each) => each.newConnections.attempted)}`,
      `${sum(results, ({ downloads }) => downloads.started - downloads.intact)} of ${sum(results, ({ downloads }) => downloads.started)}`,
    ])
  }
  return table.toString()
}

/** Whether nothing was lost that need not be, and no pause was too long. */
export function isGood({ hasPassed, result }: Run): boolean {
  return hasPassed && !(result && isTooLong(result))
}

export function isTooLong(result: DrillResult): boolean {
  const { drill, pauseMs } = result
  return (
    pauseMs.p99 > (LONGEST_MS[drill] ?? Number.POSITIVE_INFINITY) ||
    overBaselineMs(result) > (LONGEST_OVER_BASELINE_MS[drill] ?? Number.POSITIVE_INFINITY)
  )
}

function overBaselineMs({ pauseMs }: DrillResult): number {
  return Math.round(10 * (pauseMs.p99 - pauseMs.baselineP99)) / 10
}

function sum(results: readonly DrillResult[], of: (result: DrillResult) => number): number {
  return results.reduce((total, each) => total + of(each), 0)
}

function medianAndWorst(results: readonly DrillResult[], of: (result: DrillResult) => number): string {
  const sorted = results.map(of).sort((a, b) => a - b)
  return sorted.length === 0 ? 'none' : `${percentile(sorted, 50)}, ${sorted.at(-1)} ms`
}
