/** How much is told to the log of peers' changes that met others. */
import { test } from 'tap'
import { ConflictLog } from '../../../../node/director/pool/conflict-log.ts'

const by = { wallMs: 1, counter: 0, director: 'b', later: 'x'.repeat(1000) }

function noted() {
  const told: [what: object, message: string][] = []
  const clock = { nowMs: 1_000_000 }
  const log = new ConflictLog(
    (what, message) => told.push([what, message]),
    () => clock.nowMs,
  )
  return { told, clock, log }
}

test('of a change that met many others the first twenty are told, and nothing of its stamp but who and when', async (t) => {
  const { told, log } = noted()
  const changes = Array.from({ length: 65_000 }, (_, index) => `change ${index}`)
  log.overridden(changes, by)
  log.beside(changes.slice(0, 2), by)
  const author = { wallMs: 1, counter: 0, director: 'b' }
  t.strictSame(
    told.map(([what]) => what),
    [
      { overridden: [...changes.slice(0, 20), '64980 more'], by: author },
      { beside: ['change 0', 'change 1'], by: author },
    ],
  )
})

test('so many are told in a minute, and once that there are more', async (t) => {
  const { told, clock, log } = noted()
  for (let change = 0; change < 1000; change++) log.overridden(['a change'], by)
  t.equal(told.length, 31)
  t.match(told.at(-1), [{}, /no more .* for this minute/])
  clock.nowMs += 60_000
  for (let change = 0; change < 1000; change++) log.beside(['a change'], by)
  t.equal(told.length, 62)
})
