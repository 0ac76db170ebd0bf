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

for (const recording of recordings) {
  test(`the recording ${recording.name} is picked as the kernel did`, async (t) => {
    t.strictSame(replay(recording), recording.seq)
  })
}
