/**
 * Two versions of the formats in one pool. The later one here is today's, made by the same encoders, with something more everywhere: a
 * field at the end of its records, and bytes behind every message.
 */
import { test } from 'tap'
import { UnknownFields } from '../../../../node/director/cluster/replication/unknown-fields.ts'
import { RECORD_REMOVE } from '../../../../protocol/wire/connection-record.ts'
import { FORMAT_VERSION } from '../../../../protocol/wire/format-version.ts'
import { ANOTHER_SERIES, LATER_VERSION, speaksAnotherSeries, speaksLater } from '../../../support/accent.ts'
import { makeRecord } from './record.ts'
import { type Director, Pool, sameTables } from './replication-pool.ts'

const CONNECTIONS = 300

/** The field that a later version has of a connection. */
const fieldOf = (n: number) => Uint8Array.of(0, 1 + (n % 255), 0, 7)

/** A pool in which these directors are of the later version. */
function poolOf(names: readonly string[], later: readonly string[], options = {}): Pool {
  const pool = new Pool(names, options)
  for (const name of later) pool.accents.set(name, speaksLater)
  return pool
}

/** A director of the later version writes connections [from, to). */
function write(director: Director, from: number, to: number, version = 1): void {
  for (let n = from; n < to; n++) {
    director.fields.note(makeRecord(n, version), 0, fieldOf(n))
    director.write(n, version)
  }
  director.flush()
}

/** Of how many of the connections [0, CONNECTIONS) a director has the field. */
function fieldsAt(director: Director): number {
  return Array.from({ length: CONNECTIONS }, (_, n) => director.fields.of(makeRecord(n, 1), 0)).filter(
    (field, n) => field && Buffer.compare(field, fieldOf(n)) === 0,
  ).length
}

const counters = (director: Director) => director.replicator.status().counters

for (const loss of [0, 0.3]) {
  test(`today's and a later version share a pool (${loss * 100} % of gossip lost)`, async (t) => {
    const pool = poolOf(['a', 'b', 'c'], ['a', 'c'], { network: { loss } })
    const [a, b, c] = await pool.startAll()
    write(a, 0, CONNECTIONS)
    for (let n = 1000; n < 1100; n++) b.write(n)
    b.flush()
    write(c, 2000, 2100)
    for (let n = 2000; n < 2010; n++) c.end(n)
    c.flush()
    await pool.clock.advance(10_000)
    for (const director of [a, b, c]) {
      t.equal(director.connections.size, CONNECTIONS + 100 + 90)
      t.ok(sameTables(a, director))
      t.equal(director.inSync, true)
      t.match(counters(director), {
        malformedMessages: 0,
        unreadableMessages: 0,
        passedOverMessages: 0,
        rangesRepaired: 0,
        unknownFieldsForgotten: 0,
      })
      t.match(
        director.replicator
          .status()
          .peers.map(({ name, formatVersion, rangesDifferent }) => [name, formatVersion, rangesDifferent]),
        ['a', 'b', 'c']
          .filter((name) => name !== director.name)
          .map((name) => [name, name === 'b' ? FORMAT_VERSION : LATER_VERSION, 0]),
      )
    }
    t.equal(fieldsAt(c), CONNECTIONS, 'a later version reads what another says')
    t.equal(fieldsAt(b), CONNECTIONS, 'and today’s keeps it')
    pool.stop()
  })
}

test('a field comes through a version that does not know it: by a snapshot, and when that one has changed the connection', async (t) => {
  const pool = poolOf(['a', 'b', 'c'], ['a', 'c'])
  const a = await pool.start('a')
  const b = await pool.start('b')
  await pool.clock.until(() => a.inSync && b.inSync, 5000, 10)
  write(a, 0, CONNECTIONS)
  await pool.clock.advance(1000)
  await a.kill()
  pool.directors.splice(0, 1)
  for (let n = 0; n < 100; n++) b.write(n, 2)
  b.end(299)
  b.flush()
  const c = await pool.start('c')
  await pool.clock.until(() => c.inSync, 10_000, 10)
  t.ok(sameTables(b, c))
  t.equal(c.connections.size, CONNECTIONS - 1)
  t.equal(fieldsAt(c), CONNECTIONS - 1)
  t.ok(c.status?.counters.snapshotRecords)
  for (let n = 100; n < 200; n++) b.write(n, 2)
  b.flush()
  await pool.clock.advance(100)
  t.ok(sameTables(b, c))
  t.equal(fieldsAt(c), CONNECTIONS - 1, 'a record of today’s version takes nothing away')
  pool.stop()
})

test('a field comes back with what a comparison of tables mends', async (t) => {
  const pool = poolOf(['a', 'b', 'c'], ['a', 'c'])
  const [a, b, c] = await pool.startAll()
  write(a, 0, CONNECTIONS)
  await pool.clock.advance(1000)
  await a.kill()
  pool.directors.splice(0, 1)
  const key = [...c.connections.keys()][7]
  const record = c.connections.get(key)?.record as Uint8Array
  c.connections.delete(key)
  c.fields.note(record.with(0, RECORD_REMOVE), 0)
  t.equal(fieldsAt(c), CONNECTIONS - 1)
  await pool.clock.until(() => sameTables(b, c), 8000, 10)
  t.equal(fieldsAt(c), CONNECTIONS)
  pool.stop()
})

test('a kind of message that only a later version has is passed over', async (t) => {
  const pool = poolOf(['a', 'b'], ['a'])
  const [a, b] = await pool.startAll()
  for (const topic of ['sync', 'digest'] as const) await a.transport.send('b', topic, new Uint8Array(40).fill(99))
  await pool.clock.advance(100)
  t.match(counters(b), { passedOverMessages: 2, malformedMessages: 0 })
  t.ok(a.inSync && b.inSync)
  pool.stop()
})

test('a version that cannot be read is counted and told of, and nothing comes of it', async (t) => {
  const pool = new Pool(['a', 'b'])
  const [a, b] = await pool.startAll()
  a.write(1)
  a.flush()
  await pool.clock.advance(100)
  await b.kill()
  pool.accents.set('b', speaksAnotherSeries)
  const stranger = await pool.start('b')
  stranger.connections.clear()
  for (let n = 5; n < 50; n++) stranger.write(n)
  stranger.flush()
  await pool.clock.advance(5000)
  t.equal(a.connections.size, 1)
  const { inSync, reason, peers } = a.replicator.status()
  t.match(peers[0], { connected: true, formatVersion: ANOTHER_SERIES })
  t.ok(peers[0].unreadableMessages > 10)
  t.equal(counters(a).unreadableMessages, peers[0].unreadableMessages)
  t.equal(counters(a).malformedMessages, 0)
  t.equal(inSync, false)
  t.equal(reason, 'b speaks version 16 of the formats, which is not read here')
  t.equal(b.name, stranger.name)
  pool.stop()
})

test('fields are kept while their connection lives, without zeros and without end', async (t) => {
  let now = 0
  const fields = new UnknownFields(() => now, 100)
  const of = (n: number) => fields.of(makeRecord(n, 1), 0)
  const zeros = new Uint8Array(4)
  fields.note(makeRecord(1, 5), 0, zeros)
  t.equal(fields.length, 0, 'zeros say nothing')
  fields.note(makeRecord(1, 5), 0, fieldOf(1))
  fields.note(makeRecord(1, 4), 0, fieldOf(2))
  t.same(of(1), fieldOf(1), 'what is older than what is known says nothing')
  fields.note(makeRecord(1, 6), 0, zeros)
  fields.note(makeRecord(1, 7), 0)
  fields.note(makeRecord(1, 6, RECORD_REMOVE), 0)
  t.same(of(1), fieldOf(1))
  fields.note(makeRecord(1, 8), 0, Uint8Array.of(9, 9))
  t.same(of(1), Uint8Array.of(9, 9, 0, 7), 'who knows less of a tail says its beginning')
  fields.note(makeRecord(1, 9, RECORD_REMOVE), 0)
  t.equal(of(1), undefined)

  fields.note(makeRecord(1, 9), 0, fieldOf(1))
  now += 900_001
  t.equal(of(1), undefined, 'its time has run out')
  fields.note(makeRecord(1, 1), 0)
  t.equal(fields.size, 0, 'and who has its ports now is another')

  for (let n = 0; n <= 100; n++) fields.note(makeRecord(n, 1), 0, fieldOf(n))
  t.equal(fields.size, 100)
  t.equal(fields.forgotten, 1)
  t.equal(of(0), undefined, 'the one that was told of longest ago goes')
  t.same(of(1), fieldOf(1))
})
