/** What begins a connection, and what takes the place of one: conn_reuse_mode, sloppy_tcp, sloppy_sctp, expire_nodest_conn. */
import { test } from 'tap'
import type { ForwardingMethod } from '../../../forwarder/service.ts'
import { type ConnectionIndex, FLAG_FTP_DATA } from '../../../forwarder/table/connection-layout.ts'
import { COUNTER, COUNTERS } from '../../../forwarder/table/server-directory.ts'
import { SCTP_CHUNK } from '../../../protocol/packet/sctp.ts'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import {
  clientSctp,
  clientTcp,
  clientUdp,
  INSIDE,
  MAC,
  OUTSIDE,
  SERVER2_ADDRESS,
  scene,
  serverTcp,
  service,
} from '../../support/scene.ts'

/** Which server a frame went to, by the last byte of its address or of its MAC; undefined when it went nowhere. */
function serverOf(bench: DirectorBench, frame: Uint8Array): number | undefined {
  const [sent] = bench.send(OUTSIDE, frame)
  return sent?.link === INSIDE ? sent.frame[5] : undefined
}

const syn = (change = {}) => clientTcp({ flags: TCP_SYN, ...change })
const states = (bench: DirectorBench) => [...bench.reader.connections()].map(({ state }) => state)

/** A connection to server 2 that its client has opened and closed. */
function closed(method: ForwardingMethod, settings: Parameters<DirectorBench['set']>[0]): DirectorBench {
  const bench = scene({ method, weights: [1, 1] })
  bench.set(settings)
  bench.send(OUTSIDE, syn())
  bench.send(OUTSIDE, clientTcp())
  bench.send(OUTSIDE, clientTcp({ flags: TCP_FIN | TCP_ACK }))
  if (method === 'nat') bench.send(INSIDE, serverTcp({ from: '10.1.0.2:8000', flags: TCP_FIN | TCP_ACK }))
  return bench
}

const reuse: [mode: number, method: ForwardingMethod, state: string, server: number, sentence: string][] = [
  [0, 'nat', 'TIME_WAIT', 2, 'stays with the server it had'],
  [1, 'nat', 'TIME_WAIT', 1, 'is given to the next server'],
  [2, 'nat', 'TIME_WAIT', 1, 'is given to the next server'],
  [3, 'nat', 'TIME_WAIT', 1, 'is given to the next server'],
  [0, 'dr', 'FIN_WAIT', 2, 'stays with the server it had'],
  [1, 'dr', 'FIN_WAIT', 2, 'stays with the server it had'],
  [2, 'dr', 'FIN_WAIT', 1, 'is given to the next server'],
  [3, 'tun', 'FIN_WAIT', 1, 'is given to the next server'],
]
for (const [mode, method, state, server, sentence] of reuse) {
  test(`conn_reuse_mode ${mode}: a new SYN for a connection in ${state} (${method}) ${sentence}`, async (t) => {
    const bench = closed(method, { connReuseMode: mode })
    t.same(states(bench), [state])
    t.equal(serverOf(bench, syn()), server)
    t.equal(bench.table.memory.used, 1)
  })
}

test('conn_reuse_mode: the connection that is over still counts on its server while the next one is chosen', async (t) => {
  const closing = () => {
    bench.send(OUTSIDE, clientTcp())
    bench.send(OUTSIDE, clientTcp({ flags: TCP_RST }))
  }
  const bench = scene({ method: 'dr', scheduler: 'lc', weights: [1, 1] })
  for (const server of [2, 1, 2]) {
    t.equal(serverOf(bench, syn()), server)
    closing()
    t.same(states(bench), ['CLOSE'])
  }
})

test('conn_reuse_mode: the connection that is over keeps its server full, and ends although no other takes the next one', async (t) => {
  const spec = service({ method: 'dr' })
  const bench = scene({ services: [{ ...spec, servers: [{ ...spec.servers[0], upperThreshold: 1 }] }] })
  for (const flags of [TCP_SYN, TCP_ACK, TCP_RST]) bench.send(OUTSIDE, clientTcp({ flags }))
  t.same(states(bench), ['CLOSE'])
  t.equal(serverOf(bench, syn()), undefined)
  t.same(states(bench), [])
  t.equal(serverOf(bench, syn()), 1)
})

test('conn_reuse_mode: a connection whose server a template or the control connection of FTP decides on goes on', async (t) => {
  const persistence = { timeoutS: 60, netmask: '255.255.255.255' }
  const persistent = scene({ services: [{ ...service({ weights: [1, 1], method: 'dr' }), persistence }] })
  const data = scene({ weights: [1, 1], method: 'dr' })
  for (const bench of [persistent, data]) {
    bench.send(OUTSIDE, syn())
    const index = [1, 2].find((each) => bench.table.protocol(each as ConnectionIndex) === 6) as ConnectionIndex
    if (bench === data) bench.table.setFlags(index, bench.table.flags(index) | FLAG_FTP_DATA)
    for (const flags of [TCP_ACK, TCP_RST]) bench.send(OUTSIDE, clientTcp({ flags }))
    t.ok(states(bench).includes('CLOSE'))
    t.equal(serverOf(bench, syn()), 2)
    t.ok(states(bench).includes('SYN_RECV'))
    t.equal(bench.engine.services.directory.counters[bench.table.server(index) * COUNTERS + COUNTER.connections], 1)
  }
})

test('conn_reuse_mode: what is to be confirmed begins anew, whatever decides on its server', async (t) => {
  const persistence = { timeoutS: 60, netmask: '255.255.255.255' }
  const spec = { ...service({ weights: [1, 1] }), persistence }
  const bench = scene({ services: [spec] })
  bench.send(OUTSIDE, syn())
  for (const flags of [TCP_ACK, TCP_RST]) bench.send(OUTSIDE, clientTcp({ flags }))
  t.ok(states(bench).includes('CLOSE'))
  bench.engine.services.set({ ...spec, sync: 'confirmed' })
  bench.send(OUTSIDE, syn())
  const { counters } = bench.engine.services.directory
  const [server] = bench.engine.services.serverBySlot.filter((each) => each && each.persistentConnections > 0)
  t.equal(counters[(server?.slot ?? 0) * COUNTERS + COUNTER.connections], 2)
})

test('conn_reuse_mode 2: with NAT a connection in FIN_WAIT, whose replies are seen, is not over', async (t) => {
  const bench = scene({ weights: [1, 1] })
  bench.set({ connReuseMode: 2 })
  bench.send(OUTSIDE, syn())
  bench.send(OUTSIDE, clientTcp())
  bench.send(INSIDE, serverTcp({ from: '10.1.0.2:8000', flags: TCP_FIN | TCP_ACK }))
  t.same(states(bench), ['FIN_WAIT'])
  t.equal(serverOf(bench, syn()), 2)
})

const midStream: [sentence: string, flags: number, isTaken: boolean][] = [
  ['an ACK', TCP_ACK, true],
  ['a FIN', TCP_FIN | TCP_ACK, true],
  ['a SYN', TCP_SYN, true],
  ['a reset', TCP_RST, false],
  ['a reset with a SYN', TCP_RST | TCP_SYN, false],
]
for (const [sentence, flags, isTaken] of midStream) {
  test(`sloppy_tcp: ${sentence} of an unknown connection ${isTaken ? 'begins one' : 'begins none'}`, async (t) => {
    const bench = scene()
    bench.set({ sloppyTcp: 1 })
    t.equal(serverOf(bench, clientTcp({ flags })), isTaken ? 1 : undefined)
    t.equal(bench.table.memory.used, isTaken ? 1 : 0)
  })
}

test('without sloppy_tcp a segment in the middle begins nothing; with it, it is established at once', async (t) => {
  const bench = scene()
  t.equal(serverOf(bench, clientTcp()), undefined)
  t.equal(bench.drops.toObject()['no-connection'], 1)
  bench.set({ sloppyTcp: 1 })
  t.equal(serverOf(bench, clientTcp()), 1)
  t.same(states(bench), ['ESTABLISHED'])
})

test('sloppy_sctp: data of an unknown association begins one, which otherwise only INIT does', async (t) => {
  const bench = scene({ protocol: 'sctp' })
  const data = clientSctp({ chunks: [{ type: SCTP_CHUNK.DATA }] })
  t.equal(serverOf(bench, data), undefined)
  bench.set({ sloppySctp: 1 })
  t.equal(serverOf(bench, clientSctp({ chunks: [{ type: SCTP_CHUNK.ABORT }] })), undefined, 'nor does an abort ever')
  t.equal(bench.table.memory.used, 0)
  t.equal(serverOf(bench, data), 1)
})

test('expire_nodest_conn: a datagram for a removed server goes to another one at once', async (t) => {
  for (const [expireNodestConn, server] of [
    [0, undefined],
    [1, 1],
  ] as const) {
    const bench = scene({ protocol: 'udp', weights: [1, 1] })
    bench.set({ expireNodestConn })
    t.equal(serverOf(bench, clientUdp()), 2)
    const spec = service({ protocol: 'udp', weights: [1, 1] })
    bench.engine.services.set({ ...spec, servers: spec.servers.slice(0, 1) })
    t.equal(serverOf(bench, clientUdp()), server, `expire_nodest_conn ${expireNodestConn}`)
    t.equal(bench.drops.toObject()['server-gone'], 1 - expireNodestConn)
  }
})

test('expire_nodest_conn: the client of a server that is down goes to another one, if there is one', async (t) => {
  for (const protocol of ['udp', 'tcp'] as const) {
    const opening = protocol === 'udp' ? clientUdp() : syn()
    const next = protocol === 'udp' ? opening : clientTcp()
    const bench = scene({ protocol, weights: [1, 1] })
    const { servers, ...spec } = service({ protocol, weights: [1, 1] })
    const setDown = (...down: boolean[]) =>
      bench.engine.services.set({ ...spec, servers: servers.map((each, index) => ({ ...each, down: down[index] })) })
    bench.send(OUTSIDE, opening)
    bench.send(OUTSIDE, next)
    setDown(false, true)
    t.equal(serverOf(bench, next), 2, 'unless it is set, its packets still go there')
    bench.set({ expireNodestConn: 1 })
    setDown(true, true)
    t.equal(serverOf(bench, next), 2, 'nor is anything ended when all are down')
    setDown(false, true)
    t.equal(serverOf(bench, next), protocol === 'udp' ? 1 : undefined)
    t.equal(bench.table.memory.used, protocol === 'udp' ? 1 : 0)
    if (protocol === 'tcp') t.equal(serverOf(bench, opening), 1)
    setDown(false, false)
    t.equal(serverOf(bench, next), 1, 'and there it stays')
  }
})

test('a repeated SYN for a server that was removed is dropped; with expire_nodest_conn, or to one of weight 0, it goes elsewhere', async (t) => {
  const spec = service({ weights: [1, 1] })
  const removed = { ...spec, servers: spec.servers.slice(0, 1) }
  for (const [changed, expireNodestConn, server] of [
    [removed, 0, undefined],
    [removed, 1, 1],
    [service({ weights: [1, 0] }), 0, 1],
  ] as const) {
    const bench = scene({ weights: [1, 1] })
    bench.set({ expireNodestConn })
    t.equal(serverOf(bench, syn()), 2)
    bench.engine.services.set(changed)
    t.equal(serverOf(bench, syn()), server)
    t.equal(bench.drops.toObject()['server-gone'], server === undefined ? 1 : 0)
    t.equal(bench.table.memory.used, 1)
  }
})

test('expire_nodest_conn: a segment for a removed server ends its connection, and the next SYN begins a new one', async (t) => {
  const bench = scene({ weights: [1, 1] })
  bench.set({ expireNodestConn: 1 })
  bench.send(OUTSIDE, syn())
  bench.send(OUTSIDE, clientTcp())
  const spec = service({ weights: [1, 1] })
  bench.engine.services.set({ ...spec, servers: spec.servers.slice(0, 1) })
  t.equal(serverOf(bench, clientTcp()), undefined)
  t.equal(bench.drops.toObject()['no-connection'], 1)
  t.equal(bench.table.memory.used, 0)
  t.equal(serverOf(bench, syn()), 1)
  bench.engine.services.set(spec)
  t.equal(serverOf(bench, clientTcp()), 1, 'a server that comes back has nothing to revive')
})

test('expire_nodest_conn: a SYN for an established connection leaves a server of weight 0', async (t) => {
  for (const [expireNodestConn, server] of [
    [0, 2],
    [1, 1],
  ] as const) {
    const bench = scene({ weights: [1, 1] })
    bench.set({ expireNodestConn, connReuseMode: 0 })
    bench.send(OUTSIDE, syn())
    bench.send(OUTSIDE, clientTcp())
    bench.engine.services.set(service({ weights: [1, 0] }))
    t.equal(serverOf(bench, clientTcp()), 2, 'its other packets stay')
    t.equal(serverOf(bench, syn()), server, `expire_nodest_conn ${expireNodestConn}`)
  }
})

test('expire_nodest_conn leaves alone what a peer knows and this director does not know yet', async (t) => {
  const known = scene({ weights: [1, 1] })
  known.send(OUTSIDE, syn())
  known.send(OUTSIDE, clientTcp())
  const bench = scene({ weights: [1], connections: 64 })
  bench.set({ expireNodestConn: 1 })
  const record = known.outgoing.bytes.slice(known.outgoing.peek(), known.outgoing.peek() + 72)
  t.ok(bench.engine.replication.apply(record, 0))
  t.equal(serverOf(bench, clientTcp()), undefined)
  for (let second = 0; second < 40; second++) {
    bench.nowMs += 1000
    bench.breathe()
  }
  t.equal(bench.table.memory.used, 1)
  bench.engine.services.set(service({ weights: [1, 1] }))
  bench.resolve({ [SERVER2_ADDRESS]: MAC.server2 })
  t.equal(serverOf(bench, clientTcp()), 2, 'it goes on when the server is configured')
})
