/** What makes room in a full table besides half-open connections: what floods of persistent services and of UDP leave, and nothing that has proved right. */
import { test } from 'tap'
import type { ServiceSpec } from '../../../forwarder/service.ts'
import { TCP_ACK, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD } from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, tell, told } from '../../support/director-bench.ts'
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
  VIP,
} from '../../support/scene.ts'

const CONNECTIONS = 256
const FORGED = 4 * CONNECTIONS
const persistence = { timeoutS: 360, netmask: '255.255.255.255' }
const forged = (number: number) => `192.0.${2 + (number >> 8)}.${number & 255}:${1024 + number}`
const client = (number: number) => ({ from: `203.0.113.${number}:5000`, to: `${VIP}:81` })
/** The persistent service of the real clients, beside the one that is flooded. */
const real: ServiceSpec = { ...service({ weights: [1, 1] }), port: 81, persistence }

function director(flooded: ServiceSpec, options: SceneOptions = {}): DirectorBench {
  return scene({ services: [flooded, real], connections: CONNECTIONS, ringSlots: 8192, ...options })
}

/** Ten milliseconds for each packet of the flood. */
function flood(bench: DirectorBench, packet: (number: number) => void): void {
  for (let number = 0; number < FORGED; number++) {
    bench.nowMs += 10
    packet(number)
  }
}

const listed = (bench: DirectorBench, address: string) =>
  [...bench.reader.connections()].filter(({ clientAddress }) => clientAddress === address).map(({ state }) => state)

const floods: [sentence: string, flooded: ServiceSpec, packet: (from: string) => Uint8Array][] = [
  ['SYNs to a persistent service', { ...service(), persistence }, (from) => clientTcp({ from, flags: TCP_SYN })],
  ['datagrams', service({ protocol: 'udp' }), (from) => clientUdp({ from })],
  ['datagrams by direct routing', service({ protocol: 'udp', method: 'dr' }), (from) => clientUdp({ from })],
  [
    'datagrams to a persistent service',
    { ...service({ protocol: 'udp' }), persistence },
    (from) => clientUdp({ from }),
  ],
  ['single datagrams', { ...service({ protocol: 'udp' }), onePacket: true }, (from) => clientUdp({ from })],
]
for (const [sentence, flooded, packet] of floods) {
  test(`a flood of ${sentence}, four times the table, leaves real clients their templates and time for handshakes`, async (t) => {
    const bench = director(flooded)
    // The next one's turn is the other server's.
    serverOf(bench, clientTcp({ ...client(2), flags: TCP_SYN }))
    const server = serverOf(bench, clientTcp({ ...client(1), flags: TCP_SYN }))
    bench.send(OUTSIDE, clientTcp(client(1)))
    told(bench)
    let begun = 10
    flood(bench, (number) => {
      bench.send(OUTSIDE, packet(forged(number)))
      const { from, to } = client(begun)
      if (number % 64 === 0) bench.send(OUTSIDE, clientTcp({ from, to, flags: TCP_SYN }))
      if (number % 64 !== 16) return
      const flags = TCP_SYN | TCP_ACK
      for (const last of [1, 2]) bench.send(INSIDE, serverTcp({ from: `10.1.0.${last}:8000`, to: from, flags }))
      bench.send(OUTSIDE, clientTcp({ from, to }))
      begun++
    })
    t.ok(bench.engine.connections.evicted > FORGED / 2)
    t.equal(bench.drops.toObject()['table-full'], 0)
    for (let number = 10; number < begun; number++) {
      t.same(listed(bench, `203.0.113.${number}`).sort(), ['ASSURED', 'ESTABLISHED'])
    }
    t.same(listed(bench, '203.0.113.1').sort(), ['ASSURED', 'ESTABLISHED'])
    t.equal(serverOf(bench, clientTcp(client(1))), server)
    t.equal(serverOf(bench, clientTcp({ ...client(1), from: '203.0.113.1:5001', flags: TCP_SYN })), server)
    const templates = told(bench).filter((record) => record[RECORD.protocol] >= 200)
    t.same(
      templates.filter((record) => record[RECORD.state] === 0),
      [],
      'peers are told of no template that nothing has assured',
    )
    t.equal(templates.length, begun - 10)
  })
}

for (const method of ['nat', 'dr'] as const) {
  test(`what UDP has proved right makes no room: ${method}`, async (t) => {
    const bench = director(service({ protocol: 'udp', method }))
    for (let number = 1; number < CONNECTIONS; number++) {
      const from = forged(number)
      bench.send(OUTSIDE, clientUdp({ from }))
      if (method === 'dr') bench.send(OUTSIDE, clientUdp({ from }))
      else bench.send(INSIDE, serverUdp({ to: from }))
    }
    bench.nowMs += 1000
    t.equal(serverOf(bench, clientTcp({ ...client(1), flags: TCP_SYN })), undefined)
    t.equal(bench.drops.toObject()['table-full'], 1)
    t.equal(bench.table.memory.used, CONNECTIONS - 1)
  })
}

test('after a timeout was made shorter, what has the longer one makes room all the same', async (t) => {
  const bench = director(service({ protocol: 'udp' }))
  for (let number = 1; number < CONNECTIONS; number++) bench.send(OUTSIDE, clientUdp({ from: forged(number) }))
  bench.set({ timeoutUdpS: 10 })
  bench.nowMs += 1000
  t.not(serverOf(bench, clientTcp({ ...client(1), flags: TCP_SYN })), undefined)
})

test('a standby that is told of a flood of datagrams has room for what is told of after it, and keeps who is told of again', async (t) => {
  const flooded = service({ protocol: 'udp' })
  const active = director(flooded, { connections: 2 * FORGED })
  const standby = director(flooded, { state: 'standby' })
  const pass = () => told(active).map((record) => tell(standby, record))
  active.send(OUTSIDE, clientUdp({ from: '203.0.113.9:53' }))
  pass()
  for (const bench of [active, standby]) {
    bench.nowMs += 60_000
    bench.breathe()
  }
  active.send(OUTSIDE, clientUdp({ from: '203.0.113.9:53' }))
  t.same(pass(), [true], 'it is told of again')
  flood(active, (number) => {
    standby.nowMs += 10
    active.send(OUTSIDE, clientUdp({ from: forged(number) }))
    pass()
  })
  active.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_SYN }))
  active.send(OUTSIDE, clientTcp(client(1)))
  t.same(pass(), [true, true], 'the connection and its template')
  t.same(listed(standby, '203.0.113.1').sort(), ['ASSURED', 'ESTABLISHED'])
  t.same(listed(standby, '203.0.113.9'), ['UDP'])
  t.equal(standby.table.memory.used, CONNECTIONS - 1)
})
