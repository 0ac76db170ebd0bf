/** Rounds of drills: one after another until somebody interrupts them, and the table of what came of them. */
import Table from 'cli-table3'
import { type DrillResult, percentile } from '../../node/drill/drill-report.ts'

/**
 * What a pause may be, the 99th percentile of the sessions': of itself, or by how much more than the same sessions' before the failure.
 * A machine stands still for as long by itself now and then: the median of a drill's rounds by one method counts.
 * Of other drills nothing is said here: no number is more than undefined.
 */
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
      const isWell = runs.slice(begin).every(({ hasPassed }) => hasPassed)
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
    'runs with too long a pause',
    'sessions lost',
    'pause p99: median, worst',
    'p99 before: median, worst',
    'over it: median, worst',
    'set-up p50: median, worst',
    'new failed',
    'downloads lost',
  ]
  const table = new Table({ head, style: { head: [], border: [] } })
  for (const [name, those] of byDrillAndMethod(runs)) {
    const results = those.flatMap(({ result }) => result ?? [])
    table.push([
      name,
      `${those.filter(({ hasPassed }) => hasPassed).length} of ${those.length}`,
      `${results.filter(isTooLong).length} of ${results.length}`,
      `${sum(results, ({ sessions }) => sessions.lost)} of ${sum(results, ({ sessions }) => sessions.opened)}`,
      medianAndWorst(results, pauseMs),
      medianAndWorst(results, ({ pauseMs }) => pauseMs.baselineP99),
      medianAndWorst(results, overBaselineMs),
      medianAndWorst(results, ({ newConnections }) => newConnections.setUpMs.p50),
      `${sum(results, (each) => each.newConnections.failed)} of ${sum(results, (each) => each.newConnections.attempted)}`,
      `${sum(results, ({ downloads }) => downloads.started - downloads.intact)} of ${sum(results, ({ downloads }) => downloads.started)}`,
    ])
  }
  return table.toString()
}

/** In words, each drill by a method whose pauses, by their median, are longer than they may be. */
export function tooLongPauses(runs: readonly Run[]): string[] {
  return [...byDrillAndMethod(runs)].flatMap(([name, those]) => {
    const results = those.flatMap(({ result }) => result ?? [])
    if (results.length === 0) return []
    const { drill } = results[0]
    const checks = [
      ['pause', results.map(pauseMs), LONGEST_MS[drill]],
      ['pause over that before it', results.map(overBaselineMs), LONGEST_OVER_BASELINE_MS[drill]],
    ] as const
    return checks.flatMap(([what, values, longest]) => {
      const median = percentile(values.toSorted(ascending), 50)
      return median > longest ? `${name}: ${what} ${median} ms by its median, more than ${longest}` : []
    })
  })
}

function isTooLong(result: DrillResult): boolean {
  const { drill } = result
  return pauseMs(result) > LONGEST_MS[drill] || overBaselineMs(result) > LONGEST_OVER_BASELINE_MS[drill]
}

function byDrillAndMethod(runs: readonly Run[]): Map<string, Run[]> {
  return Map.groupBy(runs, ({ drill, method }) => `${drill} ${method}`)
}

function pauseMs(result: DrillResult): number {
  return result.pauseMs.p99
}

function overBaselineMs({ pauseMs }: DrillResult): number {
  return Math.round(10 * (pauseMs.p99 - pauseMs.baselineP99)) / 10
}

function ascending(a: number, b: number): number {
  return a - b
}

function sum(results: readonly DrillResult[], of: (result: DrillResult) => number): number {
  return results.reduce((total, each) => total + of(each), 0)
}

function medianAndWorst(results: readonly DrillResult[], of: (result: DrillResult) => number): string {
  const sorted = results.map(of).sort(ascending)
  return sorted.length === 0 ? 'none' : `${percentile(sorted, 50)}, ${sorted.at(-1)} ms`
}
