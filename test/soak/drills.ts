/**
 * npm run drills -- [--times 10] [--seconds 4] [--sessions 1000] [--sync established] [--drills crash,handover]: every drill, or those
 * that are named, by every method, so many times in a row. Less than some 4 s before a failure show a pool that still starts. Prints a line for each drill by each method, of the worst that was seen, and ends with 1 if any has failed.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import Table from 'cli-table3'
import { programFile } from '../../forwarder/program-file.ts'
import { type DrillResult, percentile } from '../../node/drill/drill-report.ts'

const METHODS = ['nat', 'dr', 'tun'] as const

const { values } = parseArgs({
  options: {
    times: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '4' },
    sessions: { type: 'string', default: '1000' },
    sync: { type: 'string', default: 'established' },
    drills: { type: 'string', default: 'all' },
  },
})
if (!(Number(values.times) >= 1)) {
  process.stderr.write(`--times ${values.times}: expected a number from 1\n`)
  process.exit(2)
}

const results: DrillResult[] = []
let failedRounds = 0
let interrupted = false
process.once('SIGINT', () => {
  interrupted = true
})

for (let round = 1; round <= Number(values.times) && !interrupted; round++) {
  for (const method of METHODS) {
    if (interrupted) break
    const isWell = await drillAll(method)
    if (!isWell) failedRounds++
    process.stdout.write(`${round} of ${values.times}, ${method}: ${isWell ? 'passed' : 'failed'}\n`)
  }
}
process.stdout.write(`${tableOf(results)}\n`)
process.exitCode = failedRounds > 0 || interrupted ? 1 : 0

/** @returns whether all of them passed; what has failed is said on stderr */
async function drillAll(method: (typeof METHODS)[number]): Promise<boolean> {
  const { seconds, sessions, sync } = values
  const options = ['--method', method, '--seconds', seconds, '--sessions', sessions, '--sync', sync, '--json']
  let isWell = true
  for (const name of values.drills.split(',')) {
    const child = spawn(process.execPath, [programFile('node/cli/director'), 'drill', name, ...options], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
    if (output !== '') results.push(...([JSON.parse(output)].flat() as DrillResult[]))
    isWell &&= code === 0
  }
  return isWell
}

/** The drills and methods in the order in which they were first run. */
function tableOf(results: readonly DrillResult[]): string {
  const head = [
    'drill',
    'times',
    'sessions lost',
    'pause p99: median, worst',
    'baseline',
    'over it: median, worst',
    'new failed',
    'downloads lost',
  ]
  const table = new Table({ head, style: { head: [], border: [] } })
  for (const [name, those] of Map.groupBy(results, ({ drill, method }) => `${drill} ${method}`)) {
    const pauses = sorted(those.map(({ pauseMs }) => pauseMs.p99))
    const baselines = sorted(those.map(({ pauseMs }) => pauseMs.baseline))
    const over = sorted(those.map(({ pauseMs }) => Math.round(10 * (pauseMs.p99 - pauseMs.baseline)) / 10))
    table.push([
      name,
      those.length,
      `${sum(those, ({ sessions }) => sessions.lost)} of ${sum(those, ({ sessions }) => sessions.opened)}`,
      `${percentile(pauses, 50)}, ${pauses.at(-1)} ms`,
      `${percentile(baselines, 50)}, ${baselines.at(-1)} ms`,
      `${percentile(over, 50)}, ${over.at(-1)} ms`,
      `${sum(those, (each) => each.newConnections.failed)} of ${sum(those, (each) => each.newConnections.attempted)}`,
      `${sum(those, ({ downloads }) => downloads.started - downloads.intact)} of ${sum(those, ({ downloads }) => downloads.started)}`,
    ])
  }
  return table.toString()
}

function sum<T>(those: readonly T[], of: (each: T) => number): number {
  return those.reduce((total, each) => total + of(each), 0)
}

function sorted(numbers: readonly number[]): number[] {
  return [...numbers].sort((a, b) => a - b)
}
