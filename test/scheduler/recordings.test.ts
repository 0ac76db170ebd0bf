/**
 * Our schedulers against the picks of the kernel: recordings of Linux 6.1 IPVS, one test each.
 */
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { type Recording, replay } from './replay.ts'

const recordings = readFileSync(new URL('../reference/sched.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Recording)

/** Draws lots: of its recording only the kind of answer can come again. */
const drawsLots = (recording: Recording) => recording.sched === 'twos'

for (const recording of recordings.filter(drawsLots)) {
  test(`the recording ${recording.name} has the servers that the kernel gave, in another order`, async (t) => {
    t.strictSame(new Set(replay(recording)), new Set(recording.seq))
  })
}

for (const recording of recordings.filter((recording) => !drawsLots(recording))) {
  test(`the recording ${recording.name} is picked as the kernel did`, async (t) => {
    t.strictSame(replay(recording), recording.seq)
  })
}
