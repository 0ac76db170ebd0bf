/** What a soak refuses before anything is built. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'tap'

const cases = [
  ['server-death', /^--failures server-death: expected some of crash, handover, freeze, /],
  ['crash,join', /^--failures crash,join: expected some of crash, handover, freeze, /],
] as const

for (const [failures, message] of cases) {
  test(`a soak refuses the failures ${failures}`, async (t) => {
    const words = [join(import.meta.dirname, 'soak.ts'), '--failures', failures]
    const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8', timeout: 60_000 })
    t.equal(status, 2)
    t.match(stderr, message)
    t.equal(stderr.trimEnd().split('\n').length, 1)
  })
}
