/** What directors tell each other of connections: when, and what becomes of it at the other end. */
import { test } from 'tap'
import { recordVersion } from '../../../forwarder/table/record-codec.ts'
import { RecordRing } from '../../../forwarder/table/record-ring.ts'
import { COUNTER, COUNTERS } from '../../../forwarder/table/server-directory.ts'
import { readInt32, readUint16, writeInt32, writeUint16 } from '../../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import {
  RECORD,
  RECORD_LENGTH,
  RECORD_REMOVE,
  RECORD_RESTORED,
  RECORD_UPSERT,
} from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, tell, told } from '../../support/director-bench.ts'
import {
  clientTcp,
  clientUdp,
  INSIDE,
  OUTSIDE,
  type SceneOptions,
  scene,
  serverTcp,
  service,
} from '../../support/scene.ts'

const client = (port: number) => ({ from: `203.0.113.7:${port}` })
const syn = (port: number) => clientTcp({ ...client(port), flags: TCP_SYN })
const ack = (port: number) => clientTcp(client(port))
const fin = (port: number) => clientTcp({ ...client(port), flags: TCP_FIN | TCP_ACK })

function established(bench: DirectorBench, port: number): void {
  bench.send(OUTSIDE, syn(port))
  bench.send(OUTSIDE, ack(port))
}

function counts(bench: DirectorBench): [active: number, inactive: number][] {
  const { counters } = bench.engine.services.directory
  return bench.engine.services.serverBySlot.flatMap((server) =>
    server
      ? [[counters[server.slot * COUNTERS + COUNTER.active], counters[server.slot * COUNTERS + COUNTER.inactive]]]
      : [],
  )
}

const standby = (options: SceneOptions = {}) => scene({ state: 'standby', ...options })
const state = (bench: DirectorBench) => [...bench.reader.connections()].map((connection) => connection.state)

test('a connection is told of when it is established, not before, and at every change after that', async (t) => {
  const bench = scene()
  const states = [syn(1), syn(1), ack(1), ack(1), fin(1)].map((frame) => {
    bench.send(OUTSIDE, frame)
    return told(bench).map((record) => record[RECORD.state])
  })
  t.same(states, [[], [], [1], [], [7]])
  bench.send(INSIDE, serverTcp({ to: '203.0.113.7:1', flags: TCP_FIN | TCP_ACK }))
  t.same(
    told(bench).map((record) => record[RECORD.state]),
    [5],
  )
})

test('a SYN that comes to nothing is never told of', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, syn(1))
  bench.send(INSIDE, serverTcp({ to: '203.0.113.7:1', flags: TCP_RST | TCP_ACK }))
  t.same(told(bench), [])
})

test('a standby asks for the way to the clients of NAT connections before it is needed, once a client, and not without bound', async (t) => {
  const arpRequests = (bench: DirectorBench) =>
    bench.breathe().filter(({ link, frame }) => link === OUTSIDE && frame[13] === 6)
  const onLink = (host: number) => `198.51.100.${host}:1000`
  const records = (method: 'nat' | 'dr', hosts: readonly number[]) => {
    const bench = scene({ method, weights: [1], slots: 256 })
    for (const host of hosts) {
      bench.send(OUTSIDE, clientTcp({ from: onLink(host), flags: TCP_SYN }))
      bench.send(OUTSIDE, clientTcp({ from: onLink(host) }))
    }
    return told(bench)
  }
  const nat = standby()
  for (const record of [...records('nat', [20, 21]), ...records('nat', [20, 21])])
    nat.engine.replication.apply(record, 0)
  t.same(
    arpRequests(nat).map(({ frame }) => frame[41]),
    [20, 21],
  )
  const dr = standby({ method: 'dr' })
  for (const record of records('dr', [20, 21])) dr.engine.replication.apply(record, 0)
  t.same(arpRequests(dr), [], 'replies do not come by')
})

test('a datagram conversation is told of at once', async (t) => {
  const bench = scene({ protocol: 'udp' })
  bench.send(OUTSIDE, clientUdp())
  t.equal(told(bench).length, 1)
})

for (const method of ['nat', 'tun', 'dr'] as const) {
  test(`a director that was told carries the connection on (${method})`, async (t) => {
    const first = scene({ method, weights: [1, 1] })
    established(first, 1)
    first.nowMs += 1000
    const peer = standby({ method, weights: [1, 1] })
    peer.nowMs = first.nowMs
    for (const record of told(first)) t.ok(tell(peer, record))
    const expected = first.send(OUTSIDE, ack(1))
    t.same(peer.send(OUTSIDE, ack(1)), expected)
    t.same([...peer.reader.connections()].map(facts), [...first.reader.connections()].map(facts))
    t.same(counts(peer), counts(first), 'the standby counts as the active one does')
    t.equal(peer.table.expires(1 as never), first.table.expires(1 as never))
  })
}

test('a standby counts connections as active and inactive by their state, and forgets them in time', async (t) => {
  const first = scene()
  const peer = standby()
  established(first, 1)
  established(first, 2)
  first.send(OUTSIDE, fin(2))
  for (const record of told(first)) tell(peer, record)
  t.same(counts(peer), [[1, 1]])
  peer.nowMs += 61_000
  peer.breathe()
  t.same(counts(peer), [[1, 0]])
  peer.nowMs += 840_000
  peer.breathe()
  t.same(counts(peer), [[0, 0]])
})

test('of two descriptions the newer counts, whatever their order', async (t) => {
  const first = scene()
  established(first, 1)
  first.send(OUTSIDE, fin(1))
  const [older, newer] = told(first)
  for (const order of [
    [older, newer],
    [newer, older],
    [newer, newer, older, older],
  ]) {
    const peer = standby()
    for (const record of order) tell(peer, record)
    t.same(state(peer), ['CLOSE_WAIT'])
    t.same(counts(peer), [[0, 1]])
  }
})

test('an old description is passed over and says so', async (t) => {
  const first = scene()
  established(first, 1)
  first.send(OUTSIDE, fin(1))
  const [older, newer] = told(first)
  const peer = standby()
  t.same([tell(peer, newer), tell(peer, older), tell(peer, newer)], [true, false, false])
})

test('a connection that takes the place of an ended one with the same addresses is newer, whoever made it', async (t) => {
  const first = scene({ weights: [1, 1] })
  const peer = standby({ weights: [1, 1] })
  established(first, 1)
  first.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_RST }))
  first.nowMs += 5000
  established(first, 1)
  for (const record of told(first)) tell(peer, record)
  t.same([...peer.reader.connections()].map(facts), [...first.reader.connections()].map(facts))
  t.equal([...peer.reader.connections()][0].serverAddress, '10.1.0.1')
  t.same(counts(peer).map(String).sort(), ['0,0', '1,0'])
})

for (const later of [0, 1, 0x7f00, -1, -8]) {
  test(`a peer’s description, later by ${later} ticks, replaces a connection of our own that is half open`, async (t) => {
    const [bench, record] = halfOpen(later)
    t.ok(tell(bench, record))
    t.same(state(bench), ['ESTABLISHED'])
    t.same(counts(bench), [[1, 0]])
    t.equal(bench.reader.encodeRange(0, 10, new Uint8Array(10 * RECORD_LENGTH), 0), 1, 'a newcomer would be told of it')
    // It has left the queue of the half-open ones: traffic keeps it, and no newcomer throws it out.
    for (let minute = 0; minute < 20; minute++) {
      bench.nowMs += 60_000
      bench.send(OUTSIDE, ack(1))
    }
    t.same(state(bench), ['ESTABLISHED'])
    t.equal(bench.table.timers.oldestHalfOpen, 0)
  })
}

test('but one that is seconds older does not: it is of the connection before', async (t) => {
  for (const later of [-9, -0x7f00]) {
    const [bench, record] = halfOpen(later)
    t.notOk(tell(bench, record))
    t.same(state(bench), ['SYN_RECV'])
  }
})

// Half of all versions are "older" than 0 as serial numbers: a connection that was never told of must not stand for 0.
for (const version of [1, 0x7fff, 0x8000, 0xffff]) {
  test(`a peer’s description, of version ${version}, replaces a connection of our own that nobody was told of`, async (t) => {
    const [bench, record] = halfOpen(0)
    bench.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_FIN }))
    t.same(state(bench), ['TIME_WAIT'])
    t.same(told(bench), [])
    writeUint16(record, RECORD.version, version)
    t.ok(tell(bench, record))
    t.same(state(bench), ['ESTABLISHED'])
  })
}

/** A director that has seen a SYN, and what a peer tells of an established connection between the same ports: so many ticks after it. */
function halfOpen(later: number): [DirectorBench, Uint8Array] {
  const [first, bench] = [scene(), scene()]
  established(first, 1)
  const [record] = told(first)
  writeUint16(record, RECORD.version, (recordVersion(record, 0) + later) & 0xffff)
  bench.send(OUTSIDE, syn(1))
  return [bench, record]
}

test('a connection with a server that is not configured here yet waits for it', async (t) => {
  const first = scene()
  established(first, 1)
  const peer = standby({ services: [] })
  t.ok(tell(peer, told(first)[0]))
  t.same(peer.send(OUTSIDE, ack(1)), [])
  t.equal(peer.drops.toObject()['server-gone'], 1)
  peer.engine.services.set(service())
  peer.resolve({ '10.1.0.1': '02:00:00:00:02:01' })
  t.equal(peer.send(OUTSIDE, ack(1))[0].link, INSIDE)
  t.same(counts(peer), [[1, 0]])
})

test('a server that is only known from connections is forgotten with the last of them', async (t) => {
  const first = scene()
  established(first, 1)
  const [record] = told(first)
  const peer = standby({ services: [] })
  tell(peer, record)
  peer.nowMs += 901_000
  peer.breathe()
  t.equal(peer.table.memory.used, 0)
  t.same(counts(peer), [])
})

test('descriptions that are refused leave no server behind', async (t) => {
  const first = scene()
  established(first, 1)
  const [record] = told(first)
  const full = standby({ services: [], connections: 4 })
  for (const port of [1, 2, 3]) {
    writeUint16(record, RECORD.clientPort, port)
    t.ok(tell(full, record))
  }
  writeUint16(record, RECORD.clientPort, 4)
  writeUint16(record, RECORD.serverPort, 8001)
  t.notOk(tell(full, record), 'the table is full')
  t.same(counts(full), [[3, 0]])
  writeUint16(record, RECORD.clientPort, 1)
  writeUint16(record, RECORD.version, readUint16(record, RECORD.version) - 1)
  t.notOk(tell(full, record), 'it is old')
  t.same(counts(full), [[3, 0]])
})

test('the server of a new connection survives that its last other connection makes room for it', async (t) => {
  const bench = scene({ connections: 4 })
  for (const port of [1, 2, 3]) bench.send(OUTSIDE, syn(port))
  bench.engine.services.set({ ...service(), servers: [] })
  const first = scene()
  established(first, 9)
  const [record] = told(first)
  for (let port = 10; port < 16; port++) {
    writeUint16(record, RECORD.clientPort, port)
    tell(bench, record)
  }
  t.same(counts(bench), [[3, 0]])
  t.equal(bench.table.memory.used, 3)
  bench.nowMs += 901_000
  bench.breathe()
  t.same(counts(bench), [])
})

test('a newer description with another method replaces the connection, also when it was its removed server’s last', async (t) => {
  const first = scene()
  established(first, 1)
  const [record] = told(first)
  const peer = standby({ services: [] })
  tell(peer, record)
  for (let change = 1; change < 10; change++) {
    record[RECORD.method] = change % 3
    writeUint16(record, RECORD.version, readUint16(record, RECORD.version) + 1)
    t.ok(tell(peer, record))
    t.same(counts(peer), [[1, 0]])
    t.equal(peer.table.memory.used, 1)
  }
})

test('a connection that makes room for a new one with the same addresses is over for the peers too', async (t) => {
  const first = scene()
  const peer = standby()
  established(first, 1)
  first.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_RST }))
  for (const record of told(first)) tell(peer, record)
  t.same(state(peer), ['CLOSE'])
  first.send(OUTSIDE, syn(1))
  const [end, ...more] = told(first)
  t.same([end[RECORD.kind], more.length], [RECORD_REMOVE, 0])
  t.ok(tell(peer, end))
  t.same([peer.table.memory.used, counts(peer)], [0, [[0, 0]]])
  t.notOk(tell(peer, end), 'once is enough')
  first.send(OUTSIDE, ack(1))
  const [anew] = told(first)
  t.equal(anew[RECORD.kind], RECORD_UPSERT)
  t.ok(tell(peer, anew))
  t.notOk(tell(peer, end), 'an end that comes late ends nothing')
  t.same(state(peer), ['ESTABLISHED'])
})

test('a datagram that begins a conversation in the place of one whose server is gone tells of it as of the newer one', async (t) => {
  const first = scene({ protocol: 'udp', weights: [1, 1] })
  first.set({ expireNodestConn: 1 })
  first.send(OUTSIDE, clientUdp())
  first.engine.services.set(service({ protocol: 'udp', weights: [1] }))
  first.send(OUTSIDE, clientUdp())
  const [begin, end, anew] = told(first)
  t.same(
    [begin, end, anew].map((record) => record[RECORD.kind]),
    [RECORD_UPSERT, RECORD_REMOVE, RECORD_UPSERT],
  )
  for (const order of [
    [begin, end, anew],
    [begin, anew, end],
  ]) {
    const peer = standby({ protocol: 'udp', weights: [1, 1] })
    for (const record of order) tell(peer, record)
    t.same(
      [...peer.reader.connections()].map(({ serverAddress }) => serverAddress),
      ['10.1.0.1'],
    )
  }
})

const malformed: [sentence: string, change: (record: Uint8Array) => void][] = [
  ['of an unknown kind', (record) => record.fill(0, RECORD.kind, 1)],
  ['of another protocol', (record) => record.fill(47, RECORD.protocol, RECORD.protocol + 1)],
  ['in a state that TCP does not know', (record) => record.fill(11, RECORD.state, RECORD.state + 1)],
  ['by a method that there is not', (record) => record.fill(4, RECORD.method, RECORD.method + 1)],
  ['with a timeout beyond reason', (record) => writeInt32(record, RECORD.timeoutMs, -1)],
  ['of an IPv6 client', (record) => record.fill(0x20, RECORD.clientAddress, RECORD.clientAddress + 1)],
  ['of an IPv6 service', (record) => record.fill(0, RECORD.virtualAddress + 10, RECORD.virtualAddress + 12)],
  ['of an IPv6 server', (record) => record.fill(1, RECORD.serverAddress + 9, RECORD.serverAddress + 10)],
]
for (const [sentence, change] of malformed) {
  test(`a description ${sentence} is refused`, async (t) => {
    const first = scene()
    established(first, 1)
    const [record] = told(first)
    t.ok(tell(standby(), record), 'before the change it is taken')
    change(record)
    const peer = standby()
    t.notOk(tell(peer, record))
    t.equal(peer.table.memory.used, 0)
  })
}

test('peers’ records are taken in from their ring, one breath a bounded number', async (t) => {
  const first = scene()
  const peer = standby({ ringSlots: 1024 })
  for (let port = 1001; port <= 1600; port++) established(first, port)
  for (const record of told(first)) {
    peer.incoming.bytes.set(record, peer.incoming.reserve())
    peer.incoming.commit()
  }
  t.equal(peer.loop.breathe(peer.nowMs), 512)
  t.equal(peer.table.memory.used, 512)
  t.equal(peer.loop.breathe(peer.nowMs), 88)
  t.equal(peer.incoming.length, 0)
})

test('when nobody reads what a director tells, it counts what was lost and forwards all the same', async (t) => {
  const bench = scene({ ringSlots: 4 })
  for (let port = 1; port <= 10; port++) established(bench, port)
  t.equal(bench.outgoing.lost, 6)
  t.equal(told(bench).length, 4)
  t.equal(bench.send(OUTSIDE, ack(10))[0].link, INSIDE)
})

test('the reader is woken when something was told', async (t) => {
  const bench = scene()
  const reader = new RecordRing(bench.outgoing.shared)
  const written = reader.whenWritten(60_000)
  established(bench, 1)
  await written
  t.equal(reader.length, 1)
})

test('random records neither throw nor upset the counts', async (t) => {
  const first = scene()
  established(first, 1)
  const [record] = told(first)
  const peer = standby({ connections: 64 })
  let seed = 12345
  const random = (limit: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return Math.floor((seed / 2 ** 32) * limit)
  }
  for (let round = 0; round < 20_000; round++) {
    const mutated = record.slice()
    for (let change = random(4); change >= 0; change--) mutated[random(RECORD_LENGTH)] = random(256)
    writeUint16(mutated, RECORD.clientPort, random(100))
    writeUint16(mutated, RECORD.version, round)
    tell(peer, mutated)
    if (round % 100 === 0) {
      peer.nowMs += random(20_000)
      peer.breathe()
      const sum = counts(peer).reduce((total, [active, inactive]) => total + active + inactive, 0)
      t.equal(sum, peer.table.memory.used, `round ${round}`)
      t.notOk(
        counts(peer).some((pair) => pair.some((count) => count < 0)),
        `round ${round}: none below 0`,
      )
    }
  }
})

test('what a director knows from before its restart counts where its server is still configured, and nowhere else', async (t) => {
  const first = scene()
  established(first, 1)
  const [record] = told(first)
  const restored = record.slice()
  writeUint16(restored, RECORD.flags, readUint16(record, RECORD.flags) | RECORD_RESTORED)
  t.ok(tell(standby(), restored))
  const withoutService = standby()
  withoutService.engine.services.remove(service())
  t.notOk(tell(withoutService, restored))
  const withoutServer = standby()
  withoutServer.engine.services.set({ ...service(), servers: [] })
  t.notOk(tell(withoutServer, restored))
  t.ok(tell(withoutServer, record), 'a peer may know more of the configuration than we do')
  t.equal(withoutService.table.memory.used, 0)
})

test('the version in a record is the table’s time in ticks of the wall clock', async (t) => {
  const first = scene()
  established(first, 1)
  const [record] = told(first)
  const ticks = Math.floor(first.nowMs / 128) + Math.floor(1_700_000_000_000 / 128)
  t.equal(readUint16(record, RECORD.version), ticks % 65536)
  t.equal(readInt32(record, RECORD.timeoutMs), 900_096, 'whole ticks')
})

test('what peers tell is counted for the cluster when the table has no room for it, and only then', async (t) => {
  const first = scene()
  for (let port = 1; port <= 17; port++) established(first, port)
  const records = told(first)
  const peer = standby({ connections: 16 })
  const take = (record: Uint8Array) => {
    peer.incoming.bytes.set(record, peer.incoming.reserve())
    peer.incoming.commit()
    peer.breathe()
    return peer.incoming.unplaced
  }
  t.equal(Math.max(...records.slice(0, 15).map(take)), 0)
  t.equal(peer.table.memory.used, 15)
  t.same(records.slice(14).map(take), [0, 1, 2], 'one that is known needs no room')
  const end = records[16].slice()
  end[RECORD.kind] = RECORD_REMOVE
  t.equal(take(end), 2, 'nor does an end')
})

function facts(connection: object): object {
  return { ...connection, expiresMs: 0 }
}
