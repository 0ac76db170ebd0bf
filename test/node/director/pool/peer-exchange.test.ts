/** What peers say waits to be read: of whom, how much, and who is believed when it is. */
import { deflateRawSync } from 'node:zlib'
import { test } from 'tap'
import type { MessageHandler, PeerName } from '../../../../node/director/cluster/transport.ts'
import { untilDone } from '../../../../node/director/pace.ts'
import {
  decodeConfigMessage,
  encodeDigest,
  encodeEnd,
  encodeEntries,
  packEntry,
} from '../../../../node/director/pool/config-message.ts'
import { CONFIGURED_MAX } from '../../../../node/director/pool/counted-entries.ts'
import { PeerExchange } from '../../../../node/director/pool/peer-exchange.ts'
import { PoolEntries } from '../../../../node/director/pool/pool-entries.ts'
import { entryKey, type PoolEntry } from '../../../../node/director/pool/pool-entry.ts'
import { HELD_BYTES_MAX, PARTS_MAX } from '../../../../node/director/pool/tellings.ts'
import { keptBytes, UNREAD_BYTES_MAX, UNREAD_OF_ONE_BYTES_MAX } from '../../../../node/director/pool/unread-messages.ts'
import { pack } from '../../../../protocol/message-pack.ts'

const stamp = { wallMs: 1, counter: 0, director: 'b' }
const messageOf = (...packed: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat([Uint8Array.of(1, 1), deflateRawSync(Buffer.concat(packed), { level: 0 })])
/** Nearly as long as a message may be, and quickly made and read. */
const longMessage = (...packed: readonly Uint8Array[]) => messageOf(...packed, pack('x'.repeat(60_000)))
const message = longMessage(packEntry({ kind: 'settings', stamp, settings: {} }))
const UNREAD_OF_ONE_MAX = Math.floor(UNREAD_OF_ONE_BYTES_MAX / keptBytes(message))
const UNREAD_MAX = Math.floor(UNREAD_BYTES_MAX / keptBytes(message))

function exchange(ids: Record<PeerName, string>) {
  let hear: MessageHandler = () => {}
  let connect: (peer: PeerName, connected: boolean) => void = () => {}
  /** By id. */
  const read: string[] = []
  const told: (readonly PoolEntry[])[] = []
  const agreed = { times: 0 }
  const toldAll: PeerName[] = []
  const entries = new PoolEntries()
  const sent: Uint8Array[] = []
  /** For what is told to a peer: until it has its turn, and until a message is sent. */
  const wait = { turn: Promise.resolve(), send: Promise.resolve() }
  const current = new Map(Object.entries(ids))
  new PeerExchange({
    transport: {
      broadcast: () => {},
      send: async (_, __, message) => {
        sent.push(message)
        await wait.send
      },
      onPeer: (handler) => {
        connect = handler
      },
      onMessage: (_, handler) => {
        hear = handler
      },
    },
    entries,
    inTurn: (task) => wait.turn.then(task),
    idOf: (peer) => current.get(peer),
    onCompared: (_, isSame) => {
      if (isSame) agreed.times++
    },
    onToldAll: (peer) => toldAll.push(peer),
    onEntries: async (entries, from) => {
      const all = [...entries]
      if (all.length === 0) return
      read.push(from)
      told.push(all)
    },
    onHistory: () => true,
    onInvalid: () => {},
  }).start()
  const say = (from: PeerName, times: number, what = message) => {
    for (let each = 0; each < times; each++) hear(from, what)
  }
  return {
    current,
    read,
    told,
    agreed,
    toldAll,
    entries,
    sent,
    wait,
    say,
    connect: (peer: PeerName) => connect(peer, true),
  }
}

const timesOf = (id: string, read: readonly string[]) => read.filter((each) => each === id).length

test('what waits of one who ceases to be a peer is not read, not even when another has his name', async (t) => {
  const { current, read, say } = exchange({ b: 'old', c: 'C', d: 'D' })
  for (const peer of ['b', 'c', 'd']) say(peer, 3)
  t.same(read, ['old'], 'the others wait')
  current.set('b', 'new')
  current.delete('c')
  say('c', 1)
  say('b', 1)
  await untilDone()
  t.same(read.toSorted(), ['D', 'D', 'D', 'new', 'old'], 'but what he says who has the name now')
})

test('who says much does not keep the others waiting', async (t) => {
  const { read, say } = exchange({ b: 'B', c: 'C' })
  say('b', 2 * UNREAD_MAX)
  say('c', 2)
  await untilDone()
  t.same(read.slice(0, 5), ['B', 'B', 'C', 'B', 'C'])
  t.equal(timesOf('B', read), 1 + UNREAD_OF_ONE_MAX, 'one was read at once')
  say('b', 1)
  t.equal(timesOf('B', read), 2 + UNREAD_OF_ONE_MAX, 'when all is read, it is heard again')
})

test('of all together no more waits than the bound', async (t) => {
  const { read, say } = exchange({ b: 'B', c: 'C', d: 'D' })
  for (const peer of ['b', 'c', 'd']) say(peer, UNREAD_MAX)
  await untilDone()
  t.equal(read.length, 1 + UNREAD_MAX)
})

test('two who fill all the room make some for a third', async (t) => {
  const { read, say } = exchange({ b: 'B', c: 'C', d: 'D' })
  for (const peer of ['b', 'c']) say(peer, UNREAD_MAX)
  say('d', 3)
  await untilDone()
  t.equal(timesOf('D', read), 3)
  t.equal(read.length, 1 + UNREAD_MAX)
})

test('a peer with the same digest is said to agree', async (t) => {
  const { agreed, entries, say } = exchange({ b: 'B' })
  say('b', 1, encodeDigest(Buffer.alloc(32, 1)))
  await untilDone()
  t.equal(agreed.times, 0)
  say('b', 1, encodeDigest(entries.digest))
  await untilDone()
  t.equal(agreed.times, 1)
})

test('a peer that connects is told everything and then that this was all; one that differs, everything alone', async (t) => {
  const { entries, sent, say, connect } = exchange({ b: 'B' })
  const [entry] = services(1)
  entries.put(entryKey(entry), entry)
  connect('b')
  await untilDone()
  const read = () => sent.splice(0).map((message) => decodeConfigMessage(message))
  t.match(read(), [{ entries: [{ kind: 'service' }] }, { entries: [], isEnd: true }])
  say('b', 1, encodeDigest(Buffer.alloc(32, 1)))
  await untilDone()
  const answers = read()
  t.equal(answers.length, 1)
  t.equal(answers[0]?.isEnd, undefined)
})

test('all has been told when what came before that word is in force', async (t) => {
  const { toldAll, wait, say, current } = exchange({ b: 'B', c: 'C' })
  const turn = Promise.withResolvers<void>()
  wait.turn = turn.promise
  for (const peer of ['b', 'c']) say(peer, 3, encodeEnd())
  await untilDone()
  t.same(toldAll, [])
  current.delete('c')
  turn.resolve()
  await untilDone()
  t.same(toldAll, ['b'], 'once, and nobody asks who is no peer any more')
})

/** Services of some 300 bytes each that differ in their port. */
const services = (count: number): PoolEntry[] =>
  Array.from({ length: count }, (_, port) => ({
    kind: 'service',
    stamp,
    service: { protocol: 'tcp', address: '10.0.0.1', port, scheduler: 'rr', servers: [], note: 'n'.repeat(200) },
  }))
const messagesOf = (entries: readonly PoolEntry[], telling: string) => [
  ...encodeEntries(entries.map(packEntry), telling),
]

test('what is told in several messages counts when all of them have come, in whatever order', async (t) => {
  const { told, say } = exchange({ b: 'B' })
  const entries = services(600)
  const parts = messagesOf(entries, 'change 1')
  t.ok(parts.length > 2)
  for (const part of parts.slice(1).toReversed()) say('b', 2, part)
  await untilDone()
  t.same(told, [])
  say('b', 1, parts[0])
  await untilDone()
  t.same(told, [entries])
})

test('everything is told as it is between two changes, however long it takes to send', async (t) => {
  const { entries, sent, wait, say } = exchange({ b: 'B' })
  const known = services(600)
  const change = (each: PoolEntry | undefined, counter: number) => {
    const changed = { ...each, stamp: { ...stamp, counter } } as PoolEntry
    entries.put(entryKey(changed), changed)
  }
  for (const each of known) change(each, 0)
  const [first, last] = [known[0], known.at(-1)]
  const [turn, sending] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  Object.assign(wait, { turn: turn.promise, send: sending.promise })
  change(first, 1)
  say('b', 1, encodeDigest(Buffer.alloc(32, 1)))
  await untilDone()
  t.same(sent, [], 'not in the middle of one')
  change(last, 1)
  turn.resolve()
  await untilDone()
  t.equal(sent.length, 1)
  for (const each of [first, last]) change(each, 2)
  sending.resolve()
  await untilDone()
  const counters = sent.flatMap((each) => decodeConfigMessage(each)?.entries.map(({ stamp }) => stamp.counter))
  t.same([counters.length, counters[0], counters.at(-1)], [known.length, 1, 1])
})

test('parts of two tellings are kept apart, and the oldest of three that are not complete is given up', async (t) => {
  const { told, say } = exchange({ b: 'B', c: 'C' })
  const [one, two, three] = ['1', '2', '3'].map((telling) => messagesOf(services(600), telling))
  for (const telling of [one, two, three]) for (const part of telling.slice(1)) say('b', 1, part)
  for (const [first] of [two, three]) say('c', 1, first)
  await untilDone()
  t.same(told, [], 'nor do parts of another peer complete it')
  for (const [first] of [two, three]) say('b', 1, first)
  await untilDone()
  t.same(told, [services(600), services(600)])
  say('b', 1, one[0])
  await untilDone()
  t.equal(told.length, 2)
})

test('who belongs to the pool is taken at once', async (t) => {
  const { told, say } = exchange({ b: 'B' })
  const revocation: PoolEntry = { kind: 'peer', stamp, peer: `12D3KooW${'a'.repeat(44)}`, revoked: true }
  const [first] = messagesOf([revocation, ...services(600)], 'everything')
  say('b', 1, first)
  await untilDone()
  t.same(told, [[revocation]])
})

test('of all peers together no more parts are kept than the bound', async (t) => {
  const { told, say } = exchange({ b: 'B', c: 'C', d: 'D' })
  const parts = messagesOf(services(600), 'everything')
  for (const part of parts.slice(1)) say('d', 1, part)
  await untilDone()
  const [service] = services(1)
  const count = Math.ceil((0.3 * HELD_BYTES_MAX) / keptBytes(message))
  const part = (telling: string, at: number) =>
    longMessage(packEntry(service), pack({ telling, part: at, isLast: at === count }))
  for (const peer of ['b', 'c']) {
    for (const telling of ['1', '2']) {
      for (let at = 1; at <= count; at++) say(peer, 1, part(telling, at))
      await untilDone()
    }
  }
  say('d', 1, parts[0])
  await untilDone()
  t.same(told, [services(600)], 'who fills them takes nothing from the others')
  say('b', 1, part('1', 0))
  await untilDone()
  t.equal(told.length, 1, 'but loses his oldest')
  for (const [peer, telling] of ['b2', 'c1', 'c2']) say(peer, 1, part(telling, 0))
  await untilDone()
  t.equal(told.length, 4, 'and no other')
})

test('who belongs to the pool is told before what was there first', async (t) => {
  const { entries, sent, say } = exchange({ b: 'B' })
  const revocation: PoolEntry = { kind: 'peer', stamp, peer: `12D3KooW${'x'.repeat(44)}`, revoked: true }
  for (const entry of [...services(600), revocation]) entries.put(entryKey(entry), entry)
  say('b', 1, encodeDigest(Buffer.alloc(32)))
  await untilDone()
  t.ok(sent.length > 1)
  t.match(decodeConfigMessage(sent[0])?.entries[0], revocation)
})

test('behind the mark of a part garbage is counted, and no more of it is read than elsewhere', async (t) => {
  const mark = pack({ telling: 'change', part: 1, isLast: true })
  const garbage = new Uint8Array(90_000)
  const message = Buffer.concat([Uint8Array.of(1, 1), deflateRawSync(Buffer.concat([mark, garbage]))])
  t.match(decodeConfigMessage(message), { part: { telling: 'change' }, invalidEntries: 100 })
})

test('a message with many entries is read only if it is as short as those that are put together', async (t) => {
  const tombstones = (count: number): Uint8Array[] =>
    Array.from({ length: count }, (_, port) =>
      packEntry({ kind: 'tombstone', stamp, service: { protocol: 'tcp', address: '10.0.0.1', port } }),
    )
  const deflated = (packed: readonly Uint8Array[]) =>
    Buffer.concat([Uint8Array.of(1, 1), deflateRawSync(Buffer.concat(packed))])
  t.equal(decodeConfigMessage(deflated(tombstones(500)))?.entries.length, 500)
  t.equal(decodeConfigMessage(deflated(tombstones(2000))), undefined)
  const servers = Array.from({ length: 5000 }, (_, index) => ({
    address: `10.1.${index >> 8}.${index & 255}`,
    port: 80,
    method: 'nat' as const,
    weight: 1,
  }))
  const service = { protocol: 'tcp' as const, address: '10.0.0.1', port: 80, scheduler: 'rr', servers }
  const long: PoolEntry = { kind: 'service', stamp, service }
  const [first, second] = messagesOf([long, ...services(1)], 'change')
  t.match(decodeConfigMessage(first), { entries: { length: 1 }, part: { part: 0 } }, 'a long one comes with a mark')
  t.match(decodeConfigMessage(second), { entries: { length: 1 }, part: { part: 1 } })
})

test('of the largest pool all parts are waited for, also when they come at once', async (t) => {
  const { told, say } = exchange({ b: 'B' })
  const directors = Array.from({ length: 63 }, (_, index) => `director-${index}`)
  const tunnel = { type: 'gue', port: 6080, checksum: 'none' } as const
  const server = { address: '2001:db8:1::10', port: 8080, method: 'tun', weight: 1, tunnel } as const
  const sample = Array.from({ length: 128 }, (_, port): PoolEntry => {
    const seen = directors.map((name) => [name, [1_800_000_000_000 - ((port * 7919) % 1e6), port]])
    const address = { protocol: 'tcp', address: '2001:db8::10', port } as const
    const service = { ...address, scheduler: 'wlc', servers: [server] }
    return { kind: 'service', stamp, seen: Object.fromEntries(seen), service }
  })
  const times = CONFIGURED_MAX / sample.length
  const messages = messagesOf(sample, 'everything')
  t.ok(messages.length * times <= PARTS_MAX)
  t.ok(messages.reduce((sum, each) => sum + keptBytes(each), 0) * times <= HELD_BYTES_MAX)
  const [service] = services(1)
  for (let part = 0; part < PARTS_MAX; part++) {
    const mark = pack({ telling: 'everything', part, isLast: part === PARTS_MAX - 1 })
    say('b', 1, messageOf(packEntry(service), mark))
  }
  await untilDone()
  t.equal(told.length, 1)
  t.equal(told[0]?.length, PARTS_MAX)
})

test('more parts than are waited for are taken as they come', async (t) => {
  const { told, say } = exchange({ b: 'B' })
  const [service] = services(1)
  say('b', 1, messageOf(packEntry(service), pack({ telling: 'everything', part: PARTS_MAX, isLast: true })))
  await untilDone()
  t.equal(told.length, 1)
})
