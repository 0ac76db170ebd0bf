/** drop_packet, drop_entry and secure_tcp: when they are at work, whom they hit, and whom they spare. */
import { test } from 'tap'
import { Defences, memorySupply } from '../../../forwarder/engine/defences.ts'
import { defaultSettings, type EngineSettings } from '../../../forwarder/settings.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import {
  clientTcp,
  clientUdp,
  INSIDE,
  OUTSIDE,
  scene,
  serverTcp,
  serverUdp,
  service,
  VIP,
} from '../../support/scene.ts'

const LARGE = 2 ** 20
const enough = { amemthresh: 1024, availablePages: 100_000, freeConnections: LARGE - 1, capacity: LARGE }

const supplies: [sentence: string, change: Partial<typeof enough>, supply: number][] = [
  ['the host has exactly amemthresh pages', { availablePages: 1024 }, 1],
  ['the host has half of amemthresh', { availablePages: 512 }, 0.5],
  ['the table has room for what fits into amemthresh pages', { freeConnections: 65_536 }, 1],
  ['the table has room for a quarter of that', { freeConnections: 16_384 }, 0.25],
  ['a small table is a sixteenth free', { capacity: 1024, freeConnections: 64 }, 1],
  ['a small table is a thirty-second free', { capacity: 1024, freeConnections: 32 }, 0.5],
  ['both are short: the shorter counts', { availablePages: 512, freeConnections: 16_384 }, 0.25],
  ['amemthresh is 0: memory is never short', { amemthresh: 0, availablePages: 0, freeConnections: 0 }, 1],
]
for (const [sentence, change, supply] of supplies) {
  test(`memory: ${sentence}`, async (t) => {
    t.equal(memorySupply({ ...enough, ...change }), supply)
  })
}

const memory = { used: 0, capacity: LARGE }

for (const [name, read] of [
  ['dropEntry', (defences: Defences) => defences.isDroppingEntries],
  ['secureTcp', (defences: Defences) => defences.isSecureTcp],
  ['dropPacket', (defences: Defences) => defences.packetDropRate > 0],
] as const) {
  test(`${name}: 0 is never, 1 and 2 while memory is short, 3 always`, async (t) => {
    for (const availablePages of [100_000, 100]) {
      const isShort = availablePages < 1024
      const seen = [0, 1, 2, 3].map((mode) => {
        const defences = new Defences()
        defences.availablePages = availablePages
        defences.update({ ...defaultSettings(), [name]: mode }, memory)
        t.equal(defences.isMemoryShort, isShort)
        return read(defences)
      })
      t.same(seen, [false, isShort, isShort, true])
    }
  })
}

function refusals(change: Partial<EngineSettings>, availablePages: number, packets: number): number {
  const defences = new Defences()
  defences.availablePages = availablePages
  defences.update({ ...defaultSettings(), ...change }, memory)
  return Array.from({ length: packets }, () => defences.refusesPacket()).filter(Boolean).length
}

test('drop_packet refuses one packet in am_droprate, and the more the shorter memory is', async (t) => {
  t.equal(refusals({ dropPacket: 3 }, 100_000, 1000), 100)
  t.equal(refusals({ dropPacket: 3, amDroprate: 4 }, 100_000, 1000), 250)
  t.equal(refusals({ dropPacket: 1 }, 100_000, 1000), 0)
  t.equal(refusals({ dropPacket: 1 }, 922, 1000), 100, '102 of 1024 pages are missing: one in ten')
  t.equal(refusals({ dropPacket: 1 }, 768, 1000), 250)
  t.equal(refusals({ dropPacket: 1 }, 0, 1000), 500, 'never more than every other one')
})

/** What comes from port 20 begins nothing. */
const FIRST_PORT = 30_000
const client = (number: number) => ({ from: `203.0.113.7:${FIRST_PORT + number}` })
const syn = (port: number) => clientTcp({ ...client(port), flags: TCP_SYN })
const ports = (bench: DirectorBench) =>
  [...bench.reader.connections()].map(({ clientPort }) => clientPort - FIRST_PORT).sort()

function pass(bench: DirectorBench, seconds: number): void {
  for (let tenth = 0; tenth < seconds * 10; tenth++) {
    bench.nowMs += 100
    bench.breathe()
  }
}

test('drop_packet drops packets that ask for a connection and never those of a known one', async (t) => {
  const bench = scene()
  bench.set({ dropPacket: 3, amDroprate: 2 })
  for (let port = 1; port <= 100; port++) bench.send(OUTSIDE, syn(port))
  t.equal(bench.drops.toObject()['drop-packet'], 50)
  const known = ports(bench)
  t.equal(known.length, 50)
  for (const port of known) t.equal(bench.send(OUTSIDE, clientTcp(client(port))).length, 1)
  t.equal(bench.drops.toObject()['drop-packet'], 50)
})

test('drop_packet leaves a packet for no service to be answered', async (t) => {
  const bench = scene()
  bench.set({ dropPacket: 3, amDroprate: 1 })
  const [answer] = bench.send(OUTSIDE, clientTcp({ to: '198.51.100.10:81', flags: TCP_SYN }))
  t.equal(answer.link, OUTSIDE)
  t.equal(bench.drops.toObject()['drop-packet'], 0)
})

test('drop_entry ends every half-open connection within one walk of 32 seconds, and no established one', async (t) => {
  const bench = scene()
  for (let port = 1; port <= 60; port++) bench.send(OUTSIDE, syn(port))
  for (let port = 1; port <= 20; port++) bench.send(OUTSIDE, clientTcp(client(port)))
  bench.set({ dropEntry: 3 })
  pass(bench, 16)
  t.ok(ports(bench).length > 45 && ports(bench).length < 55, 'half of the walk is half of the work')
  pass(bench, 17)
  t.equal(bench.engine.sweep.dropped, 40)
  t.same(ports(bench), Array.from({ length: 20 }, (_, index) => index + 1).sort())
})

test('drop_entry ends idle conversations of few packets, one in as many as there were', async (t) => {
  const bench = scene({ protocol: 'udp' })
  for (let port = 1; port <= 40; port++) bench.send(OUTSIDE, clientUdp(client(port)))
  for (let port = 41; port <= 80; port++) {
    for (let packet = 0; packet < 4; packet++) bench.send(OUTSIDE, clientUdp(client(port)))
  }
  for (let port = 81; port <= 120; port++) {
    for (let packet = 0; packet < 9; packet++) bench.send(OUTSIDE, clientUdp(client(port)))
  }
  bench.set({ dropEntry: 3 })
  pass(bench, 33)
  t.equal(ports(bench).length, 120, 'nobody within the first minute')
  bench.set({ dropEntry: 0 })
  pass(bench, 28)
  bench.set({ dropEntry: 3 })
  pass(bench, 33)
  const left = ports(bench)
  t.equal(left.filter((port) => port <= 40).length, 0, 'one packet: every one')
  t.equal(left.filter((port) => port > 40 && port <= 80).length, 30, 'four packets: every fourth')
  t.equal(left.filter((port) => port > 80).length, 40, 'nine packets: none')
})

test('drop_entry lets the reply to a single datagram be awaited', async (t) => {
  const bench = scene({ services: [{ ...service({ protocol: 'udp' }), onePacket: true }] })
  for (let port = 1; port <= 60; port++) bench.send(OUTSIDE, clientUdp(client(port)))
  bench.set({ dropEntry: 3 })
  pass(bench, 9)
  t.equal(bench.engine.sweep.dropped, 0)
  for (let port = 1; port <= 60; port++) {
    const [reply] = bench.send(INSIDE, serverUdp({ to: client(port).from }))
    t.equal(reply?.link, OUTSIDE)
  }
})

test('drop_entry ends templates that nothing has assured, once they count no connection', async (t) => {
  const persistence = { timeoutS: 360, netmask: '255.255.255.255' }
  const bench = scene({ services: [{ ...service(), persistence }] })
  const from = (host: number) => ({ from: `203.0.113.${host}:30000` })
  for (let host = 1; host <= 20; host++) bench.send(OUTSIDE, clientTcp({ ...from(host), flags: TCP_SYN }))
  bench.set({ dropEntry: 3 })
  for (let walk = 1; walk <= 2; walk++) {
    for (let host = 1; host <= 5; host++) bench.send(OUTSIDE, clientTcp(from(host)))
    pass(bench, 33)
  }
  const templates = [...bench.reader.connections()].filter(({ isTemplate }) => isTemplate)
  t.same(
    templates.map(({ state }) => state),
    Array(5).fill('ASSURED'),
  )
  t.equal(bench.engine.sweep.dropped, 30)
})

test('drop_entry spares an established connection that has just spoken, however little', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, syn(1))
  bench.send(OUTSIDE, clientTcp(client(1)))
  bench.set({ dropEntry: 3 })
  for (let round = 0; round < 4; round++) {
    pass(bench, 30)
    bench.send(INSIDE, serverTcp({ to: `203.0.113.7:${FIRST_PORT + 1}` }))
  }
  t.same(ports(bench), [1])
})

test('a director that has lost the address ends nothing of it: to it every connection looks idle', async (t) => {
  for (const setting of [{ dropEntry: 3 }, { expireNodestConn: 1 }]) {
    const bench = scene({ protocol: 'udp' })
    for (let port = 1; port <= 10; port++) bench.send(OUTSIDE, clientUdp(client(port)))
    const place = (state: 'active' | 'standby') =>
      bench.engine.placeAddresses([{ address: VIP, link: OUTSIDE, state }], [OUTSIDE, INSIDE])
    place('standby')
    bench.engine.services.remove({ protocol: 'udp', address: VIP, port: 80 })
    pass(bench, 65)
    const before = bench.outgoing.length
    bench.set(setting)
    pass(bench, 33)
    t.same([ports(bench).length, bench.outgoing.length], [10, before])
    place('active')
    pass(bench, 33)
    t.same([ports(bench).length, bench.outgoing.length], [0, before + 10])
  }
})

test('without virtual addresses of its own a director sweeps all that it has', async (t) => {
  const bench = scene()
  for (let port = 1; port <= 10; port++) bench.send(OUTSIDE, syn(port))
  bench.engine.placeAddresses([], [OUTSIDE, INSIDE])
  bench.set({ dropEntry: 3 })
  pass(bench, 33)
  t.same(ports(bench), [])
})

test('the walk looks at a bounded number of places in one breath, however long it has rested', async (t) => {
  const bench = scene({ connections: 65_536, ringSlots: 65_536 })
  for (let port = 1; port <= 20_000; port++) bench.send(OUTSIDE, syn(port))
  bench.set({ dropEntry: 3 })
  bench.breathe()
  for (let breath = 0; breath < 20; breath++) {
    const before = bench.engine.sweep.dropped
    bench.nowMs += breath === 10 ? 30_000 : 128
    bench.breathe()
    const done = bench.engine.sweep.dropped - before
    t.ok(done > 0 && done <= 2048, `${done}`)
  }
})

test('the defences in mode 1 come to work when the table fills up, and rest when there is room again', async (t) => {
  const bench = scene({ connections: 64 })
  bench.set({ dropEntry: 1, secureTcp: 1 })
  const atWork = () => [bench.engine.defences.isMemoryShort, bench.engine.defences.isDroppingEntries]
  for (let port = 1; port <= 50; port++) bench.send(OUTSIDE, syn(port))
  pass(bench, 2)
  t.same(atWork(), [false, false])
  for (let port = 51; port <= 62; port++) bench.send(OUTSIDE, syn(port))
  pass(bench, 2)
  t.same(atWork(), [true, true])
  pass(bench, 8)
  t.same(atWork(), [false, false])
  t.ok(ports(bench).length <= 60)
})

test('news of the host’s memory set the defences to work within a second or so', async (t) => {
  const bench = scene()
  bench.set({ secureTcp: 2 })
  bench.engine.defences.availablePages = 1000
  pass(bench, 2)
  t.ok(bench.engine.defences.isSecureTcp)
  bench.engine.defences.availablePages = 2000
  pass(bench, 2)
  t.notOk(bench.engine.defences.isSecureTcp)
})

test('expire_nodest_conn ends the connections of a removed server within a walk, and tells the peers', async (t) => {
  const bench = scene()
  bench.set({ expireNodestConn: 1 })
  bench.send(OUTSIDE, syn(1))
  bench.send(OUTSIDE, clientTcp(client(1)))
  const told = bench.outgoing.length
  bench.engine.services.remove({ protocol: 'tcp', address: '198.51.100.10', port: 80 })
  pass(bench, 33)
  t.same(ports(bench), [])
  t.equal(bench.outgoing.length, told + 1)
})
