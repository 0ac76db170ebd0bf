/** A director whose clock was ahead, or is behind: what it changed counts for everybody once the clock is right, and nothing is lost over it. */
import { type Test, test } from 'tap'
import { MemoryStore } from '../../../../node/director/store/memory-store.ts'
import { PoolOfDirectors, peerIdOf, START_MS, type TestDirector } from './pool-of-directors.ts'

const web = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
const HOUR_MS = 3_600_000

async function poolOfTwo(skewMs = 0) {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const a = await pool.start('a', new MemoryStore(), skewMs)
  const b = await pool.start('b')
  await pool.settle(1)
  return { pool, a, b }
}

const schedulerAt = ({ configuration }: TestDirector) => configuration.service(web)?.scheduler

/** Nobody tells anybody what he has already, or refuses it. */
async function agree(pool: PoolOfDirectors): Promise<boolean> {
  const all = [...pool.directors.values()]
  const refusals = () => JSON.stringify(all.map(({ configuration }) => configuration.refused))
  const before = refusals()
  await pool.settle(2)
  return refusals() === before && new Set(all.map(({ configuration }) => configuration.revision)).size === 1
}

test('what was changed while the clock was ahead is made anew when it is right, and comes to the others', async (t) => {
  const { pool, a, b } = await poolOfTwo(2 * HOUR_MS)
  await a.configuration.addService({ ...web, scheduler: 'rr' })
  await a.configuration.addService({ ...web, port: 81, scheduler: 'rr' })
  await a.configuration.removeService({ ...web, port: 81 })
  await a.configuration.members.setRevoked(peerIdOf('c'), true)
  await pool.settle()
  t.same(b.configuration.services(), [])
  a.skewMs = 0
  await a.configuration.addService({ ...web, port: 82, scheduler: 'rr' })
  t.equal(a.configuration.services().length, 2, 'it is in force here all the time')
  await pool.settle()
  t.same(b.configuration.services(), a.configuration.services())
  t.equal(b.configuration.services().length, 2)
  t.same([...b.revoked.current], [peerIdOf('c')])
  t.same(a.corrected, [3], 'but the revocation, which b has made its own')
  t.ok(await agree(pool))
  await a.configuration.editService({ ...web, scheduler: 'lc' })
  await pool.settle(1)
  t.equal(schedulerAt(b), 'lc', 'a later change counts at once')
  t.same(a.corrected, [3])
})

test('whom a director revokes while its clock is ahead is shut out everywhere at once, and can be let in again', async (t) => {
  const { pool, a, b } = await poolOfTwo(2 * HOUR_MS)
  await a.configuration.members.setRevoked(peerIdOf('c'), true)
  await pool.settle(1)
  t.same([...b.revoked.current], [peerIdOf('c')])
  await b.configuration.addService({ ...web, scheduler: 'rr' })
  t.ok((b.configuration.revisions()[0].change?.madeMs ?? 0) <= START_MS + pool.clock.now(), 'no clock follows')
  await b.configuration.members.setRevoked(peerIdOf('c'), false)
  await pool.settle()
  t.same([...b.revoked.current], [], 'not even though that director says it again and again')
  a.skewMs = 0
  await pool.settle()
  t.same([...a.revoked.current], [])
  t.ok(await agree(pool))
})

test('an older entry of a peer does not undo a change that was made of it', async (t) => {
  const { pool, a, b } = await poolOfTwo()
  await b.configuration.addService({ ...web, scheduler: 'rr' })
  await pool.settle(1)
  a.skewMs = 2 * HOUR_MS
  await a.configuration.editService({ ...web, scheduler: 'lc' })
  await pool.settle()
  a.skewMs = 0
  await pool.settle(1)
  t.same([schedulerAt(a), schedulerAt(b)], ['lc', 'rr'])
  await pool.settle()
  t.same([schedulerAt(a), schedulerAt(b)], ['lc', 'lc'])
  t.same([a.overridden, b.overridden], [[], []])
  t.ok(await agree(pool))
})

test('what a peer has changed meanwhile, as the change did not know it, wins over it', async (t) => {
  const { pool, a, b } = await poolOfTwo()
  await b.configuration.addService({ ...web, scheduler: 'rr' })
  await pool.settle(1)
  a.skewMs = 2 * HOUR_MS
  await a.configuration.editService({ ...web, scheduler: 'lc' })
  await pool.settle(1)
  await b.configuration.editService({ ...web, scheduler: 'sed' })
  await pool.settle()
  t.equal(schedulerAt(a), 'lc')
  a.skewMs = 0
  await pool.settle()
  t.same([schedulerAt(a), schedulerAt(b)], ['sed', 'sed'])
  t.equal(a.overridden.length, 1)
  t.same(a.corrected, [])
})

test('so it is after a restart with the right clock, and not before a peer is there to say what it has', async (t) => {
  const { pool, a, b } = await poolOfTwo(2 * HOUR_MS)
  await a.configuration.addService({ ...web, scheduler: 'rr' })
  await pool.stop('a')
  await pool.stop('b')
  const again = await pool.start('a', a.store)
  await pool.settle()
  t.same(again.corrected, [])
  const other = await pool.start('b', b.store)
  await pool.settle()
  t.same(again.corrected, [1])
  t.same([schedulerAt(again), schedulerAt(other)], ['rr', 'rr'])
  await pool.stop('a')
  const third = await pool.start('a', a.store)
  await pool.settle()
  t.same(third.corrected, [], 'the new stamps are in the store')
})

/** Both clocks are ahead, and then right. */
async function aheadTogether(
  t: Test,
  change: (pool: PoolOfDirectors, a: TestDirector, b: TestDirector) => Promise<void>,
) {
  const both = await poolOfTwo()
  const { pool, a, b } = both
  a.skewMs = b.skewMs = 2 * HOUR_MS
  await change(pool, a, b)
  await pool.settle(1)
  a.skewMs = b.skewMs = 0
  await pool.settle()
  t.same([a.corrected, b.corrected], [[], []], 'what both believe stays')
  return both
}

test('after the clocks of all were ahead, what any of them changes comes to the others', async (t) => {
  const { pool, a, b } = await aheadTogether(t, async (_, { configuration }) => {
    await configuration.addService({ ...web, scheduler: 'rr' })
    await configuration.editService({ ...web, scheduler: 'lc' })
  })
  await b.configuration.addService({ ...web, port: 81, scheduler: 'rr' })
  await b.configuration.setSettings({ drop_entry: 1 })
  await pool.settle(6)
  t.equal(a.configuration.services().length, 2)
  t.same(a.configuration.settings(), { drop_entry: 1 })
  t.same([a.corrected, b.corrected], [[], [2]])
  await a.configuration.addService({ ...web, port: 82, scheduler: 'rr' })
  await pool.settle(6)
  t.equal(b.configuration.services().length, 3)
  t.same([a.corrected, b.corrected], [[2], [2]], 'what peers had believed is made anew with it')
  t.ok(await agree(pool))
  t.same([...a.overridden, ...b.overridden], [])
})

test('so it is with a service that they had changed one after the other', async (t) => {
  const { pool, a, b } = await aheadTogether(t, async (pool, a, b) => {
    await b.configuration.addService({ ...web, scheduler: 'rr' })
    await pool.advance(100)
    await a.configuration.editService({ ...web, scheduler: 'lc' })
  })
  t.same([schedulerAt(a), schedulerAt(b)], ['lc', 'lc'])
  await b.configuration.editService({ ...web, scheduler: 'sed' })
  await pool.settle(6)
  t.same([schedulerAt(a), schedulerAt(b)], ['sed', 'sed'])
  t.ok(await agree(pool))
})

test('a director with a clock behind makes nothing anew, however much it changes', async (t) => {
  const { pool, a, b } = await poolOfTwo()
  await a.configuration.addService({ ...web, scheduler: 'rr' })
  await pool.settle(1)
  a.skewMs = -HOUR_MS
  for (let round = 0; round < 8; round++) {
    await pool.settle(1)
    // Unknown to all when the next announcement is made.
    await a.configuration.editService({ ...web, scheduler: round % 2 ? 'lc' : 'wlc' })
    a.configuration.announce()
  }
  await pool.settle(1)
  t.same(a.corrected, [])
  t.equal(schedulerAt(b), schedulerAt(a))
})

for (const [behind, skewMs] of [
  ['an hour', -HOUR_MS],
  ['fifty years', -50 * 366 * 24 * HOUR_MS],
] as const) {
  test(`a director that starts with a clock ${behind} behind makes changes that count, and none anew`, async (t) => {
    const { pool, a, b } = await poolOfTwo()
    await a.configuration.addService({ ...web, scheduler: 'rr' })
    await pool.settle(1)
    await pool.stop('a')
    const late = await pool.start('a', a.store, skewMs)
    await late.configuration.editService({ ...web, scheduler: 'lc' })
    await pool.settle(6)
    t.equal(schedulerAt(b), 'lc')
    await late.configuration.addService({ ...web, port: 81, scheduler: 'lc' })
    await pool.settle(6)
    t.equal(b.configuration.services().length, 2)
    t.same(late.corrected, [])
    late.skewMs = 0
    t.ok(await agree(pool))
  })
}

test('a director with a clock behind is not told back to what a change of a peer had seen', async (t) => {
  const { pool, a, b } = await poolOfTwo()
  const c = await pool.start('c')
  await b.configuration.addService({ ...web, scheduler: 'rr' })
  await pool.settle(1)
  await pool.stop('c')
  await pool.advance(2 * HOUR_MS)
  await b.configuration.removeService(web)
  await pool.settle(1)
  for (const name of ['a', 'b']) await pool.stop(name)
  const behind = await pool.start('a', a.store, -HOUR_MS)
  const stale = await pool.start('c', c.store)
  t.equal(schedulerAt(stale), 'rr')
  await pool.settle()
  t.same([schedulerAt(behind), schedulerAt(stale)], [undefined, undefined])
  t.notOk(
    behind.changes.some(({ kind }) => kind === 'set'),
    'not even for a while',
  )
})

test('what the store refuses to take anew is tried again', async (t) => {
  const { pool, a, b } = await poolOfTwo(2 * HOUR_MS)
  await a.configuration.addService({ ...web, scheduler: 'rr' })
  a.skewMs = 0
  const batch = a.store.batch.bind(a.store)
  a.store.batch = () => Promise.reject(new Error('full'))
  await pool.settle()
  t.same([schedulerAt(b), a.corrected], [undefined, []])
  t.ok(a.storeFailures.length > 0)
  a.store.batch = batch
  await pool.settle()
  t.same([schedulerAt(b), a.corrected], ['rr', [1]])
})
