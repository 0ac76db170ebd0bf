/** A director whose store has lost a part of the configuration or of its history: what comes back, and what it says of the rest. */
import { test } from 'tap'
import type { Store } from '../../../../node/director/store/store.ts'
import { seededRandom } from '../../../random.ts'
import { PoolOfDirectors, type TestDirector } from './pool-of-directors.ts'

const web = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
const NAMES = ['a', 'b']

async function keysOf(store: Store, prefix: string): Promise<string[]> {
  return (await Array.fromAsync(store.iterate(prefix))).map(([key]) => key)
}

/** A director that is stopped, loses these keys, and starts again. */
async function restartWithout(
  pool: PoolOfDirectors,
  name: string,
  isLost: (key: string) => boolean,
): Promise<TestDirector> {
  const { store } = pool.directors.get(name) as TestDirector
  await pool.stop(name)
  await store.open()
  for (const key of await keysOf(store, '')) if (isLost(key)) await store.delete(key)
  await store.close()
  return pool.start(name, store)
}

const stateOf = ({ configuration }: TestDirector) => ({
  services: configuration.services(),
  settings: configuration.settings(),
  marks: configuration.marks(),
  revoked: [...configuration.members.current().revoked],
  revision: configuration.revision,
})

/** Two directors with services, one removed, settings and mark rules. */
async function somePool(): Promise<{ pool: PoolOfDirectors; a: TestDirector; b: TestDirector }> {
  const pool = new PoolOfDirectors(NAMES)
  const a = await pool.start('a')
  const b = await pool.start('b')
  await pool.advance(100)
  for (const port of [80, 81, 82, 83]) await a.configuration.addService({ ...web, port, scheduler: 'wlc' })
  await pool.advance(100)
  await b.configuration.editService({ ...web, port: 82, scheduler: 'rr' })
  await b.configuration.removeService({ ...web, port: 83 })
  await b.configuration.setSettings({ drop_entry: 1 })
  await b.configuration.addMark({ rule: { mark: 7, firstPort: 80 } })
  await b.configuration.members.setRevoked(`12D3KooW${'x'.repeat(44)}`, true)
  await pool.settle()
  return { pool, a, b }
}

test('whatever was lost comes back from the peers as it was, and is lost nowhere else', async (t) => {
  for (let seed = 0; seed < 8; seed++) {
    const { pool, b } = await somePool()
    const before = stateOf(b)
    const { oneIn } = seededRandom(seed)
    const again = await restartWithout(pool, 'a', () => seed === 0 || oneIn(2))
    await pool.settle()
    t.same(stateOf(again), before, `seed ${seed}`)
    t.same(stateOf(b), before, `seed ${seed}: the peer`)
    t.same([again.overridden, b.overridden], [[], []])
    t.equal(again.configuration.revisions()[0].revision, before.revision)
  }
})

test('a change that is made before the peers are heard is newer than one of its own that was lost', async (t) => {
  const { pool, b } = await somePool()
  // The peer's clock is ahead, and with it the stamps of this director too.
  b.skewMs = 60_000
  await b.configuration.editService({ ...web, scheduler: 'rr' })
  await pool.advance(100)
  await pool.directors.get('a')?.configuration.editService({ ...web, scheduler: 'lc' })
  await pool.advance(100)
  const again = await restartWithout(pool, 'a', (key) => key.startsWith('pool/'))
  await again.configuration.addService({ ...web, scheduler: 'sed' })
  await pool.settle()
  for (const { configuration } of [again, b]) t.equal(configuration.service(web)?.scheduler, 'sed')
})

test('a revision to which the way back is lost is refused as that, never another one, and comes back from a peer', async (t) => {
  const { a } = await somePool()
  const ids = a.configuration.revisions().map(({ revision }) => revision)
  const serversAt = async ({ configuration }: TestDirector, revision: string) => {
    const { state } = await configuration.stateAt(revision)
    return [state.services(), state.settings(), state.marks()]
  }
  const states = await Promise.all(ids.map((revision) => serversAt(a, revision)))
  const replaced = await keysOf(a.store, 'replaced/')
  t.equal(replaced.length, ids.length - 1, 'each change replaced one entry')
  for (const [index, lost] of replaced.entries()) {
    const { pool } = await somePool()
    const again = await restartWithout(pool, 'a', (key) => key === lost)
    const { configuration } = again
    t.equal(configuration.revisions().length, ids.length, 'the history lists what it has')
    // Listed newest first: this is the first one with the lost entry on its way.
    const first = ids.length - 1 - index
    for (const [age, { revision }] of configuration.revisions().entries()) {
      const answer = await serversAt(again, revision).catch(({ code }) => code)
      if (age < first) t.same(answer, states[age], `${lost}: ${age}`)
      else if (age === first || answer === 'REVISION_MISSING') {
        const refusal = { code: 'REVISION_MISSING', message: /lost a part of its history.*ask another director/ }
        await t.rejects(configuration.rollback(revision), refusal, `${lost}: ${age}`)
        await t.rejects(configuration.difference(revision), refusal)
      } else t.same(answer, states[age], `${lost}: ${age}, where it makes no difference`)
    }
    const listed = configuration.revisions()
    await pool.settle()
    t.same(await Promise.all(ids.map((revision) => serversAt(again, revision))), states, `${lost}: from the peer`)
    t.same(configuration.revisions(), listed)
  }
})

test('what was replaced by a revision that is lost is not taken for what a later one replaced', async (t) => {
  const { pool, a } = await somePool()
  const numbers = (await keysOf(a.store, 'revision/')).slice(-2)
  const { configuration, store } = await restartWithout(pool, 'a', (key) => numbers.includes(key))
  const { revision } = configuration
  t.same(configuration.revisions(), [{ revision, change: null }], 'the history begins anew')
  await configuration.removeService(web)
  await configuration.rollback(revision)
  t.equal(configuration.services().length, 3)
  t.equal((await configuration.stateAt(revision)).state.services().length, 3)
  t.equal((await keysOf(store, 'revision/')).length, 2)
  t.equal((await keysOf(store, 'replaced/')).length, 2, 'the strays are gone')
})
