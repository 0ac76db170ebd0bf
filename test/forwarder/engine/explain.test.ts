/** The simulated question: it answers what then really happens, and asking changes nothing. */
import { test } from 'tap'
import { explain, type Question } from '../../../forwarder/engine/explain.ts'
import { COUNTER, COUNTERS } from '../../../forwarder/table/server-directory.ts'
import { formatIPv4, formatMac, parseMac } from '../../../protocol/packet/bytes.ts'
import { readIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { schedulers } from '../../../scheduler/registry.ts'
import { memoryCopy } from '../../../scheduler/scheduler.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { CLIENT6_ADDRESS, clientTcp6, scene6, service6, VIP6 } from '../../support/ipv6-scene.ts'
import {
  CLIENT_ADDRESS,
  clientTcp,
  clientUdp,
  INSIDE,
  INSIDE_SOURCE,
  MAC,
  OUTSIDE,
  scene,
  serverTcp,
  service,
  VIP,
} from '../../support/scene.ts'

const question = (fields: Partial<Question> = {}): Question => ({
  protocol: 'tcp',
  client: CLIENT_ADDRESS,
  clientPort: 3456,
  virtual: VIP,
  virtualPort: 80,
  ...fields,
})
const ask = (bench: DirectorBench, fields: Partial<Question> = {}) =>
  explain(bench.engine, question(fields), bench.nowMs)
const syn = (port = 3456) => clientTcp({ from: `${CLIENT_ADDRESS}:${port}`, flags: TCP_SYN })

/** Everything that a question could have changed. */
function everything(bench: DirectorBench): unknown {
  const { engine, table, outgoing, drops } = bench
  const { used, fresh } = table.memory
  const memories = [...engine.services.values()].map(({ memory }) => memoryCopy(schedulers[0], memory))
  const counters = engine.services.directory.counters.slice()
  return {
    used,
    fresh,
    memories,
    counters,
    outgoing: outgoing.length,
    drops: drops.toObject(),
    pool: engine.egress.poolUse,
  }
}

for (const method of ['nat', 'tun', 'dr'] as const) {
  test(`by ${method} the frame leaves as it was said to`, async (t) => {
    const bench = scene({ method, weights: [1, 2], scheduler: 'wlc' })
    const { outcome, server, after, decision } = ask(bench)
    t.match({ outcome, decision }, { outcome: 'forwarded', decision: 'scheduler' })
    const [sent] = bench.send(OUTSIDE, syn())
    const view = new DataView(sent.frame.buffer, sent.frame.byteOffset)
    const inner = method === 'tun' ? 34 : 14
    const endpoint = (address: number, port: number) =>
      `${formatIPv4(view.getInt32(inner + address))}:${view.getUint16(inner + port)}`
    t.same(after, {
      link: sent.link,
      sourceMac: formatMac(sent.frame, 6),
      destinationMac: formatMac(sent.frame, 0),
      ...(method === 'tun' && {
        outer: { source: INSIDE_SOURCE, destination: server?.address, protocol: 4, ttl: view.getUint8(14 + 8) },
      }),
      source: endpoint(12, 20),
      destination: endpoint(16, 22),
      ttl: view.getUint8(inner + 8),
    })
    const [{ serverAddress, serverPort }] = bench.reader.connections()
    t.same(server, { address: serverAddress, port: serverPort, method })
  })
}

// twos draws lots: what it says is what might happen.
for (const { name } of schedulers.filter((each) => each.name !== 'twos')) {
  test(`${name} is asked without moving on: each answer is what the next connection gets`, async (t) => {
    const bench = scene({ weights: [3, 2, 1], scheduler: name })
    for (let port = 1000; port < 1012; port++) {
      const before = everything(bench)
      const answers = Array.from({ length: 3 }, () => ask(bench, { clientPort: port }).server?.address)
      t.same(everything(bench), before, 'nothing has changed')
      bench.send(OUTSIDE, syn(port))
      const real = [...bench.reader.connections()].find(({ clientPort }) => clientPort === port)
      t.same(answers, Array(3).fill(real?.serverAddress))
    }
  })
}

test('twos is asked without a trace', async (t) => {
  const bench = scene({ weights: [3, 2, 1], scheduler: 'twos' })
  const before = everything(bench)
  t.match(ask(bench), { outcome: 'forwarded', candidates: { length: 3 } })
  t.same(everything(bench), before)
})

for (const name of ['lblc', 'lblcr']) {
  test(`${name} does not remember a destination that it was only asked about`, async (t) => {
    // Its first answer would stay if it were remembered; weighted least connection has moved on meanwhile.
    const bench = scene({ weights: [1, 1], scheduler: name })
    const first = ask(bench).server?.address
    const [{ slot }] = bench.engine.services.serverBySlot.filter(
      (server) => server && formatIPv4(server.address) === first,
    ) as { slot: number }[]
    bench.engine.services.directory.counters[slot * COUNTERS + COUNTER.active] += 1
    t.not(ask(bench).server?.address, first)
  })
}

test('the candidates come with their numbers, in the scheduler’s order', async (t) => {
  const bench = scene({ weights: [2, 0, 1], scheduler: 'wlc' })
  bench.send(OUTSIDE, syn(1))
  const rows = ask(bench).candidates.map((each) => [
    ...[each.address, each.port, each.weight, each.activeConnections, each.inactiveConnections, each.isChosen],
  ])
  t.same(rows, [
    ['10.1.0.3', 8000, 1, 1, 0, false],
    ['10.1.0.2', 8000, 0, 0, 0, false],
    ['10.1.0.1', 8000, 2, 0, 0, true],
  ])
})

test('a known connection goes on, by the way that its client came', async (t) => {
  const bench = scene({ weights: [1, 1] })
  bench.send(OUTSIDE, syn())
  bench.send(OUTSIDE, clientTcp({ flags: TCP_ACK }))
  const [{ serverAddress }] = bench.reader.connections()
  const before = everything(bench)
  t.match(ask(bench), {
    outcome: 'forwarded',
    decision: 'table',
    connection: { state: 'ESTABLISHED' },
    service: { address: VIP, port: 80, scheduler: 'rr', flags: [] },
    candidates: [],
    server: { address: serverAddress, port: 8000, method: 'nat' },
    before: { link: OUTSIDE, sourceMac: MAC.router, destinationMac: MAC.outside, ttl: 64 },
    after: { link: INSIDE, sourceMac: MAC.inside, ttl: 63, source: `${CLIENT_ADDRESS}:3456` },
  })
  t.equal(Math.round((ask(bench).connection?.expiresMs ?? 0) / 1000), 900)
  t.same(everything(bench), before)
})

test('a packet comes to the virtual MAC where the address has one', async (t) => {
  const mac = '00:00:5e:00:01:33'
  const bench = scene({ addresses: [{ address: VIP, link: OUTSIDE, state: 'active', mac: parseMac(mac) }] })
  t.match(ask(bench), { before: { destinationMac: mac }, after: { sourceMac: MAC.inside } })
})

test('a connection that is over is scheduled anew, as a SYN would do', async (t) => {
  const bench = scene({ weights: [1, 1] })
  bench.send(OUTSIDE, syn())
  bench.send(OUTSIDE, clientTcp({ flags: TCP_FIN | TCP_ACK }))
  bench.send(INSIDE, serverTcp({ flags: TCP_RST | TCP_ACK }))
  const { decision, reason, connection } = ask(bench)
  t.match({ decision, reason }, { decision: 'scheduler', reason: /over/ })
  t.ok(connection)
})

const cases: [what: string, bench: () => DirectorBench, fields: Partial<Question>, expected: object][] = [
  ['an address that is not ours', scene, { virtual: '198.51.100.99' }, { outcome: 'host', address: 'unknown' }],
  [
    'a new connection to an address that another director holds',
    () => scene({ state: 'standby' }),
    {},
    { outcome: 'dropped', reason: /\(standby\)/, address: 'standby', service: { port: 80 } },
  ],
  ['a port without a service', scene, { virtualPort: 81 }, { outcome: 'refused', reason: /\(no-service\)/ }],
  ['a protocol without a service', scene, { protocol: 'udp' }, { outcome: 'refused', reason: /\(no-service\)/ }],
  ['a service without a server', () => scene({ weights: [0] }), {}, { outcome: 'refused', reason: /\(no-server\)/ }],
  [
    'a client that no host can be',
    scene,
    { client: '127.0.0.1' },
    { outcome: 'dropped', reason: /\(martian-source\)/ },
  ],
  [
    'a server without a route',
    () => scene({ routes: [] }),
    {},
    { outcome: 'dropped', reason: /\(no-route\)/, server: { address: '10.1.0.1' } },
  ],
  [
    'a server whose MAC is not known yet',
    () => scene({ neighbours: {} }),
    {},
    { outcome: 'forwarded', reason: /ARP/, after: { destinationMac: undefined } },
  ],
  [
    'a server that does not answer',
    () => {
      const bench = scene({ neighbours: {} })
      for (let second = 0; second < 4; second++) bench.resolve({})
      return bench
    },
    {},
    { outcome: 'dropped', reason: /ARP \(neighbour-failed\)/, server: { address: '10.1.0.1' } },
  ],
]
for (const [what, make, fields, expected] of cases) {
  test(`${what} is explained, and the packet would have the same fate`, async (t) => {
    const bench = make()
    const explanation = ask(bench, fields)
    t.match(explanation, expected)
    const before = Object.values(bench.drops.toObject()).reduce((sum, count) => sum + count, 0)
    const [, reason] = /\(([a-z-]+)\)/.exec(explanation.reason) ?? []
    if (fields.protocol !== undefined || reason === undefined) return
    const from = `${fields.client ?? CLIENT_ADDRESS}:3456`
    const to = `${fields.virtual ?? VIP}:${fields.virtualPort ?? 80}`
    bench.send(OUTSIDE, clientTcp({ from, to, flags: TCP_SYN }))
    const drops = bench.drops.toObject()
    t.equal(drops[reason], 1, `counted as ${reason}`)
    t.equal(
      Object.values(drops).reduce((sum, count) => sum + count, 0),
      before + 1,
    )
  })
}

test('a connection whose server was removed is said to be lost', async (t) => {
  const bench = scene({ weights: [1] })
  bench.send(OUTSIDE, syn())
  bench.send(OUTSIDE, clientTcp({ flags: TCP_ACK }))
  bench.engine.services.set(service({ weights: [] }))
  t.match(ask(bench), { outcome: 'dropped', reason: /\(server-gone\)/, decision: 'table' })
})

const question6 = (fields: Partial<Question> = {}): Question =>
  question({ client: CLIENT6_ADDRESS, virtual: VIP6, ...fields })
const ask6 = (bench: DirectorBench, fields: Partial<Question> = {}) =>
  explain(bench.engine, question6(fields), bench.nowMs)
const syn6 = (fields = {}) => clientTcp6({ flags: TCP_SYN, ...fields })

/** What a frame of IPv6, or of a tunnel of IPv6, looks like to explain. */
function facts6(link: string, frame: Uint8Array, isTunnel: boolean): object {
  const inner = isTunnel ? 54 : 14
  const port = (at: number) => (frame[inner + at] << 8) | frame[inner + at + 1]
  const outer = { source: readIPv6Text(frame, 22), destination: readIPv6Text(frame, 38), protocol: 41, ttl: frame[21] }
  return {
    link,
    sourceMac: formatMac(frame, 6),
    destinationMac: formatMac(frame, 0),
    ...(isTunnel && { outer }),
    source: `[${readIPv6Text(frame, inner + 8)}]:${port(40)}`,
    destination: `[${readIPv6Text(frame, inner + 24)}]:${port(42)}`,
    ttl: frame[inner + 7],
  }
}

for (const method of ['nat', 'tun', 'dr'] as const) {
  test(`over IPv6 by ${method} the frame leaves as it was said to`, async (t) => {
    const bench = scene6({ method, weights: [1, 1] })
    const before = everything(bench)
    const { outcome, server, after, decision } = ask6(bench)
    t.same(everything(bench), before)
    t.match({ outcome, decision }, { outcome: 'forwarded', decision: 'scheduler' })
    const [sent] = bench.send(OUTSIDE, syn6())
    t.same(after, facts6(sent.link, sent.frame, method === 'tun'))
    const [{ serverAddress, serverPort }] = bench.reader.connections()
    t.same(server, { address: serverAddress, port: serverPort, method })
    bench.send(OUTSIDE, clientTcp6())
    t.match(ask6(bench), {
      decision: 'table',
      connection: { state: 'ESTABLISHED' },
      server: { address: serverAddress },
    })
  })
}

const persistence = { timeoutS: 60, netmask: '64' }

test('a persistence template is explained, with whom it is for, and leads where it was said to', async (t) => {
  const bench = scene6({ services: [{ ...service6({ weights: [1, 1] }), persistence }] })
  t.match(ask6(bench), { decision: 'scheduler', template: undefined })
  bench.send(OUTSIDE, syn6())
  const before = everything(bench)
  const explanation = ask6(bench, { client: '2001:db8:c::9' })
  t.same(everything(bench), before)
  const [{ serverAddress }] = bench.reader.connections()
  t.match(explanation, {
    decision: 'template',
    template: { client: '2001:db8:c::', state: 'NONE' },
    server: { address: serverAddress },
    candidates: [],
  })
  t.equal(Math.round((explanation.template?.expiresMs ?? 0) / 1000), 60)
  bench.engine.services.set({ ...service6({ weights: [1, 0] }), persistence })
  bench.set({ expireQuiescentTemplate: 1 })
  t.match(ask6(bench, { client: '2001:db8:c::9' }), {
    decision: 'scheduler',
    template: { client: '2001:db8:c::' },
    server: { address: '2001:db8:2::1' },
  })
})

for (const [family, options] of [
  ['IPv4', { make: scene, base: service, ask, address: '0.0.0.0', elsewhere: '10.3.0.5', prefix: '10.3.0.0/24' }],
  [
    'IPv6',
    { make: scene6, base: service6, ask: ask6, address: '::', elsewhere: '2001:db8:5::5', prefix: '2001:db8:5::/64' },
  ],
] as const) {
  test(`firewall marks are explained for ${family}, for addresses too that are no VIPs`, async (t) => {
    const { make, base, address, elsewhere, prefix } = options
    const ofMark = { ...base({ weights: [1, 1] }), protocol: 'fwm', address, port: 0, mark: 9 } as const
    const bench = make({
      services: [base(), { ...ofMark, servers: ofMark.servers.map((each) => ({ ...each, port: 0 })) }],
    })
    t.match(options.ask(bench, { virtual: elsewhere }), { outcome: 'host', address: 'unknown' })
    bench.engine.marks.replace([{ mark: 9, destination: prefix }, { mark: 8 }], [OUTSIDE, INSIDE])
    const before = everything(bench)
    const explanation = options.ask(bench, { virtual: elsewhere, virtualPort: 81 })
    t.match(explanation, {
      outcome: 'forwarded',
      decision: 'scheduler',
      address: 'active',
      mark: 9,
      service: { mark: 9, address, port: 0 },
      server: { port: 81 },
      candidates: { length: 2 },
    })
    t.match(options.ask(bench), { mark: 8, service: { port: 80 } }, 'a mark without a service changes nothing')
    t.same(everything(bench), before)
    bench.engine.addresses.replace([{ address: '198.51.100.77', link: OUTSIDE, state: 'standby' }], [OUTSIDE, INSIDE])
    t.match(options.ask(bench, { virtual: elsewhere }), {
      outcome: 'dropped',
      reason: /\(standby\)/,
      address: 'standby',
    })
  })
}

test('an FTP data connection that is awaited is explained as such', async (t) => {
  const base = service({ weights: [1, 1] })
  const bench = scene({
    services: [{ ...base, port: 21, servers: base.servers.map((each) => ({ ...each, port: 21 })) }],
  })
  const control = { from: `${CLIENT_ADDRESS}:3456`, to: `${VIP}:21` }
  bench.send(OUTSIDE, clientTcp({ ...control, flags: TCP_SYN }))
  bench.send(OUTSIDE, clientTcp(control))
  const [{ serverAddress }] = bench.reader.connections()
  t.match(ask(bench, { virtualPort: 40_000 }), { outcome: 'refused', reason: /\(no-service\)/ })
  const payload = '229 Entering Extended Passive Mode (|||40000|)\r\n'
  bench.send(INSIDE, serverTcp({ from: `${serverAddress}:21`, to: control.from, payload }))
  const before = everything(bench)
  t.match(ask(bench, { clientPort: 5000, virtualPort: 40_000 }), {
    outcome: 'forwarded',
    decision: 'expected',
    server: { address: serverAddress, port: 40_000 },
  })
  t.same(everything(bench), before)
})

test('a server whose next hop nobody has asked for yet is not said to be without a route, nor asked for', async (t) => {
  const bench = scene({ weights: [1] })
  const spec = service({ weights: [1] })
  bench.engine.services.set({ ...spec, servers: [{ ...spec.servers[0], address: '10.1.0.9' }] })
  const before = everything(bench)
  t.match(ask(bench), { outcome: 'forwarded', reason: /ARP/, after: { link: INSIDE, destinationMac: undefined } })
  t.same(everything(bench), before)
  t.same(bench.breathe(), [])
})

test('with expire_nodest_conn a packet whose connection has lost its server begins a new one', async (t) => {
  const bench = scene({ protocol: 'udp', weights: [1, 1] })
  bench.send(OUTSIDE, clientUdp())
  bench.engine.services.set(service({ protocol: 'udp', weights: [1] }))
  t.match(ask(bench, { protocol: 'udp' }), { outcome: 'dropped', reason: /\(server-gone\)/ })
  bench.set({ expireNodestConn: 1 })
  const explanation = ask(bench, { protocol: 'udp' })
  t.match(explanation, { decision: 'scheduler', reason: /lost its server/, server: { address: '10.1.0.1' } })
  const [sent] = bench.send(OUTSIDE, clientUdp())
  t.equal(formatMac(sent.frame), explanation.after?.destinationMac)
  const { servers, ...spec } = service({ protocol: 'udp', weights: [1, 1] })
  bench.engine.services.set({ ...spec, servers: servers.with(0, { ...servers[0], down: true }) })
  t.match(ask(bench, { protocol: 'udp' }), { reason: /lost its server/, server: { address: '10.1.0.2' } })
})
