/** What a soak and the rounds of drills refuse before anything is built. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'tap'

const cases = [
  ['soak', '--failures', 'server-death', /^--failures server-death: expected some of crash, handover, freeze, /],
  ['soak', '--failures', 'crash,join', /^--failures crash,join: expected some of crash, handover, freeze, /],
] as const

for (const [program, option, value, message] of cases) {
  test(`${program} refuses ${option} ${value}`, async (t) => {
    const file = join(import.meta.dirname, `${program}.ts`)
    const { status, stderr } = spawnSync(process.execPath, [file, option, value], { encoding: 'utf8', timeout: 30_000 })
    t.equal(status, 2)
    t.match(stderr, message)
    t.equal(stderr.trimEnd().split('\n').length, 1)
  })
}
