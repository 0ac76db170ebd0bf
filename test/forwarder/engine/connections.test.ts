/** New connections and their servers: who gets one, who keeps it, what is counted, what happens when there is no room. */
import { test } from 'tap'
import type { ServiceSpec } from '../../../forwarder/service.ts'
import { COUNTER, COUNTERS } from '../../../forwarder/table/server-directory.ts'
import { formatIPv4 } from '../../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import {
  clientTcp,
  clientUdp,
  INSIDE,
  OUTSIDE,
  type SceneOptions,
  scene,
  serverOf,
  serverTcp,
  serverUdp,
  service,
} from '../../support/scene.ts'

const client = (port: number) => ({ from: `203.0.113.7:${port}` })
const syn = (port: number) => clientTcp({ ...client(port), flags: TCP_SYN })
const ack = (port: number) => clientTcp(client(port))

function established(bench: DirectorBench, port: number): void {
  bench.send(OUTSIDE, syn(port))
  bench.send(OUTSIDE, ack(port))
}

function counters(bench: DirectorBench, server: number) {
  const found = bench.engine.services.serverBySlot.find(
    (each) => each && formatIPv4(each.address) === `10.1.0.${server}`,
  )
  if (!found) return undefined
  const at = found.slot * COUNTERS
  const read = (counter: number) => bench.engine.services.directory.counters[at + counter]
  return {
    active: read(COUNTER.active),
    inactive: read(COUNTER.inactive),
    connections: read(COUNTER.connections),
    inPackets: read(COUNTER.inPackets),
    outPackets: read(COUNTER.outPackets),
    inBytes: read(COUNTER.inBytes),
    outBytes: read(COUNTER.outBytes),
  }
}

const without = (spec: ServiceSpec, address: string): ServiceSpec => ({
  ...spec,
  servers: spec.servers.filter((server) => server.address !== address),
})

test('new connections go to the servers in turn, beginning with the one added last; known ones stay', async (t) => {
  const bench = scene({ weights: [1, 1, 1], neighbours: threeServers() })
  t.same(
    [1, 2, 3, 4].map((port) => serverOf(bench, syn(port))),
    [3, 2, 1, 3],
  )
  t.same(
    [4, 3, 2, 1].map((port) => serverOf(bench, ack(port))),
    [3, 1, 2, 3],
  )
})

test('wrr picks as IPVS does: C B A A B A for weights 3, 2, 1', async (t) => {
  const bench = scene({ scheduler: 'wrr', weights: [3, 2, 1], neighbours: threeServers() })
  t.same(
    [1, 2, 3, 4, 5, 6].map((port) => serverOf(bench, syn(port))),
    [3, 2, 1, 1, 2, 1],
  )
})

test('a server at weight 0 gets no new connection and keeps those it has', async (t) => {
  const bench = scene({ weights: [1, 1] })
  established(bench, 1)
  established(bench, 2)
  t.same(
    [1, 2].map((port) => serverOf(bench, ack(port))),
    [2, 1],
  )
  bench.engine.services.set(service({ weights: [1, 0] }))
  t.same(
    [3, 4, 5].map((port) => serverOf(bench, syn(port))),
    [1, 1, 1],
  )
  t.equal(serverOf(bench, ack(1)), 2)
  bench.engine.services.set(service({ weights: [1, 1] }))
  t.ok(
    [6, 7].some((port) => serverOf(bench, syn(port)) === 2),
    'and new ones when its weight comes back',
  )
})

test('packets for a removed server are dropped; when it is added back its connections and counters live on', async (t) => {
  const bench = scene({ weights: [1, 1] })
  const spec = service({ weights: [1, 1] })
  established(bench, 1)
  established(bench, 2)
  const before = counters(bench, 2)
  bench.engine.services.set(without(spec, '10.1.0.2'))
  t.equal(serverOf(bench, ack(1)), undefined)
  t.equal(bench.drops.toObject()['server-gone'], 1)
  t.equal(serverOf(bench, ack(2)), 1, 'the other’s are not touched')
  t.same(
    bench.send(INSIDE, serverTcp({ ...client(1), from: '10.1.0.2:8000', to: '203.0.113.7:1' })).length,
    1,
    'what it still says reaches the client',
  )
  bench.engine.services.set(spec)
  t.same(counters(bench, 2), { ...before, outPackets: 1, outBytes: 40 })
  t.equal(serverOf(bench, ack(1)), 2)
})

test('a removed server is forgotten with its last connection, and starts anew when it is added back then', async (t) => {
  const bench = scene({ weights: [1, 1] })
  const spec = service({ weights: [1, 1] })
  bench.send(OUTSIDE, syn(1))
  bench.engine.services.set(without(spec, '10.1.0.2'))
  t.equal(counters(bench, 2)?.active, 1)
  bench.nowMs += 61_000
  bench.breathe()
  t.equal(counters(bench, 2), undefined)
  bench.engine.services.set(spec)
  t.equal(counters(bench, 2)?.connections, 0)
})

test('a removed service drops its connections’ packets, and refuses new ones', async (t) => {
  const bench = scene()
  established(bench, 1)
  bench.engine.services.remove(service())
  t.equal(serverOf(bench, ack(1)), undefined)
  t.equal(bench.drops.toObject()['server-gone'], 1)
  bench.send(OUTSIDE, syn(2))
  t.equal(bench.drops.toObject()['no-service'], 1)
  bench.engine.services.set(service())
  t.equal(serverOf(bench, ack(1)), 1, 'and revives them with the service')
})

test('a server that changes its method keeps it for the connections it has', async (t) => {
  const bench = scene()
  established(bench, 1)
  const spec = service()
  bench.engine.services.set({ ...spec, servers: [{ ...spec.servers[0], method: 'dr' }] })
  t.equal(bench.send(OUTSIDE, ack(1))[0].frame[33], 1, 'its address is in the packet: NAT')
  t.equal(bench.send(OUTSIDE, syn(2))[0].frame[33], 10, 'the virtual address is: direct routing')
})

const overStates: [sentence: string, end: (bench: DirectorBench) => void][] = [
  [
    'TIME_WAIT',
    (bench) => {
      bench.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_FIN | TCP_ACK }))
      bench.send(INSIDE, serverTcp({ from: '10.1.0.2:8000', to: '203.0.113.7:1', flags: TCP_FIN | TCP_ACK }))
    },
  ],
  ['CLOSE', (bench) => bench.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_RST }))],
]
for (const [state, end] of overStates) {
  test(`a SYN with the addresses of a connection in ${state} starts a new one, with a new choice of server`, async (t) => {
    const bench = scene({ weights: [1, 1] })
    established(bench, 1)
    end(bench)
    t.equal([...bench.reader.connections()][0].state, state)
    t.equal(serverOf(bench, syn(1)), 1)
    t.equal(bench.table.memory.used, 1)
    t.same([counters(bench, 1)?.active, counters(bench, 2)?.inactive], [1, 0])
  })
}

test('a SYN for a connection that is not over belongs to it', async (t) => {
  const bench = scene({ weights: [1, 1] })
  established(bench, 1)
  t.equal(serverOf(bench, syn(1)), 2)
  t.equal(serverOf(bench, clientTcp({ ...client(1), flags: TCP_SYN | TCP_RST })), 2)
})

test('on standby new connections are dropped in silence and known ones forwarded', async (t) => {
  for (const method of ['nat', 'tun', 'dr'] as const) {
    const bench = scene({ method })
    established(bench, 1)
    setState(bench, 'standby')
    t.same(bench.send(OUTSIDE, syn(2)), [])
    t.same(bench.send(OUTSIDE, clientTcp({ ...client(3), to: '198.51.100.10:81', flags: TCP_SYN })), [])
    t.equal(bench.drops.toObject().standby, 2)
    t.equal(bench.send(OUTSIDE, ack(1))[0].link, INSIDE)
    setState(bench, 'lingering')
    t.equal(bench.send(OUTSIDE, syn(2))[0].link, INSIDE, 'while lingering new ones are served too')
  }
})

test('packets for an address that is not ours are the host’s', async (t) => {
  const bench = scene()
  established(bench, 1)
  bench.engine.addresses.replace([], ['outside', 'inside'])
  t.same(bench.send(OUTSIDE, ack(1)), [])
  t.ok(Object.values(bench.drops.toObject()).every((count) => count === 0))
})

test('a full table gives up the half-open connection that has waited longest', async (t) => {
  const bench = scene({ connections: 8 })
  for (let port = 1; port <= 7; port++) bench.send(OUTSIDE, syn(port))
  bench.send(OUTSIDE, ack(1))
  bench.send(OUTSIDE, ack(3))
  t.equal(serverOf(bench, syn(8)), 1)
  t.equal(serverOf(bench, syn(9)), 1)
  t.same(clientPorts(bench), [1, 3, 5, 6, 7, 8, 9])
  t.equal(bench.engine.connections.evicted, 2)
  t.same([counters(bench, 1)?.active, counters(bench, 1)?.inactive], [7, 0])
})

test('a full table never gives up an established connection', async (t) => {
  const bench = scene({ connections: 8 })
  for (let port = 1; port <= 7; port++) established(bench, port)
  t.same(bench.send(OUTSIDE, syn(8)), [])
  t.equal(bench.drops.toObject()['table-full'], 1)
  t.same(clientPorts(bench), [1, 2, 3, 4, 5, 6, 7])
  t.equal(counters(bench, 1)?.active, 7)
})

test('a flood of SYNs passes through a full table without disturbing who is established', async (t) => {
  const bench = scene({ connections: 16, slots: 64 })
  for (let port = 1; port <= 10; port++) established(bench, port)
  for (let port = 1000; port < 3000; port++) {
    bench.send(OUTSIDE, syn(port))
    if (port % 100 === 0) bench.nowMs += 1000
  }
  for (let port = 1; port <= 10; port++) t.equal(serverOf(bench, ack(port)), 1)
  t.equal(bench.table.memory.used, 15)
  t.equal(bench.drops.toObject()['table-full'], 0)
})

test('when a flood is over its half-open connections end by themselves', async (t) => {
  const bench = scene({ connections: 1024 })
  established(bench, 1)
  for (let port = 2; port <= 500; port++) bench.send(OUTSIDE, syn(port))
  bench.nowMs += 61_000
  bench.breathe()
  t.same(clientPorts(bench), [1])
})

test('connections, packets and bytes are counted at the server, and active ones by state', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, syn(1))
  t.same(counters(bench, 1), {
    active: 1,
    inactive: 0,
    connections: 1,
    inPackets: 1,
    outPackets: 0,
    inBytes: 40,
    outBytes: 0,
  })
  bench.send(INSIDE, serverTcp({ to: '203.0.113.7:1', payload: 'four' }))
  bench.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_FIN | TCP_ACK, payload: '12345' }))
  t.same(counters(bench, 1), {
    active: 0,
    inactive: 1,
    connections: 1,
    inPackets: 2,
    outPackets: 1,
    inBytes: 85,
    outBytes: 44,
  })
  bench.send(OUTSIDE, syn(2))
  t.same([counters(bench, 1)?.active, counters(bench, 1)?.inactive, counters(bench, 1)?.connections], [1, 1, 2])
  bench.nowMs += 121_000
  bench.breathe()
  t.same([counters(bench, 1)?.active, counters(bench, 1)?.inactive, counters(bench, 1)?.connections], [0, 0, 2])
})

test('datagram conversations count as inactive', async (t) => {
  const bench = scene({ protocol: 'udp' })
  bench.send(OUTSIDE, clientUdp({ payload: 'q' }))
  bench.send(INSIDE, serverUdp({ payload: 'reply' }))
  t.same(counters(bench, 1), {
    active: 0,
    inactive: 1,
    connections: 1,
    inPackets: 1,
    outPackets: 1,
    inBytes: 29,
    outBytes: 33,
  })
})

const noise: [sentence: string, frame: Uint8Array, drop: string | undefined][] = [
  ['a frame shorter than an Ethernet header', new Uint8Array(13), 'truncated'],
  ['an IPv4 frame without a whole header', clientTcp().subarray(0, 33), 'truncated'],
  ['a packet with a damaged header', damagedHeader(), 'bad-header'],
  ['a packet longer than its frame', clientTcp({ payload: 'abc' }).subarray(0, 56), 'bad-header'],
  ['a fragment of a length that none in front of another has', clientTcp({ fragment: 0x2000 }), 'bad-header'],
  ['another protocol for a virtual address', otherProtocol(clientTcp()), 'unsupported'],
  ['a frame of another type', Uint8Array.from({ length: 60 }, () => 0x88), undefined],
  ['a packet for somebody else', clientTcp({ to: '192.0.2.1:80' }), undefined],
  ['a fragment for somebody else', clientTcp({ to: '192.0.2.1:80', fragment: 0x2000 }), undefined],
  ['another protocol for somebody else', otherProtocol(clientTcp({ to: '192.0.2.1:80' })), undefined],
  [
    'a packet for a virtual address that was sent to all machines',
    clientTcp({ flags: TCP_SYN, destinationMac: 'ff:ff:ff:ff:ff:ff' }),
    undefined,
  ],
]
for (const [sentence, frame, drop] of noise) {
  test(`${sentence} is ${drop ? `dropped: ${drop}` : 'left to the host'}`, async (t) => {
    const bench = scene()
    t.same(bench.send(OUTSIDE, frame), [])
    t.same(
      Object.entries(bench.drops.toObject()).filter(([, count]) => count > 0),
      drop ? [[drop, 1]] : [],
    )
  })
}

function setState(bench: DirectorBench, state: SceneOptions['state']): void {
  bench.engine.addresses.replace(
    [{ address: '198.51.100.10', link: OUTSIDE, state: state ?? 'active' }],
    bench.links.map((link) => link.name),
  )
}

function clientPorts(bench: DirectorBench): number[] {
  return [...bench.reader.connections()].map((connection) => connection.clientPort).sort((a, b) => a - b)
}

function threeServers(): Record<string, string> {
  return Object.fromEntries([1, 2, 3].map((number) => [`10.1.0.${number}`, `02:00:00:00:02:0${number}`]))
}

function damagedHeader(): Uint8Array {
  const frame = clientTcp()
  frame[20] ^= 1
  return frame
}

/** The packet with protocol 47 (GRE) and the checksum that goes with it. */
function otherProtocol(frame: Uint8Array): Uint8Array {
  frame[23] = 47
  const sum = ((frame[24] << 8) | frame[25]) - (47 - 6)
  frame[24] = sum >> 8
  frame[25] = sum
  return frame
}

test('a SYN whose server takes no more goes to another one, but an established connection stays', async (t) => {
  const bench = scene({ weights: [1, 1], neighbours: threeServers() })
  t.equal(serverOf(bench, syn(1)), 2)
  established(bench, 3)
  const heldBy = serverOf(bench, ack(3))
  for (const weights of [
    [1, 0],
    [0, 1],
  ]) {
    bench.engine.services.set(service({ weights }))
    t.equal(serverOf(bench, syn(1)), weights[0] === 1 ? 1 : 2)
    t.equal(serverOf(bench, ack(3)), heldBy)
    t.equal(serverOf(bench, syn(3)), heldBy)
  }
})
