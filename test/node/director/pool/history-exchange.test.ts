/** What a director that was away, or is new, comes to know of the revisions of that time, and what it does not believe. */
import { deflateRawSync } from 'node:zlib'
import { test } from 'tap'
import {
  answerValues,
  decodeHistoryMessage,
  encodeQuestion,
  isAboutHistory,
} from '../../../../node/director/pool/history-message.ts'
import { PoolEntries } from '../../../../node/director/pool/pool-entries.ts'
import { entryKey, type PoolEntry } from '../../../../node/director/pool/pool-entry.ts'
import { REVISIONS_MAX } from '../../../../node/director/pool/revision-history.ts'
import { pack } from '../../../../protocol/message-pack.ts'
import { FullStore, PoolOfDirectors, peerIdOf, type TestDirector } from './pool-of-directors.ts'

const web = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'sed']
const ANSWER = 5
const WEEK_MS = 7 * 24 * 3_600_000

const idsOf = ({ configuration }: TestDirector) => configuration.revisions().map(({ revision }) => revision)
const keysOf = async ({ store }: TestDirector, prefix: string) =>
  (await Array.fromAsync(store.iterate(prefix))).map(([key]) => key)
const isAnswer = (message: Uint8Array) => isAboutHistory(message) && message[1] === ANSWER

/** Five changes of one service, of which whoever hears of them later hears the last alone. */
async function fiveChanges(pool: PoolOfDirectors, { configuration }: TestDirector): Promise<void> {
  for (const scheduler of SCHEDULERS) {
    const edit = configuration.service(web) ? 'editService' : 'addService'
    await configuration[edit]({ ...web, scheduler })
    await pool.advance(10)
  }
}

/** What a director says of revisions goes through `change`, which returns what is sent in its place. */
function intercept({ transport }: TestDirector, change: (message: Uint8Array) => readonly Uint8Array[]): () => void {
  const send = transport.send.bind(transport)
  transport.send = async (peer, topic, message) => {
    for (const each of isAnswer(message) ? change(message) : [message]) await send(peer, topic, each)
  }
  return () => {
    transport.send = send
  }
}

/** Keeps a director's answers, and lets become of them what `change` says. */
function noteAnswers(director: TestDirector, change: (message: Uint8Array) => readonly Uint8Array[]) {
  const answers: Uint8Array[] = []
  const restore = intercept(director, (message) => {
    answers.push(message)
    return change(message)
  })
  return { answers, restore }
}

/** A pool of two, of which b is new; `forge` is what becomes of a's answer. Returns what b takes of it. */
async function takenOf(
  forge: (message: Uint8Array) => readonly Uint8Array[],
): Promise<'nothing' | 'all' | 'the rest' | 'something else'> {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  await fiveChanges(pool, a)
  await a.configuration.setSettings({ drop_entry: 1 })
  const times = { answered: 0 }
  intercept(a, (message) => {
    times.answered++
    return forge(message)
  })
  const b = await pool.start('b')
  await pool.advance(100)
  const before = b.configuration.revisions()
  await pool.settle()
  if (times.answered !== 1) throw new Error(`answered ${times.answered} times`)
  const after = b.configuration.revisions()
  if (b.transport.counters.failedHandlers > 0) throw new Error('a handler threw')
  if (JSON.stringify(after) === JSON.stringify(before)) return 'nothing'
  const told = a.configuration.revisions()
  if (JSON.stringify(after) === JSON.stringify(told)) return 'all'
  const proved = after.slice(0, -1)
  return JSON.stringify(proved) === JSON.stringify(told.slice(0, proved.length)) ? 'the rest' : 'something else'
}

/** The values of an answer of one message, changed, as one message. */
function withValues(change: (values: unknown[]) => unknown[]): (message: Uint8Array) => Uint8Array[] {
  return (message) => {
    const values = (answerValues(message)?.values ?? []).map((value) => {
      if (value.kind === 'revision') return { before: value.before, stamp: { ...value.stamp } }
      return value.entry ?? value.key
    })
    const body = deflateRawSync(Buffer.concat(change(structuredClone(values)).map(pack)))
    return [Buffer.concat([message.subarray(0, 3), body])]
  }
}

/** Whoever is connected anew is asked anew. */
async function reconnect(pool: PoolOfDirectors): Promise<void> {
  pool.network.disconnect('a', 'b')
  pool.network.heal('a', 'b')
  await pool.settle()
}

test('a newcomer lists the same revisions as its peers, and goes back to one from before its time', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const [a, b] = [await pool.start('a'), await pool.start('b')]
  await pool.advance(100)
  await fiveChanges(pool, a)
  await b.configuration.setSettings({ drop_entry: 1 })
  await b.configuration.addMark({ rule: { mark: 7 } })
  await b.configuration.addService({ ...web, port: 81, scheduler: 'rr' })
  await b.configuration.removeService({ ...web, port: 81 })
  await b.configuration.members.setRevoked(peerIdOf('x'), true)
  await pool.settle()
  let c = await pool.start('c')
  await pool.settle()
  t.equal(a.configuration.revisions().length, 10)
  t.same(c.configuration.revisions(), a.configuration.revisions())
  t.same(b.configuration.revisions(), a.configuration.revisions())
  await pool.stop('c')
  c = await pool.start('c', c.store)
  t.same(idsOf(c), idsOf(a), 'it is in the store')
  t.equal((await keysOf(c, 'revision/')).length, 9)
  t.equal((await keysOf(c, 'replaced/')).length, 9)
  for (const revision of idsOf(a)) {
    const [here, there] = [await c.configuration.stateAt(revision), await a.configuration.stateAt(revision)]
    t.same(here.state.services(), there.state.services())
  }
  await c.configuration.rollback(idsOf(a)[7])
  await pool.settle()
  for (const { configuration } of [a, b, c]) t.equal(configuration.service(web)?.scheduler, 'wrr')
  t.same(idsOf(c), idsOf(a))
})

test('a director that was away for a week and five changes lists all five, behind its own earlier ones', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const [a, b] = [await pool.start('a'), await pool.start('b')]
  await pool.advance(100)
  await b.configuration.addService({ ...web, port: 81, scheduler: 'rr' })
  await pool.advance(100)
  await a.configuration.addService({ ...web, scheduler: 'rr' })
  await pool.settle()
  await pool.stop('b')
  a.skewMs += WEEK_MS
  await fiveChanges(pool, a)
  const again = await pool.start('b', b.store, WEEK_MS)
  await pool.advance(100)
  t.equal(idsOf(again).length, 4, 'it has heard the last of them')
  await pool.settle()
  t.equal(idsOf(again).length, 8)
  t.same(again.configuration.revisions(), a.configuration.revisions())
  t.equal((await keysOf(again, 'replaced/')).length, 7, 'nothing is left of what it listed before')
  await again.configuration.editService({ ...web, port: 81, scheduler: 'lc' })
  await pool.settle()
  t.same(idsOf(again), idsOf(a))
})

test('a director that was away for more changes than a history has lists the last hundred', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const [a, b] = [await pool.start('a'), await pool.start('b')]
  await pool.advance(100)
  const changes = async ({ configuration }: TestDirector, count: number) => {
    for (let each = 0; each < count; each++) {
      await configuration.setSettings({ drop_entry: each % 3 })
    }
  }
  await changes(b, REVISIONS_MAX)
  await b.configuration.addService({ ...web, scheduler: 'rr' })
  await pool.settle()
  await pool.stop('b')
  await a.configuration.editService({ ...web, scheduler: 'lc' })
  await changes(a, REVISIONS_MAX - 1)
  await a.configuration.editService({ ...web, scheduler: 'sed' })
  const again = await pool.start('b', b.store)
  await pool.settle()
  t.equal(idsOf(again).length, REVISIONS_MAX + 1)
  t.same(again.configuration.revisions(), a.configuration.revisions())
  t.equal((await keysOf(again, 'revision/')).length, REVISIONS_MAX)
})

test('a history that began anew is completed', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const [a, b] = [await pool.start('a'), await pool.start('b')]
  await pool.advance(100)
  await fiveChanges(pool, a)
  await pool.settle()
  const [, , third] = await keysOf(b, 'revision/')
  await pool.stop('b')
  await b.store.open()
  await b.store.delete(third)
  await b.store.close()
  const again = await pool.start('b', b.store)
  t.equal(idsOf(again).length, 3)
  await pool.settle()
  t.same(again.configuration.revisions(), a.configuration.revisions())
})

test('a director that is made anew under its old name lists its own old changes too', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const [a, b] = [await pool.start('a'), await pool.start('b')]
  await pool.advance(100)
  await fiveChanges(pool, a)
  await a.configuration.setSettings({ drop_entry: 1 })
  await pool.settle()
  await pool.stop('a')
  const again = await pool.start('a')
  await pool.settle()
  t.equal(idsOf(again).length, 7)
  t.same(again.configuration.revisions(), b.configuration.revisions())
})

test('a director that made changes in a partition keeps its own history', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const [a, b] = [await pool.start('a'), await pool.start('b')]
  await pool.advance(100)
  await a.configuration.addService({ ...web, scheduler: 'rr' })
  await pool.settle()
  pool.network.cut('a', 'b')
  await fiveChanges(pool, a)
  await b.configuration.setSettings({ drop_entry: 1 })
  const [own] = idsOf(b)
  await pool.advance(1000)
  pool.network.heal('a', 'b')
  await pool.advance(100)
  const before = [a, b].map(({ configuration }) => configuration.revisions())
  await pool.settle()
  t.equal(b.configuration.revision, a.configuration.revision)
  t.same(
    [a, b].map(({ configuration }) => configuration.revisions()),
    before,
  )
  t.ok(idsOf(b).includes(own))
  t.equal((await b.configuration.stateAt(own)).state.service(web)?.scheduler, 'rr')
})

test('a director in which a change was overridden keeps its own history', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const [a, b, c] = [await pool.start('a'), await pool.start('b'), await pool.start('c')]
  await pool.advance(100)
  await a.configuration.addService({ ...web, scheduler: 'rr' })
  await pool.settle()
  pool.network.isolate('c')
  await a.configuration.editService({ ...web, scheduler: 'lc' })
  await pool.advance(1000)
  await fiveChanges(pool, c)
  pool.network.rejoin('c')
  await pool.settle()
  t.match(b.configuration.revisions()[0].change?.overridden, [/^tcp 10\.0\.0\.100:80 by a/])
  t.equal(idsOf(b).length, 4)
  t.equal(b.configuration.revision, c.configuration.revision)
})

test('what a forged answer does not prove is not taken', async (t) => {
  type Head = { before: string; stamp: PoolEntry['stamp'] }
  const isHead = (value: unknown): value is Head => typeof value === 'object' && value !== null && 'before' in value
  const entriesOf = (values: unknown[]) => values.filter((value) => !isHead(value)) as PoolEntry[]
  const on = (what: (values: unknown[]) => void) =>
    withValues((values) => {
      what(values)
      return values
    })
  t.equal(await takenOf((message) => [message]), 'all', 'an honest one is')
  t.equal(await takenOf(withValues((values) => values)), 'all')
  const forgeries: Record<string, (message: Uint8Array) => readonly Uint8Array[]> = {
    'another entry was replaced': on((values) => {
      entriesOf(values)[1].stamp.counter++
    }),
    'of another service': on((values) => {
      const [, entry] = entriesOf(values)
      if (entry.kind === 'service') entry.service.port = 81
    }),
    'where there was none': withValues((values) => [...values.slice(0, -1), entriesOf(values)[1]]),
    'nothing was replaced': withValues((values) => values.filter((value) => isHead(value))),
    'a revision is missing': withValues((values) => [...values.slice(0, 2), ...values.slice(4)]),
    'the newest is missing': withValues((values) => values.slice(2)),
    'the order is another': withValues((values) => [...values.slice(2), ...values.slice(0, 2)]),
    'it does not lead to what was in force here': withValues((values) => values.slice(0, -2)),
    'the author is another': on((values) => {
      for (const value of values) if (isHead(value)) value.stamp.director = 'z'
    }),
    'an entry comes twice': withValues((values) => [...values, values.at(-1)]),
    'with nothing before it': withValues((values) => values.slice(1)),
    'who belongs to the pool': withValues((values) => [
      ...values,
      { kind: 'peer', stamp: { wallMs: 1, counter: 0, director: 'a' }, peer: peerIdOf('b'), revoked: true },
    ]),
    'the key of such': withValues((values) => [...values, `peer/${peerIdOf('b')}`]),
    garbage: () => [Buffer.concat([Uint8Array.of(1, ANSWER, 1), Buffer.alloc(500, 0xa5)])],
    nothing: () => [Uint8Array.of(1, ANSWER, 1)],
    'too much': () => [
      Buffer.concat([Uint8Array.of(1, ANSWER, 1), deflateRawSync(Buffer.alloc(30_000_000, pack('settings')))]),
    ],
    'more than once': (message) => [...Array(300).fill(Uint8Array.of(1, ANSWER, 0, 3, 0)), message],
  }
  // Only the oldest is not proved; a newcomer takes what is.
  const inPart = ['where there was none', 'it does not lead to what was in force here', 'an entry comes twice']
  for (const [name, forge] of Object.entries(forgeries)) {
    t.equal(await takenOf(forge), inPart.includes(name) ? 'the rest' : 'nothing', name)
  }
})

test('what a director has in its history stays what it was, whatever a peer says of the same changes later', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  await fiveChanges(pool, a)
  const { answers, restore } = noteAnswers(a, (message) => [message])
  const b = await pool.start('b')
  await pool.settle()
  restore()
  // Removed before all that, so that there is more to take.
  const stamp = { wallMs: 1, counter: 0, director: 'a' }
  const removed: PoolEntry = { kind: 'service', stamp, service: { ...web, port: 81, scheduler: 'rr', servers: [] } }
  const before = new PoolEntries()
  before.put(entryKey(removed), removed)
  const forge = withValues((values) => {
    for (const value of values as PoolEntry[]) if (value.kind === 'service') value.service.scheduler = 'dh'
    return [...values, { before: before.revision, stamp }, removed]
  })
  intercept(a, () => forge(answers[0]))
  await reconnect(pool)
  t.equal(idsOf(b).length, 7, 'it is taken')
  for (const [index, scheduler] of SCHEDULERS.toReversed().entries()) {
    const { state } = await b.configuration.stateAt(idsOf(b)[index])
    t.equal(state.service(web)?.scheduler, scheduler)
  }
})

test('of the time of a removal whose tombstone is gone no more is believed than clocks may differ', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  await a.configuration.addService({ ...web, scheduler: 'rr' })
  await a.configuration.addService({ ...web, port: 81, scheduler: 'rr' })
  await a.configuration.removeService({ ...web, port: 81 })
  await pool.advance(40 * 24 * 3_600_000)
  await pool.settle()
  const restore = intercept(
    a,
    withValues(([head, ...values]) => [
      { ...(head as object), stamp: { wallMs: 9e15, counter: 0, director: 'a' } },
      ...values,
    ]),
  )
  const b = await pool.start('b')
  await pool.settle()
  t.equal(idsOf(b).length, 2)
  restore()
  await reconnect(pool)
  t.same(b.configuration.revisions(), a.configuration.revisions())
})

/** A newcomer whose questions are answered, and the answers kept back. */
async function poolWithoutAnswers() {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  await fiveChanges(pool, a)
  const { answers, restore } = noteAnswers(a, () => [])
  const b = await pool.start('b')
  return { pool, a, b, answers, restore }
}

test('an answer that nobody waits for is not taken, and whoever has not answered is asked again when it connects', async (t) => {
  const { pool, a, b, answers, restore } = await poolWithoutAnswers()
  await pool.settle(6)
  t.equal(answers.length, 1, 'it asks once')
  const deliver = () => {
    for (const answer of answers) pool.network.member('b')?.deliver('config', 'a', answer)
  }
  deliver()
  await pool.settle(1)
  t.equal(idsOf(b).length, 2)
  restore()
  await reconnect(pool)
  t.same(b.configuration.revisions(), a.configuration.revisions())
  deliver()
  await pool.settle(1)
  t.same(b.configuration.revisions(), a.configuration.revisions())
})

test('a change made while the answer is on its way makes it ask again', async (t) => {
  const { pool, a, b, answers, restore } = await poolWithoutAnswers()
  await pool.settle(1)
  t.equal(answers.length, 1)
  restore()
  await b.configuration.setSettings({ drop_entry: 1 })
  pool.network.member('b')?.deliver('config', 'a', answers[0])
  await pool.advance(100)
  t.equal(idsOf(b).length, 3)
  await pool.settle()
  t.same(b.configuration.revisions(), a.configuration.revisions())
  t.equal(idsOf(b).length, 7)
})

test('a peer that does not answer, as one of an earlier version, keeps nobody from asking the others', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const [a, b] = [await pool.start('a'), await pool.start('b')]
  await pool.advance(100)
  await fiveChanges(pool, a)
  await pool.settle()
  const asked = { times: 0 }
  intercept(a, () => {
    asked.times++
    return []
  })
  const c = await pool.start('c')
  await pool.settle(8)
  t.equal(asked.times, 1, 'it was asked first')
  t.same(c.configuration.revisions(), b.configuration.revisions())
  await c.configuration.setSettings({ drop_entry: 1 })
  await pool.settle()
  t.same(idsOf(c), idsOf(a))
})

test('a store that fails leaves the history as it was, and what waits for it is asked and answered later', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  await fiveChanges(pool, a)
  const store = new FullStore()
  const b = await pool.start('b', store)
  await pool.advance(100)
  store.isFull = true
  await pool.settle()
  t.equal(idsOf(b).length, 2)
  await a.configuration.setSettings({ drop_entry: 1 })
  await reconnect(pool)
  t.equal(idsOf(b).length, 3, 'the last is in memory')
  store.isFull = false
  await pool.settle()
  t.same(b.configuration.revisions(), a.configuration.revisions())
})

test('an answer of many messages is taken as a whole', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  await a.configuration.addService({ ...web, scheduler: 'rr' })
  const servers = Array.from({ length: 400 }, (_, index) => ({
    do: 'add-server' as const,
    server: { service: web, address: `10.1.${index >> 8}.${index & 255}`, port: 80, method: 'nat' as const, weight: 1 },
  }))
  await a.configuration.edit(servers)
  await fiveChanges(pool, a)
  const sizes: number[] = []
  intercept(a, (message) => {
    sizes.push(message.length)
    return [message]
  })
  const b = await pool.start('b')
  await pool.settle()
  t.ok(sizes.length > 1, `${sizes.length} messages`)
  t.same(b.configuration.revisions(), a.configuration.revisions())
})

test('messages that are not of this version are told from the others', (t) => {
  const question = { revision: 'a', before: 'b', have: [] }
  t.same(decodeHistoryMessage(encodeQuestion(question)), { kind: 'question', question })
  const item = { id: 'a', stamp: { wallMs: 1, counter: 0, director: 'a' } }
  const long = { ...question, have: Array(REVISIONS_MAX + 1).fill(item) }
  for (const message of [
    encodeQuestion(long),
    encodeQuestion({ ...question, revision: 'a'.repeat(100) }),
    Uint8Array.of(1, 4),
    Uint8Array.of(1, 4, 0xc1),
    Uint8Array.of(1, ANSWER),
    Uint8Array.of(1, ANSWER, 2),
    Uint8Array.of(2, ANSWER, 1),
    new Uint8Array(70_000).fill(1),
  ]) {
    t.equal(decodeHistoryMessage(message), undefined)
  }
  t.end()
})
