/**
 * npm run drills -- [--times 10] [--seconds 4] [--sessions 1000] [--sync established] [--drills crash,handover]: every drill, or those
 * that are named, by every method, so many times in a row. Less than some 4 s before a failure show a pool that still starts. Prints a
 * line for each drill by each method, of the worst that was seen, also when it is interrupted, and ends with 1 if any has failed, or if the
 * median of a crash's or a handover's pauses by a method is longer than it may be.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { programFile } from '../../forwarder/program-file.ts'
import { DRILLS } from '../../node/drill/drill.ts'
import { FAILURE_NAMES } from '../../node/drill/failures/registry.ts'
import { untilInterrupted } from '../../node/drill/interruption.ts'
import { programOptions } from '../support/program-options.ts'
import { type Method, type Run, runRounds, tableOf, tooLongPauses } from './rounds.ts'

const values = programOptions({
  times: { type: 'string', default: '10' },
  seconds: { type: 'string', default: '4' },
  sessions: { type: 'string', default: '1000' },
  sync: { type: 'string', default: 'established' },
  drills: { type: 'string', default: 'all' },
})
const times = Number(values.times)
if (!(times >= 1)) {
  process.stderr.write(`--times ${values.times}: expected a number from 1\n`)
  process.exit(2)
}
const names = values.drills.split(',')
if (!names.every((name) => DRILLS.includes(name))) {
  process.stderr.write(`--drills ${values.drills}: expected some of ${DRILLS.join(', ')}\n`)
  process.exit(2)
}
// One by one, so that what has been seen is not lost with one that is interrupted.
const drills = names.flatMap((name) => (name === 'all' ? FAILURE_NAMES : name))

const runs = await untilInterrupted(async (signal) => {
  const runs = await runRounds(times, drills, (drill, method) => rehearse(drill, method, signal), signal, say)
  say(tableOf(runs))
  for (const sentence of tooLongPauses(runs)) say(sentence)
  return runs
})
process.exitCode = runs.every(({ hasPassed }) => hasPassed) && tooLongPauses(runs).length === 0 ? 0 : 1

/** What has failed is said on stderr. */
async function rehearse(drill: string, method: Method, signal: AbortSignal): Promise<Run> {
  const { seconds, sessions, sync } = values
  const options = ['--method', method, '--seconds', seconds, '--sessions', sessions, '--sync', sync, '--json']
  const child = spawn(process.execPath, [programFile('node/cli/director'), 'drill', drill, ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  // Ctrl-C reaches it by itself, a request to end does not. It takes its lab down first.
  const end = () => child.kill('SIGTERM')
  signal.addEventListener('abort', end)
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
  signal.removeEventListener('abort', end)
  return { drill, method, hasPassed: code === 0, result: output === '' ? undefined : JSON.parse(output) }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
