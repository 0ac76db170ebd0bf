/** Differences between tables that no number tells of: found by their digests, and mended within five seconds. */
import { test } from 'tap'
import { connectionKey } from '../../../../node/director/cluster/replication/connection-key.ts'
import { TableComparison } from '../../../../node/director/cluster/replication/table-comparison.ts'
import { type DigestMessage, parseDigestMessage } from '../../../../protocol/wire/digest-message.ts'
import { speaksFirstVersion } from '../../../support/accent.ts'
import { makeRecord } from './record.ts'
import { type Director, Pool, sameTables } from './replication-pool.ts'

const PROMISE_MS = 5000
const CONNECTIONS = 2000
/** Of the pool's clock for versions: changes of now. */
const NEW_VERSION = 0x4000

async function filledPool(names = ['d1', 'd2', 'd3']): Promise<{ pool: Pool; directors: Director[] }> {
  const pool = new Pool(names)
  const directors = await pool.startAll()
  for (let n = 0; n < CONNECTIONS; n++) directors[0].write(n)
  directors[0].flush()
  await pool.clock.advance(3000)
  return { pool, directors }
}

const forget = ({ connections }: Director, n: number) => connections.delete(connectionKey(makeRecord(n, 1), 0))
const counters = (director: Director) => director.replicator.status().counters

test('tables that are alike are found alike, and nothing is fetched', async (t) => {
  const { pool, directors } = await filledPool()
  for (const director of directors) {
    t.match(
      director.replicator.status().peers.map(({ rangesDifferent }) => rangesDifferent),
      [0, 0],
    )
    t.equal(counters(director).rangesRepaired, 0)
    t.ok(counters(director).tablesCompared > 0)
  }
  pool.stop()
})

test('what a table lacks comes back', async (t) => {
  const { pool, directors } = await filledPool()
  const [d1, d2, d3] = directors
  for (const n of [3, 700, 1999]) forget(d2, n)
  await pool.clock.advance(PROMISE_MS)
  t.ok(sameTables(d1, d2) && sameTables(d1, d3))
  t.ok(counters(d2).rangesRepaired >= 1)
  pool.stop()
})

test('so does all that it lacks when it lacks much, in nearly every range', async (t) => {
  const many = 20_000
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  for (let n = 0; n < many; n++) d1.write(n)
  d1.flush()
  await pool.clock.advance(3000)
  for (let n = 0; n < many; n += 2) forget(d2, n)
  await pool.clock.advance(PROMISE_MS)
  t.equal(d2.connections.size, many)
  t.ok(sameTables(d1, d2) && sameTables(d1, d3))
  pool.stop()
})

test('what nobody can mend keeps nothing else waiting', async (t) => {
  const { pool, directors } = await filledPool(['d1', 'd2'])
  const [, d2] = directors
  const isUseless = (n: number) => n % 2 === 0
  for (let n = 0; n < CONNECTIONS; n += 2) forget(d2, n)
  const set = d2.connections.set.bind(d2.connections)
  const useless = new Set(Array.from({ length: CONNECTIONS / 2 }, (_, n) => connectionKey(makeRecord(2 * n, 1), 0)))
  d2.connections.set = (key, value) => (useless.has(key) ? d2.connections : set(key, value))
  await pool.clock.advance(PROMISE_MS)
  for (let n = 1; n < CONNECTIONS; n += 200) forget(d2, n)
  await pool.clock.advance(PROMISE_MS)
  for (let n = 0; n < CONNECTIONS; n++) {
    const has = d2.connections.has(connectionKey(makeRecord(n, 1), 0))
    if (has === isUseless(n)) t.fail(`connection ${n}: ${has}`)
  }
  pool.stop()
})

test('two tables that lack different things get them from each other', async (t) => {
  const { pool, directors } = await filledPool(['d1', 'd2'])
  const [d1, d2] = directors
  forget(d1, 5)
  forget(d2, 6)
  await pool.clock.advance(PROMISE_MS)
  t.ok(sameTables(d1, d2))
  t.equal(d1.connections.size, CONNECTIONS)
  pool.stop()
})

test('what has ended elsewhere ends here too', async (t) => {
  const { pool, directors } = await filledPool()
  const [d1, d2] = directors
  d1.end(9)
  d1.flush()
  await pool.clock.advance(100)
  const record = makeRecord(9, 1)
  d2.connections.set(connectionKey(record, 0), { version: 1, record })
  await pool.clock.advance(PROMISE_MS)
  t.ok(directors.every(({ connections }) => connections.size === CONNECTIONS - 1))
  pool.stop()
})

test('changes that are still on their way are no difference', async (t) => {
  const { pool, directors } = await filledPool(['d1', 'd2'])
  const [d1, d2] = directors
  for (let n = 0; n < CONNECTIONS; n++) d1.write(n + CONNECTIONS, NEW_VERSION)
  await pool.clock.advance(PROMISE_MS)
  t.equal(counters(d2).rangesRepaired, 0)
  pool.stop()
})

test('connections that run out a little earlier at one director than at the other are no difference, and hide none', async (t) => {
  const { pool, directors } = await filledPool(['d1', 'd2'])
  const [d1, d2] = directors
  forget(d2, CONNECTIONS - 1)
  for (let n = 0; n < CONNECTIONS / 2; n += 10) {
    for (let m = n; m < n + 10; m++) forget(d1, m)
    await pool.clock.advance(50)
    for (let m = n - 40; m < n - 30; m++) forget(d2, m)
  }
  t.same(
    directors.map(({ connections }) => connections.has(connectionKey(makeRecord(CONNECTIONS - 1, 1), 0))),
    [true, true],
  )
  // Each asks the other once a second, and both may do so before what was missing has come.
  for (const director of directors) t.ok(counters(director).rangesRepaired <= 2)
  pool.stop()
})

test('where connections come and go by thousands a second a table is divided into more parts, so that what lasts is seen', async (t) => {
  const many = 100_000
  const aStep = 250
  // So much earlier, in steps, they run out at one director.
  const earlier = 10
  for (const [what, ofFirstVersion, lacking, isFound] of [
    ['both know of finer digests', [], 'd2', true],
    ['one is asked for them, and told what it lacks', ['d2'], 'd1', true],
    ['nobody is asked for them', ['d1', 'd2'], 'd2', false],
  ] as const) {
    const pool = new Pool(['d1', 'd2'])
    for (const name of ofFirstVersion) pool.accents.set(name, speaksFirstVersion)
    const [d1, d2] = await pool.startAll()
    for (let n = 0; n < many; n++) {
      d1.write(n)
      if (n % 1000 === 999) await pool.clock.advance(1)
    }
    d1.flush()
    await pool.clock.advance(3000)
    t.equal(d2.connections.size, many, what)
    const lacks = lacking === 'd1' ? d1 : d2
    forget(lacks, many - 1)
    for (let step = 0; step < PROMISE_MS / 50; step++) {
      for (let n = step * aStep; n < (step + 1) * aStep; n++) {
        forget(d1, n)
        if (step >= earlier) forget(d2, n - earlier * aStep)
      }
      await pool.clock.advance(50)
    }
    t.equal(lacks.connections.has(connectionKey(makeRecord(many - 1, 1), 0)), isFound, what)
    pool.stop()
  }
})

test('a table that takes long to walk is compared seldom, but again soon after it differed', async (t) => {
  let nowMs = 0
  const sent: DigestMessage[] = []
  const comparison = new TableComparison({
    // One place, empty, which takes 300 ms to look at.
    source: {
      capacity: 1,
      encodeRange() {
        nowMs += 300
        return 0
      },
    },
    tails: { length: 0, of: () => undefined },
    clock: { now: () => nowMs, schedule: () => () => {} },
    versionNow: () => 1000,
    send: async (_, message) => void sent.push(parseDigestMessage(message) as DigestMessage),
    peers: () => ['d2'],
    knowsFinerDigests: () => true,
    isReady: () => true,
    isUpToDate: () => true,
    apply: () => {},
  })
  const compareAt = async (ms: number) => {
    nowMs = ms
    sent.length = 0
    await comparison.compare()
    return sent[0] as DigestMessage & { kind: 'digest' }
  }
  const answer = ({ id, asOf, words }: DigestMessage & { kind: 'digest' }, difference: number) =>
    comparison.receive('d2', { kind: 'answer', id, asOf, words: words.map((word) => word ^ difference) })

  answer(await compareAt(0), 0)
  t.notOk(await compareAt(1500), 'alike: not for as long as a sixth of the time wants')
  answer(await compareAt(2200), 7)
  t.notOk(await compareAt(2800))
  answer(await compareAt(2900), 7)
  t.notOk(await compareAt(3400), 'but once only')
  t.ok(comparison.counters.rangesRepaired > 0, 'and what differed both times is asked for')
})

test('a message that is none is counted, and a peer that is gone is not compared with', async (t) => {
  const { pool, directors } = await filledPool(['d1', 'd2'])
  const [d1, d2] = directors
  await d2.transport.send('d1', 'digest', Uint8Array.of(1, 9, 9))
  await pool.clock.advance(100)
  t.equal(counters(d1).malformedMessages, 1)
  await d2.kill()
  await pool.clock.advance(2000)
  t.equal(d1.replicator.status().peers[0].rangesDifferent, null)
  pool.stop()
})
