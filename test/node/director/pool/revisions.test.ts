/** Revisions of the pool's configuration: what names them, what the history keeps, the way back, and what is refused or overridden. */
import { test } from 'tap'
import type { ServerInput } from '../../../../node/director/control/api.ts'
import { REVISIONS_MAX } from '../../../../node/director/pool/revision-history.ts'
import { FullStore, PoolOfDirectors, peerIdOf, START_MS, type TestDirector } from './pool-of-directors.ts'

const web = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
const dns = { protocol: 'udp', address: '10.0.0.100', port: 53 } as const
const server = (address: string, change: Partial<ServerInput> = {}): ServerInput => ({
  service: web,
  address,
  port: 8000,
  method: 'nat',
  weight: 1,
  ...change,
})
const EMPTY = '000000000000'

const idsOf = ({ configuration }: TestDirector) => configuration.revisions().map(({ revision }) => revision)
const linesSince = async ({ configuration }: TestDirector, revision: string) =>
  Array.fromAsync(await configuration.difference(revision))
const summariesOf = ({ configuration }: TestDirector) =>
  configuration.revisions().flatMap(({ change }) => (change ? [change.summary] : []))
const keysOf = async ({ store }: TestDirector, prefix: string) =>
  (await Array.fromAsync(store.iterate(prefix))).map(([key]) => key)
const stateOf = ({ configuration }: TestDirector) => ({
  services: configuration.services(),
  settings: configuration.settings(),
  marks: configuration.marks(),
})

test('the history has each change with its time, its director and a line of what changed, newest first', async (t) => {
  const pool = new PoolOfDirectors(['a'])
  const a = await pool.start('a')
  t.same(a.configuration.revisions(), [{ revision: EMPTY, change: null }])
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.advance(1000)
  await a.configuration.addServer(server('10.1.0.1'))
  await a.configuration.editServer(server('10.1.0.1', { weight: 3 }))
  await a.configuration.setSettings({ drop_entry: 1 })
  await a.configuration.addMark({ rule: { mark: 7, firstPort: 80 } })
  await a.configuration.edit([
    { do: 'add-service', service: { ...dns, scheduler: 'rr' } },
    { do: 'delete-service', service: web },
    { do: 'edit-settings', settings: { drop_packet: 1, drop_entry: 2 } },
  ])
  await a.configuration.removeService(dns)
  t.same(summariesOf(a), [
    '- udp 10.0.0.100:53 scheduler rr, 0 servers',
    '1 service added, 1 service removed, settings',
    '+ mark 7 --port 80, in place 1',
    '~ setting drop_entry 0 -> 1',
    '~ tcp 10.0.0.100:80 server 10.1.0.1:8000 weight 1 -> 3',
    '+ tcp 10.0.0.100:80 server 10.1.0.1:8000 method nat weight 1',
    '+ tcp 10.0.0.100:80 scheduler wlc',
  ])
  const [newest, , , , , , first, beginning] = a.configuration.revisions()
  t.match(newest, { revision: a.configuration.revision, change: { madeMs: START_MS + 1000, director: 'a' } })
  t.match(first.change, { madeMs: START_MS, overridden: [] })
  t.same(beginning, { revision: EMPTY, change: null })
})

test('a removal of what was never known here is no revision, and keeps the others', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  for (let port = 1; port <= 2 * REVISIONS_MAX; port++) {
    await a.configuration.addService({ ...web, port, scheduler: 'rr' })
    await a.configuration.removeService({ ...web, port })
  }
  await a.configuration.addService({ ...web, scheduler: 'rr' })
  const b = await pool.start('b')
  await pool.advance(1000)
  t.equal(b.configuration.revision, a.configuration.revision)
  t.same(summariesOf(b), ['+ tcp 10.0.0.100:80 scheduler rr'])
})

test('directors that have the same configuration have the same revision, also when they learned it otherwise', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const a = await pool.start('a')
  const b = await pool.start('b')
  await pool.advance(100)
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.advance(100)
  await b.configuration.addServer(server('10.1.0.1'))
  await pool.advance(100)
  await a.configuration.edit([
    { do: 'add-service', service: { ...dns, scheduler: 'rr' } },
    { do: 'edit-server', server: server('10.1.0.1', { weight: 2 }) },
  ])
  await pool.settle()
  t.equal(idsOf(a).length, 4)
  t.same(idsOf(b), idsOf(a), 'those who were there have the same history')
  t.same(summariesOf(b), summariesOf(a))
  await a.configuration.removeService(dns)
  const c = await pool.start('c')
  await pool.settle()
  t.equal(c.configuration.revision, a.configuration.revision, 'a newcomer is told it as a whole')
  t.ok(a.configuration.revision !== idsOf(a)[1])
  await pool.advance(40 * 24 * 3_600_000)
  const before = a.configuration.revision
  await pool.settle()
  t.same(await keysOf(a, 'pool/'), ['pool/service/tcp 10.0.0.100:80'], 'the tombstone is forgotten')
  t.equal(a.configuration.revision, before)
})

test('any revision can be looked at, compared and gone back to, and going back is one more change', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  const b = await pool.start('b')
  await pool.advance(100)
  const steps: [revision: string, state: object][] = [[a.configuration.revision, stateOf(a)]]
  for (const step of [
    () => a.configuration.addService({ ...web, scheduler: 'wlc' }),
    () => a.configuration.addServer(server('10.1.0.1')),
    () => a.configuration.setSettings({ drop_entry: 1 }),
    () => a.configuration.addMark({ rule: { mark: 7 } }),
    () => a.configuration.addService({ ...dns, scheduler: 'rr' }),
    () => a.configuration.removeService(web),
    () => a.configuration.removeMark({ mark: 7 }),
  ]) {
    await step()
    await pool.advance(100)
    steps.push([a.configuration.revision, stateOf(a)])
  }
  for (const [revision, then] of steps) {
    for (const { configuration } of [a, b]) {
      const { state } = await configuration.stateAt(revision)
      t.same({ services: state.services(), settings: state.settings(), marks: state.marks() }, then)
    }
  }
  t.same(await Array.fromAsync(await a.configuration.difference(steps[2][0])), [
    '- tcp 10.0.0.100:80 scheduler wlc, 1 server',
    '+ udp 10.0.0.100:53 scheduler rr',
    '~ setting drop_entry 0 -> 1',
  ])
  t.same(await Array.fromAsync(await a.configuration.difference(steps[4][0], steps[2][0])), [
    '~ setting drop_entry 1 -> 0',
    '- mark 7',
  ])
  const told = b.changes.length
  await b.configuration.rollback(steps[5][0].slice(0, 6))
  await pool.settle()
  for (const director of [a, b]) t.same(stateOf(director), steps[5][1], director.name)
  t.same(
    b.changes.slice(told).map(({ kind, service }) => `${kind} ${service.port}`),
    ['set 80'],
    'only what differs is told to the forwarder',
  )
  t.equal(idsOf(b)[1], steps[7][0], 'what was gone back from is a revision still')
  t.not(idsOf(b)[0], steps[5][0])
  const count = idsOf(b).length
  await b.configuration.rollback(idsOf(b)[0])
  await b.configuration.rollback(steps[5][0])
  t.equal(idsOf(b).length, count, 'to go where one is changes nothing')
  await a.configuration.rollback(EMPTY)
  t.same(stateOf(a), steps[0][1])
})

test('a revision that is not known, or not told apart from another, is refused', async (t) => {
  const { configuration } = await new PoolOfDirectors(['a']).start('a')
  await t.rejects(configuration.rollback('abcd'), { code: 'REVISION_MISSING', message: /no revision abcd.*history/ })
  for (let port = 1; port <= 40; port++) await configuration.addService({ ...web, port, scheduler: 'wlc' })
  await t.rejects(configuration.stateAt(''), { code: 'REVISION_MISSING', message: /may be .* or .*: give more/ })
})

test('who is shut out of the pool is in no revision, so that going back lets nobody in again', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  const ids = idsOf(a)
  await a.configuration.members.setRevoked(peerIdOf('b'), true)
  t.same(idsOf(a), ids)
  await a.configuration.rollback(EMPTY)
  t.same([...a.configuration.members.current().revoked], [peerIdOf('b')])
  await pool.stop('a')
  const again = await pool.start('a', a.store)
  t.equal(idsOf(again).length, 3)
  t.same([...again.configuration.members.current().revoked], [peerIdOf('b')])
})

test('the history outlives a restart, and keeps the last hundred changes with what they replaced', async (t) => {
  const pool = new PoolOfDirectors(['a'])
  let a = await pool.start('a')
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  for (let weight = 1; weight <= REVISIONS_MAX + 20; weight++) {
    await (weight === 1 ? a.configuration.addServer(server('10.1.0.1')) : undefined)
    await a.configuration.editServer(server('10.1.0.1', { weight }))
  }
  const ids = idsOf(a)
  t.equal(ids.length, REVISIONS_MAX + 1, 'and where the oldest of them began')
  t.equal((await keysOf(a, 'revision/')).length, REVISIONS_MAX)
  t.equal((await keysOf(a, 'replaced/')).length, REVISIONS_MAX)
  await pool.stop('a')
  a = await pool.start('a', a.store)
  t.same(idsOf(a), ids)
  await a.configuration.rollback(ids[REVISIONS_MAX])
  t.equal(a.configuration.service(web)?.servers[0].weight, 20)
})

test('a history that does not lead to the configuration in force begins anew', async (t) => {
  const pool = new PoolOfDirectors(['a'])
  let a = await pool.start('a')
  for (const port of [1, 2, 3]) await a.configuration.addService({ ...web, port, scheduler: 'wlc' })
  const [, , oldest] = await keysOf(a, 'revision/').then((keys) => keys.toReversed())
  await pool.stop('a')
  await a.store.open()
  await a.store.put(oldest, Uint8Array.of(0xc1))
  await a.store.close()
  a = await pool.start('a', a.store)
  t.same(summariesOf(a).length, 2, 'what is behind one that nobody understands is forgotten')
  await pool.stop('a')
  await a.store.open()
  await a.store.delete('pool/service/tcp 10.0.0.100:3')
  await a.store.close()
  a = await pool.start('a', a.store)
  t.same(a.configuration.revisions(), [{ revision: a.configuration.revision, change: null }])
  await a.configuration.removeService({ ...web, port: 2 })
  t.equal((await keysOf(a, 'revision/')).length, 1, 'and goes from the store')
  t.same(await keysOf(a, 'replaced/'), [`replaced/0000000004/service/tcp 10.0.0.100:2`])
})

test('a peer’s change that the store refuses is history all the same, and stored when it can be', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const store = new FullStore()
  const a = await pool.start('a', store)
  const b = await pool.start('b')
  await pool.advance(100)
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.advance(100)
  store.isFull = true
  await b.configuration.editService({ ...web, scheduler: 'rr' })
  await pool.advance(100)
  t.equal(a.configuration.revision, b.configuration.revision)
  t.same(idsOf(a), idsOf(b))
  const [, before] = idsOf(b)
  t.same(await linesSince(a, before), await linesSince(b, before))
  await t.rejects(a.configuration.rollback(EMPTY), { code: 'STORE_FAILED' })
  t.same(idsOf(a), idsOf(b))
  store.isFull = false
  await a.configuration.addServer(server('10.1.0.1'))
  await pool.advance(100)
  t.same(idsOf(a), idsOf(b))
  await pool.stop('a')
  const again = await pool.start('a', store)
  t.same(idsOf(again), idsOf(b))
  await again.configuration.rollback(EMPTY)
  t.same(again.configuration.services(), [])
})

test('a change that is based on another revision than the one in force is refused, with what changed since', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  const b = await pool.start('b')
  await pool.advance(100)
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.advance(100)
  const base = b.configuration.revision
  await a.configuration.editService({ ...web, scheduler: 'rr' }, base)
  await pool.advance(100)
  const conflict = {
    code: 'REVISION_CONFLICT',
    message: /~ tcp 10\.0\.0\.100:80 scheduler wlc -> rr \(by a, 2026-01-01T00:00:00\.200Z\): nothing is changed/,
  }
  const before = stateOf(b)
  for (const change of [
    b.configuration.addServer(server('10.1.0.1'), base),
    b.configuration.setSettings({ drop_entry: 1 }, base),
    b.configuration.clear(base),
    b.configuration.rollback(EMPTY, base),
  ]) {
    await t.rejects(change, conflict)
  }
  await t.rejects(b.configuration.clear('abcdabcdabcd'), { message: /this director does not know that one/ })
  t.same(stateOf(b), before)
  await t.resolves(b.configuration.addServer(server('10.1.0.1'), b.configuration.revision))
})

test('after a partition both sides agree, and the side whose change was overridden says so', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const [a, b, c] = await Promise.all(pool.names.map((name) => pool.start(name)))
  await pool.advance(100)
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await a.configuration.addService({ ...dns, scheduler: 'wlc' })
  await pool.settle()
  pool.network.cut('a', 'c')
  pool.network.cut('b', 'c')
  await a.configuration.editService({ ...web, scheduler: 'lc' })
  await pool.advance(100)
  await b.configuration.editService({ ...dns, scheduler: 'lc' })
  await pool.advance(100)
  await c.configuration.editService({ ...web, scheduler: 'sed' })
  await c.configuration.editService({ ...web, scheduler: 'rr' })
  await pool.advance(100)
  pool.network.heal('a', 'c')
  pool.network.heal('b', 'c')
  await pool.settle()
  for (const { name, configuration } of [a, b, c]) {
    t.equal(configuration.service(web)?.scheduler, 'rr', name)
    t.equal(configuration.service(dns)?.scheduler, 'lc', name)
    t.equal(configuration.revision, a.configuration.revision)
  }
  const lost = /^tcp 10\.0\.0\.100:80 by a, 2026-01-01T00:00:05\.\d+Z <- c$/
  for (const { name, overridden } of [a, b]) t.match(overridden, [lost], `${name} had the change`)
  t.same(c.overridden, [], 'on the other side nothing was lost')
  t.match(
    a.configuration.revisions().flatMap(({ change }) => change?.overridden ?? []),
    [/^tcp 10\.0\.0\.100:80 by a/],
    'and in the history',
  )
})

test('changes one after the other, seen in part or late, override nothing, and none was made beside another', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const [a, b, c] = await Promise.all(pool.names.map((name) => pool.start(name)))
  await pool.advance(100)
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.settle()
  pool.network.isolate('c')
  for (const [round, { configuration }] of [a, b, a, b].entries()) {
    await configuration.editService({ ...web, scheduler: ['rr', 'lc', 'sed', 'nq'][round] })
    await configuration.addServer(server(`10.1.0.${round}`))
    await pool.advance(100)
  }
  await a.configuration.removeService(web)
  await pool.advance(100)
  await b.configuration.addService({ ...web, scheduler: 'sh' })
  await pool.advance(100)
  pool.network.rejoin('c')
  await pool.settle()
  t.equal(c.configuration.revision, a.configuration.revision)
  t.same([a.overridden, b.overridden, c.overridden], [[], [], []])
  t.same([a.beside, b.beside, c.beside], [[], [], []])
})
