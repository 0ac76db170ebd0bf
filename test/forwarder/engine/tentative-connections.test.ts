/** After a takeover: packets of connections that their first director told nobody of, to services whose scheduler is a hash. */
import { test } from 'tap'
import type { ServiceSpec } from '../../../forwarder/service.ts'
import { recordVersion } from '../../../forwarder/table/record-codec.ts'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_LENGTH, RECORD_REMOVE, RECORD_UPSERT } from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, told } from '../../support/director-bench.ts'
import { icmpFrame, packetOf } from '../../support/frames.ts'
import { clientTcp6, scene6, serverTcp6, tcpToClient6, tcpToServer6, VIP6 } from '../../support/ipv6-scene.ts'
import {
  CLIENT,
  clientTcp,
  INSIDE,
  OUTSIDE,
  type SceneOptions,
  SERVER1_ADDRESS,
  scene,
  serverTcp,
  service,
  tcpToClient,
  tcpToServer,
  VIP,
} from '../../support/scene.ts'

/** What the client has heard up to. */
const HEARD = 0x7fff_0001
const TAKEOVER_MS = 10_000
const SHORT_LIFE_MS = 2_200

type Fields = Parameters<typeof clientTcp>[0]
const syn = (fields: Fields = {}) => clientTcp({ flags: TCP_SYN, sequence: 1, ...fields })
const ack = (fields: Fields = {}) => clientTcp({ sequence: 2, acknowledgement: HEARD, ...fields })
const answer = (fields: Fields = {}) => serverTcp({ sequence: HEARD, acknowledgement: 2, ...fields })

function move(bench: DirectorBench, state: 'active' | 'lingering' | 'standby', address = VIP): void {
  bench.engine.placeAddresses([{ address, link: OUTSIDE, state }], [OUTSIDE, INSIDE])
}

/** A director that has just taken the address over from one that fell silent. */
function successor(options: SceneOptions = {}): DirectorBench {
  const bench = scene({ scheduler: 'sh', ...options, state: 'standby' })
  move(bench, 'active')
  return bench
}

const states = (bench: DirectorBench) => [...bench.reader.connections()].map(({ state }) => state)
const frames = (bench: DirectorBench, link: string, frame: Uint8Array) =>
  bench.send(link, frame).map((sent) => sent.frame)
const encoded = (bench: DirectorBench) =>
  bench.reader.encodeRange(0, bench.reader.capacity, new Uint8Array(bench.reader.capacity * RECORD_LENGTH), 0)

for (const scheduler of ['sh', 'mh', 'dh']) {
  test(`${scheduler}: what follows a SYN goes to the server that the SYN had gone to at the other director`, async (t) => {
    const servers = new Set<string>()
    for (let host = 1; host <= 8; host++) {
      const from = `203.0.113.${host}:3456`
      const [before, after] = [scene({ scheduler, weights: [1, 1] }), successor({ scheduler, weights: [1, 1] })]
      before.send(OUTSIDE, syn({ from }))
      for (const frame of [ack({ from }), ack({ from, flags: TCP_ACK | TCP_PSH, payload: '?' })]) {
        const [sent] = frames(after, OUTSIDE, frame.slice())
        t.ok(sent)
        t.same([sent], frames(before, OUTSIDE, frame.slice()))
      }
      for (const { serverAddress } of after.reader.connections()) servers.add(serverAddress)
    }
    t.equal(servers.size, scheduler === 'dh' ? 1 : 2)
  })
}

test("a server's reset does not reach the client, and nothing is left", async (t) => {
  const bench = successor()
  t.same(frames(bench, OUTSIDE, ack()), [tcpToServer({ sequence: 2, acknowledgement: HEARD })])
  t.same(states(bench), ['NONE'])
  t.same(bench.send(INSIDE, answer({ flags: TCP_RST })), [])
  t.equal(bench.drops.toObject().unproved, 1)
  t.same(states(bench), [])
  t.same(told(bench), [])
})

test('any answer from where the client has heard up to makes it a connection that the peers are told of', async (t) => {
  for (const sequence of [HEARD, HEARD + 14_600, HEARD - 1460]) {
    const bench = successor()
    bench.send(OUTSIDE, ack())
    t.same(told(bench), [])
    t.same(frames(bench, INSIDE, answer({ sequence })), [tcpToClient({ sequence, acknowledgement: 2 })])
    t.same(states(bench), ['ESTABLISHED'])
    const [record, ...more] = told(bench)
    t.equal(record[RECORD.kind], RECORD_UPSERT)
    t.same(more, [])
    t.equal(encoded(bench), 1)
    const peer = scene({ scheduler: 'sh' })
    t.ok(peer.engine.replication.apply(record, 0))
    t.same(states(peer), ['ESTABLISHED'])
    t.equal(bench.send(INSIDE, answer({ flags: TCP_RST })).length, 1, 'a reset is its own now')
  }
})

test('a repeated SYN-ACK is such an answer, and the connection is established by what its client says then', async (t) => {
  const bench = successor()
  bench.send(OUTSIDE, ack())
  t.equal(bench.send(INSIDE, answer({ flags: TCP_SYN | TCP_ACK, sequence: HEARD - 1 })).length, 1)
  t.same(states(bench), ['SYN_RECV'])
  t.same(told(bench), [])
  bench.send(OUTSIDE, ack())
  t.same(states(bench), ['ESTABLISHED'])
  t.equal(told(bench).length, 1)
})

test('what a server says of an older connection between the same ports shows nothing, and reaches nobody', async (t) => {
  const bench = successor()
  bench.send(OUTSIDE, ack())
  for (const sequence of [HEARD + 70_000, HEARD - 70_000, HEARD + 2 ** 31]) {
    t.same(bench.send(INSIDE, answer({ sequence })), [])
  }
  t.equal(bench.drops.toObject().unproved, 3)
  t.same(states(bench), ['NONE'])
  t.same(told(bench), [])
})

test("nor does the server's host with an ICMP error", async (t) => {
  const bench = successor()
  bench.send(OUTSIDE, ack())
  const payload = packetOf(tcpToServer())
  const error = { destinationMac: '02:00:00:00:00:02', from: SERVER1_ADDRESS, to: CLIENT, type: 3, code: 3, payload }
  t.same(bench.send(INSIDE, icmpFrame(error)), [])
  t.equal(bench.drops.toObject()['icmp-unrelated'], 1)
  bench.send(INSIDE, answer())
  t.equal(bench.send(INSIDE, icmpFrame(error)).length, 1)
})

test("a peer's record of the connection counts, whatever the versions, and so does its end", async (t) => {
  const peer = scene({ scheduler: 'sh', weights: [1, 1] })
  peer.send(OUTSIDE, syn())
  peer.send(OUTSIDE, ack())
  const [record] = told(peer)
  const end = record.slice()
  end[RECORD.kind] = RECORD_REMOVE
  const [known] = [...peer.reader.connections()]
  // The servers in the other order: a hash leads to the other one.
  const other = service({ scheduler: 'sh', weights: [1, 1] })
  const services = [{ ...other, servers: other.servers.toReversed() }]
  // What the client acknowledges is where the version would be: newer, older, the same.
  for (const ahead of [1, 0x4000, -1, -0x4000, 0]) {
    const acknowledgement = (recordVersion(record, 0) + ahead) << 16
    const bench = successor({ services })
    bench.send(OUTSIDE, ack({ acknowledgement }))
    t.not([...bench.reader.connections()][0].serverAddress, known.serverAddress)
    t.ok(bench.engine.replication.apply(record, 0))
    const [now, ...more] = [...bench.reader.connections()]
    t.match(now, { state: 'ESTABLISHED', serverAddress: known.serverAddress })
    t.same(more, [])
    const ended = successor({ services })
    ended.send(OUTSIDE, ack({ acknowledgement }))
    ended.engine.replication.apply(end, 0)
    t.same(states(ended), [])
  }
})

test('the peers are told of none, neither in copies of the table nor when the address moves on', async (t) => {
  const bench = successor()
  bench.send(OUTSIDE, ack())
  bench.send(OUTSIDE, ack({ flags: TCP_FIN | TCP_ACK }))
  t.same(states(bench), ['NONE'])
  t.equal(encoded(bench), 0)
  move(bench, 'lingering')
  t.same(told(bench), [])
})

test('it is forgotten in two seconds, however often its client sends, and goes first when the table is full', async (t) => {
  const bench = successor({ connections: 4 })
  for (const port of [1, 2]) bench.send(OUTSIDE, syn({ from: `203.0.113.7:${port}` }))
  bench.nowMs += 300
  bench.send(OUTSIDE, ack())
  t.same(states(bench).toSorted(), ['NONE', 'SYN_RECV', 'SYN_RECV'])
  bench.send(OUTSIDE, syn({ from: '203.0.113.7:3' }))
  t.same(states(bench), ['SYN_RECV', 'SYN_RECV', 'SYN_RECV'])
  const other = successor()
  other.send(OUTSIDE, ack())
  other.nowMs += SHORT_LIFE_MS / 2
  other.send(OUTSIDE, ack())
  other.nowMs += SHORT_LIFE_MS / 2
  other.breathe()
  t.same(states(other), [])
})

test('a SYN begins a new connection in its place', async (t) => {
  const bench = successor()
  bench.send(OUTSIDE, ack())
  t.equal(bench.send(OUTSIDE, syn()).length, 1)
  t.same(states(bench), ['SYN_RECV'])
  t.equal(bench.send(INSIDE, answer({ flags: TCP_RST })).length, 1)
})

test('with confirmed sync it waits for nobody, and nobody is told', async (t) => {
  const bench = successor({ services: [{ ...service({ scheduler: 'sh' }), sync: 'confirmed-only' }] })
  t.same(frames(bench, OUTSIDE, ack()), [tcpToServer({ sequence: 2, acknowledgement: HEARD })])
  t.same(told(bench), [])
})

const persistent: ServiceSpec = {
  ...service({ scheduler: 'sh' }),
  persistence: { timeoutS: 60, netmask: '255.255.255.255' },
}
const ftp: ServiceSpec = { ...service({ scheduler: 'sh' }), port: 21 }
const dropped: readonly (readonly [sentence: string, options: SceneOptions, fields?: Fields])[] = [
  ['with a scheduler that counts', { scheduler: 'wlc' }],
  ['with one that takes turns', { scheduler: 'rr' }],
  ['by direct routing, where the reset would reach the client', { method: 'dr' }],
  ['through a tunnel', { method: 'tun' }],
  ['of a persistent service', { services: [persistent] }],
  ['of an FTP session', { services: [ftp] }, { to: `${VIP}:21` }],
  ['when no server takes connections', { weights: [0] }],
  ['without a service', {}, { to: `${VIP}:81` }],
  ['that is a reset', {}, { flags: TCP_RST | TCP_ACK }],
  ['that acknowledges nothing', {}, { flags: TCP_FIN }],
  ['that is a SYN-ACK with RST', {}, { flags: TCP_SYN | TCP_ACK | TCP_RST }],
  ['from where no client is', {}, { from: `${VIP}:5` }],
]

for (const [sentence, options, fields] of dropped) {
  test(`a packet of no known connection is dropped without an answer: ${sentence}`, async (t) => {
    const bench = successor(options)
    t.same(bench.send(OUTSIDE, ack(fields)), [])
    t.equal(bench.drops.toObject()['no-connection'], 1)
    t.same(states(bench), [])
  })
}

test('it is dropped when the takeover is over, at a standby, and where nothing was taken over; a second takeover begins anew', async (t) => {
  const bench = successor()
  bench.nowMs += TAKEOVER_MS - 1
  t.equal(bench.send(OUTSIDE, ack()).length, 1)
  bench.send(INSIDE, answer({ flags: TCP_RST }))
  bench.nowMs += 1
  move(bench, 'active')
  t.same(bench.send(OUTSIDE, ack()), [])
  for (const state of ['lingering', 'standby'] as const) {
    move(bench, state)
    t.same(bench.send(OUTSIDE, ack()), [], state)
  }
  move(bench, 'active')
  t.equal(bench.send(OUTSIDE, ack()).length, 1)
  bench.send(INSIDE, answer({ flags: TCP_RST }))
  bench.engine.placeAddresses(
    [
      { address: VIP, link: OUTSIDE, state: 'standby' },
      { address: '198.51.100.11', link: OUTSIDE, state: 'active' },
    ],
    [OUTSIDE, INSIDE],
  )
  t.same(bench.send(OUTSIDE, ack()), [], 'another address was taken over')
})

test('over IPv6 too: the way to the server, its reset, its answer', async (t) => {
  const heard = { sequence: 2, acknowledgement: HEARD }
  const said = { sequence: HEARD, acknowledgement: 2 }
  const bench = scene6({ scheduler: 'mh', state: 'standby' })
  t.same(bench.send(OUTSIDE, clientTcp6(heard)), [])
  move(bench, 'active', VIP6)
  t.same(frames(bench, OUTSIDE, clientTcp6(heard)), [tcpToServer6(heard)])
  t.same(bench.send(INSIDE, serverTcp6({ ...said, flags: TCP_RST })), [])
  t.equal(bench.drops.toObject().unproved, 1)
  t.same(states(bench), [])
  bench.send(OUTSIDE, clientTcp6(heard))
  t.same(frames(bench, INSIDE, serverTcp6(said)), [tcpToClient6(said)])
  t.same(states(bench), ['ESTABLISHED'])
  t.equal(told(bench).length, 1)
})
