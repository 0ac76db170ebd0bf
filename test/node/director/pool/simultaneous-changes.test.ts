/** Changes of different things that two directors made at the same time: all are in force, and everybody is told. */
import { test } from 'tap'
import type { ServiceInput } from '../../../../node/director/control/api.ts'
import { KnownChanges } from '../../../../node/director/pool/known-changes.ts'
import { PoolOfDirectors, type TestDirector } from './pool-of-directors.ts'

const service = (port: number, scheduler = 'wlc'): ServiceInput => ({
  protocol: 'tcp',
  address: '10.0.0.100',
  port,
  scheduler,
})
const besideIn = ({ configuration }: TestDirector) =>
  configuration.revisions().flatMap(({ change }) => change?.beside ?? [])

async function poolOf(...names: string[]) {
  const pool = new PoolOfDirectors(names)
  const directors = await Promise.all(names.map((name) => pool.start(name)))
  await pool.advance(100)
  return { pool, directors }
}

test('of two changes to different services, made before either was heard of, every director is told', async (t) => {
  const { pool, directors } = await poolOf('a', 'b', 'c')
  const [a, b, c] = directors
  await a.configuration.addService(service(1))
  await pool.settle()
  const [{ revision: base }] = a.configuration.revisions()
  await a.configuration.addService(service(2), base)
  await b.configuration.editService(service(1, 'rr'), base)
  await pool.settle()
  for (const { name, configuration } of directors) {
    t.equal(configuration.service(service(1))?.scheduler, 'rr', name)
    t.ok(configuration.service(service(2)), name)
  }
  const ofA = /^[0-9a-f]{12} by a, 2026-01-01T\S+Z: \+ tcp 10\.0\.0\.100:2 scheduler wlc/
  const ofB = /^[0-9a-f]{12} by b, 2026-01-01T\S+Z: ~ tcp 10\.0\.0\.100:1 scheduler wlc -> rr/
  t.match(a.beside, [new RegExp(`${ofA.source} <- b$`)])
  t.match(b.beside, [new RegExp(`${ofB.source} <- a$`)])
  t.equal(c.beside.length, 1)
  t.match(besideIn(a), [ofA])
  t.match(besideIn(b), [ofB])
  t.same([a.overridden, b.overridden, c.overridden], [[], [], []])
  await c.configuration.addService(service(3))
  await b.configuration.addService(service(4), b.configuration.revision)
  await pool.settle()
  t.equal(a.beside.length, 2, 'the next two are told of by themselves')
})

test('what has been told of is known after a restart', async (t) => {
  const { pool, directors } = await poolOf('a', 'b')
  const [a, b] = directors
  await a.configuration.addService(service(1))
  await pool.settle()
  await b.configuration.editService(service(1, 'rr'))
  await pool.settle()
  await pool.stop('b')
  const again = await pool.start('b', b.store)
  await again.configuration.addService(service(2))
  await pool.settle()
  t.ok(a.configuration.service(service(2)))
  t.same([a.beside, again.beside], [[], []])
})

test('a change that overrides another is not told of as one beside it', async (t) => {
  const { pool, directors } = await poolOf('a', 'b')
  const [a, b] = directors
  await a.configuration.addService(service(1, 'wlc'))
  await b.configuration.addService(service(1, 'rr'))
  await pool.settle()
  t.equal(a.overridden.length + b.overridden.length, 1)
  t.same([a.beside, b.beside], [[], []])
})

test('of very many, the history names some and counts the others', async (t) => {
  const { pool, directors } = await poolOf('a', 'b')
  const [a, b] = directors
  pool.network.isolate('b')
  for (let port = 1; port <= 25; port++) await a.configuration.addService(service(port))
  await b.configuration.addService(service(100))
  await pool.advance(100)
  pool.network.rejoin('b')
  await pool.settle()
  t.equal(a.beside.length, 25)
  const told = besideIn(a)
  t.equal(told.length, 21)
  t.equal(told.at(-1), '5 more')
})

test('of more directors than there is room for, those are known that changed something last', (t) => {
  const known = new KnownChanges()
  for (let at = 1; at <= 70; at++) {
    const stamp = { wallMs: at, counter: 0, director: `d${at}` }
    known.witness({ kind: 'settings', stamp, settings: {} })
  }
  const vector = known.vector()
  t.equal(Object.keys(vector).length, 64)
  t.same([vector.d6, vector.d7], [undefined, [7, 0]])
  t.end()
})
