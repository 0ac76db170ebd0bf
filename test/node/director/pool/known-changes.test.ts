/** What a director knows of others' changes, when a peer invents directors. */
import { test } from 'tap'
import { KnownChanges } from '../../../../node/director/pool/known-changes.ts'
import { poolEntrySchema, SEEN_MAX } from '../../../../node/director/pool/pool-entry.ts'

const service = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
const tombstone = (director: string, wallMs: number, knew = {}) =>
  ({ kind: 'tombstone', stamp: { wallMs, counter: 0, director }, knew, service }) as const

test('of ten thousand directors no more are remembered than those that made a change last', async (t) => {
  const known = new KnownChanges()
  for (let index = 0; index < 10_000; index++) {
    known.witness(tombstone(`d${index}`, index, { [`e${index}`]: [index, 1] }))
  }
  t.ok(known.size <= 10 * SEEN_MAX, String(known.size))
  const newest = Array.from({ length: SEEN_MAX / 2 }, (_, index) => 9999 - index)
  const expected = newest.flatMap((index) => [
    [`e${index}`, [index, 1]],
    [`d${index}`, [index, 0]],
  ])
  t.same(known.vector(), Object.fromEntries(expected))
})

for (const name of ['', 'D1', '\u001b[2J', 'x'.repeat(64), '-d1']) {
  test(`${JSON.stringify(name)} is no director's name, neither as an author's nor as one that was known`, async (t) => {
    t.notOk(poolEntrySchema.safeParse(tombstone(name, 1)).success)
    t.notOk(poolEntrySchema.safeParse(tombstone('d1', 1, { [name]: [1, 0] })).success)
    t.ok(poolEntrySchema.safeParse(tombstone('d1', 1, { d2: [1, 0] })).success)
  })
}
