/**
 * npm run simulate -- [--seeds 300] [--first 1] [--directors N] [--jobs N]: simulates pools under faults, seed by seed, in as many processes
 * as there are processors. Ends with 1 and a minimal trace when a promise is broken.
 */
import { availableParallelism } from 'node:os'
import { programOptions } from '../support/program-options.ts'
import { report } from './campaign.ts'
import { campaigns } from './campaigns.ts'

const values = programOptions({
  seeds: { type: 'string' },
  first: { type: 'string' },
  directors: { type: 'string' },
  jobs: { type: 'string' },
})
const seeds = wholeNumber('seeds', values.seeds ?? '300', 1, 2 ** 32)
const firstSeed = wholeNumber('first', values.first ?? '1', 0, 2 ** 32)
const directors = values.directors === undefined ? undefined : wholeNumber('directors', values.directors, 2, 50)
const jobs = wholeNumber('jobs', values.jobs ?? String(availableParallelism()), 1, 1024)
const PROGRESS_INTERVAL_MS = 2000

let reportAtMs = 0
const onProgress = (done: number, conversations: number) => {
  if (Date.now() < reportAtMs && done < seeds) return
  reportAtMs = Date.now() + PROGRESS_INTERVAL_MS
  process.stdout.write(`${done} of ${seeds} seeds, ${conversations} connections\n`)
}
const result = await campaigns({ firstSeed, seeds, directors, onProgress }, Math.min(jobs, seeds))
const { runs, conversations, resumed, faults, simulatedMs, failure } = result
process.stdout.write(
  `${runs} runs, ${Math.round(simulatedMs / 1000)} s simulated, ${faults} faults, ${conversations} connections, ${resumed} of them resumed without a record\n`,
)
if (failure) {
  const size = directors === undefined ? '' : ` --directors ${directors}`
  process.stderr.write(`${report(failure)}\nagain: npm run simulate -- --seeds 1 --first ${failure.plan.seed}${size}\n`)
  process.exitCode = 1
}

function wholeNumber(option: string, text: string, least: number, most: number): number {
  const number = Number(text)
  if (Number.isInteger(number) && number >= least && number <= most) return number
  process.stderr.write(`--${option} ${text}: expected a whole number from ${least} to ${most}\n`)
  process.exit(2)
}
