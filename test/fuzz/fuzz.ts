/** npm run fuzz -- [--frames 10000000] [--seed N]: fuzzes the whole forwarder; the seed that it prints repeats a run. */
import { parseArgs } from 'node:util'
import { fuzz } from './fuzzer.ts'

const { values } = parseArgs({ options: { frames: { type: 'string' }, seed: { type: 'string' } } })
const frames = wholeNumber('frames', values.frames ?? '10000000')
const seed = wholeNumber('seed', values.seed ?? String(Math.floor(Math.random() * 2 ** 32)))
process.stdout.write(`seed ${seed}, ${frames} frames\n`)
let nextReport = 0
try {
  const { sent, drops, evicted } = fuzz(seed, frames, (done) => {
    if (done < nextReport) return
    nextReport = done + 500_000
    process.stdout.write(`${done} frames\n`)
  })
  process.stdout.write(`${frames} frames in, ${sent} frames out, ${evicted} half-open connections given up\n`)
  for (const [reason, count] of Object.entries(drops)) process.stdout.write(`  dropped, ${reason}: ${count}\n`)
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 1
}

function wholeNumber(option: string, text: string): number {
  const number = Number(text)
  if (Number.isInteger(number) && number >= 0) return number
  process.stderr.write(`--${option} ${text}: expected a whole number\n`)
  process.exit(2)
}
