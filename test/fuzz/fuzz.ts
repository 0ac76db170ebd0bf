/**
 * npm run fuzz -- [--frames 10000000] [--messages 1000000] [--seed N]: fuzzes the whole forwarder with frames, then whatever else hears
 * anything with messages; the seed that it prints repeats a run.
 */

import { programOptions } from '../support/program-options.ts'
import { fuzz } from './fuzzer.ts'
import { fuzzMessages } from './messages/fuzz-messages.ts'

const values = programOptions({ frames: { type: 'string' }, messages: { type: 'string' }, seed: { type: 'string' } })
const frames = wholeNumber('frames', values.frames ?? '10000000')
const messages = wholeNumber('messages', values.messages ?? '1000000')
const seed = wholeNumber('seed', values.seed ?? String(Math.floor(Math.random() * 2 ** 32)))
process.stdout.write(`seed ${seed}, ${frames} frames, ${messages} messages\n`)
try {
  if (frames > 0) fuzzForwarder()
  if (messages > 0) await fuzzListeners()
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 1
}

function fuzzForwarder(): void {
  let nextReport = 0
  const { sent, drops, evicted } = fuzz(seed, frames, (done) => {
    if (done < nextReport) return
    nextReport = done + 500_000
    process.stdout.write(`${done} frames\n`)
  })
  process.stdout.write(`${frames} frames in, ${sent} frames out, ${evicted} half-open connections given up\n`)
  for (const [reason, count] of Object.entries(drops)) process.stdout.write(`  dropped, ${reason}: ${count}\n`)
}

async function fuzzListeners(): Promise<void> {
  const result = await fuzzMessages(seed, messages, (wire) => process.stdout.write(`messages: ${wire}\n`))
  for (const [wire, { messages, seconds, outcomes }] of Object.entries(result)) {
    const counts = Object.entries(outcomes).map(([outcome, count]) => `${outcome} ${count}`)
    const rate = Math.round(messages / seconds)
    process.stdout.write(`${wire}: ${messages} messages, ${rate} a second: ${counts.join(', ')}\n`)
  }
}

function wholeNumber(option: string, text: string): number {
  const number = Number(text)
  if (Number.isInteger(number) && number >= 0) return number
  process.stderr.write(`--${option} ${text}: expected a whole number\n`)
  process.exit(2)
}
