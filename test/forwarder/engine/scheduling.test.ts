/** Which service a new connection is for, and which server: persistence, firewall marks, single datagrams, thresholds. */
import { test } from 'tap'
import type { MarkRule, PersistenceSpec, ServiceSpec } from '../../../forwarder/service.ts'
import { formatMac } from '../../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import {
  clientTcp,
  clientUdp,
  INSIDE,
  MAC,
  OUTSIDE,
  type SceneOptions,
  scene,
  serverTcp,
  serverUdp,
  service,
  udpToClient,
  VIP,
} from '../../support/scene.ts'
import { trafficOf } from '../../support/traffic-counts.ts'

const neighbours = { '10.1.0.1': MAC.server1, '10.1.0.2': MAC.server2, '10.1.0.3': '02:00:00:00:02:03' }
const persistence: PersistenceSpec = { timeoutS: 60, netmask: '255.255.255.255' }

/** A director with three servers, and services that are variations of the one of scene.ts. */
function bench(options: SceneOptions, ...variations: Partial<ServiceSpec>[]): DirectorBench {
  const base = service({ weights: [1, 1, 1], ...options })
  return scene({ neighbours, ...options, services: variations.map((variation) => ({ ...base, ...variation })) })
}

/** Which server a frame went to, by the last byte of its address; 'refused' for an answer, undefined for nothing. */
function serverOf(bench: DirectorBench, frame: Uint8Array): number | 'refused' | undefined {
  const [sent] = bench.send(OUTSIDE, frame)
  if (sent === undefined) return undefined
  return sent.link === INSIDE ? sent.frame[33] : 'refused'
}

/** The same by the MAC that it was sent to. */
function serverMac(bench: DirectorBench, frame: Uint8Array): string | undefined {
  const [sent] = bench.send(OUTSIDE, frame)
  return sent && formatMac(sent.frame)
}

const syn = (from: string, to = `${VIP}:80`) => clientTcp({ from, to, flags: TCP_SYN })
const datagram = (from: string, to = `${VIP}:80`) => clientUdp({ from, to, payload: 'ask' })

/** As vsadm -Lnc lists them, without the time. */
function listing(bench: DirectorBench): string[] {
  return [...bench.reader.connections()]
    .map((each) =>
      [
        each.protocol,
        each.state,
        `${each.clientAddress}:${each.clientPort}`,
        `${each.virtualAddress}:${each.virtualPort}`,
        `${each.serverAddress}:${each.serverPort}`,
      ].join(' '),
    )
    .sort()
}

function countsOf(bench: DirectorBench, server: number) {
  const found = bench.engine.services.serverBySlot.find((each) => (each ? each.address & 255 : 0) === server)
  return found && [found.activeConnections, found.inactiveConnections, found.persistentConnections]
}

test('a persistent client stays with its server, and its template is assured by an established connection', async (t) => {
  const pool = bench({}, { persistence })
  const [a, b] = ['203.0.113.7', '203.0.113.8']
  t.same(
    [`${a}:1`, `${a}:2`, `${b}:1`, `${a}:3`].map((from) => serverOf(pool, syn(from))),
    [3, 3, 2, 3],
  )
  t.same(countsOf(pool, 3), [3, 0, 1], 'a template counts as persistent alone')
  t.same(
    listing(pool).filter((line) => line.includes(':0 ')),
    [`tcp NONE ${a}:0 ${VIP}:80 10.1.0.3:8000`, `tcp NONE ${b}:0 ${VIP}:80 10.1.0.2:8000`],
  )
  pool.send(INSIDE, serverTcp({ from: '10.1.0.3:8000', to: `${a}:1`, flags: TCP_SYN | TCP_ACK }))
  pool.send(OUTSIDE, clientTcp({ from: `${a}:1` }))
  t.ok(listing(pool).includes(`tcp ASSURED ${a}:0 ${VIP}:80 10.1.0.3:8000`))
})

test('a netmask makes many clients one', async (t) => {
  const pool = bench({ protocol: 'udp' }, { protocol: 'udp', persistence: { timeoutS: 60, netmask: '255.255.255.0' } })
  t.same(
    ['203.0.113.7:1', '203.0.113.99:1', '203.0.114.7:1'].map((from) => serverOf(pool, datagram(from))),
    [3, 3, 2],
  )
  t.ok(listing(pool).includes(`udp NONE 203.0.113.0:0 ${VIP}:80 10.1.0.3:8000`))
  pool.send(INSIDE, serverUdp({ from: '10.1.0.3:8000', to: '203.0.113.7:1' }))
  t.ok(listing(pool).includes(`udp ASSURED 203.0.113.0:0 ${VIP}:80 10.1.0.3:8000`), 'a reply is what assures it')
})

test('a template ends after its timeout, and not before the connections that it made', async (t) => {
  const pool = bench({}, { persistence: { timeoutS: 10, netmask: '255.255.255.255' } })
  serverOf(pool, syn('203.0.113.7:1'))
  const pass = (seconds: number) => {
    for (let passed = 0; passed < seconds; passed++) {
      pool.nowMs += 1000
      pool.breathe()
    }
  }
  pass(15)
  t.equal(countsOf(pool, 3)?.[2], 1, 'the connection waits in SYN_RECV for 60 s, and the template with it')
  pass(50)
  t.same(countsOf(pool, 3), [0, 0, 1], 'when it fired it was given 60 s more')
  pass(10)
  t.same(countsOf(pool, 3), [0, 0, 0])
})

test('weight 0 keeps a persistent client where it is, unless expire_quiescent_template says otherwise', async (t) => {
  const pool = bench({}, { persistence })
  serverOf(pool, syn('203.0.113.7:1'))
  const quiet = { ...service({ weights: [1, 1, 0] }), persistence }
  pool.engine.services.set(quiet)
  t.equal(serverOf(pool, syn('203.0.113.7:2')), 3)
  pool.engine.applySettings({ ...pool.engine.settings, expireQuiescentTemplate: 1 })
  t.equal(serverOf(pool, syn('203.0.113.7:3')), 2)
  t.equal(serverOf(pool, syn('203.0.113.7:4')), 2, 'and there it stays')
})

test('a persistent client does not stay with a server whose health checks fail', async (t) => {
  const pool = bench({}, { persistence })
  t.equal(serverOf(pool, syn('203.0.113.7:1')), 3)
  const spec = service({ weights: [1, 1, 0] })
  const servers = spec.servers.map((server, index) => ({ ...server, down: index === 2 }))
  pool.engine.services.set({ ...spec, servers, persistence })
  t.equal(serverOf(pool, syn('203.0.113.7:2')), 2)
})

test('a persistent service of port 0 takes every port, an exact one comes first', async (t) => {
  const everyPort = service({ weights: [1, 1, 1], method: 'dr' })
  const servers = everyPort.servers.map((server) => ({ ...server, port: 0 }))
  const pool = bench(
    { method: 'dr' },
    { port: 0, persistence, servers },
    { port: 443, servers: [{ ...everyPort.servers[0], port: 443 }] },
  )
  t.same(
    ['80', '8080', '443'].map((port) => serverMac(pool, syn('203.0.113.7:1', `${VIP}:${port}`))),
    [neighbours['10.1.0.3'], neighbours['10.1.0.3'], neighbours['10.1.0.1']],
  )
  t.same(
    listing(pool).filter((line) => line.includes(':0 ')),
    [`tcp NONE 203.0.113.7:0 ${VIP}:0 10.1.0.3:0`],
    'one template for all its ports',
  )
  t.ok(listing(pool).some((line) => line.endsWith(`${VIP}:443 10.1.0.1:443`)))
  t.ok(listing(pool).some((line) => line.endsWith(`${VIP}:8080 10.1.0.3:8080`)))
})

test('a template for several ports is listed without its server’s, to which its connections go all the same', async (t) => {
  for (const port of [0, 21, 80]) {
    const pool = bench({}, { port, persistence })
    t.equal(serverOf(pool, syn('203.0.113.7:1', `${VIP}:${port || 8080}`)), 3)
    const ports = port === 80 ? [80, 8000] : [0, 0]
    const isTemplate = (line: string) => line.includes('203.0.113.7:0')
    t.same(listing(pool).filter(isTemplate), [`tcp NONE 203.0.113.7:0 ${VIP}:${ports[0]} 10.1.0.3:${ports[1]}`])
    t.match(
      listing(pool).find((line) => !isTemplate(line)),
      port === 0 ? /:8080$/ : /:8000$/,
    )
  }
})

const marked = (mark: number, more: Partial<ServiceSpec> = {}): ServiceSpec => ({
  ...service({ weights: [1, 1, 1] }),
  protocol: 'fwm',
  address: '0.0.0.0',
  port: 0,
  mark,
  servers: service({ weights: [1, 1, 1] }).servers.map((server) => ({ ...server, port: 0 })),
  ...more,
})

function mark(pool: DirectorBench, ...rules: MarkRule[]): void {
  pool.engine.marks.replace(rules, [OUTSIDE, INSIDE])
}

test('packets that a rule marks go to the service of the mark, before any other', async (t) => {
  const pool = bench({}, {}, marked(9, { persistence }))
  t.equal(serverOf(pool, syn('203.0.113.7:1')), 3, 'without a rule the service of the port has them')
  mark(pool, { mark: 9, protocol: 'tcp', destination: VIP, firstPort: 80, lastPort: 81 })
  t.same(
    ['203.0.113.7:2', '203.0.113.7:3', '203.0.113.8:4'].map((from) => serverOf(pool, syn(from, `${VIP}:81`))),
    [3, 3, 2],
  )
  t.equal(serverOf(pool, syn('203.0.113.7:5')), 3, 'port 80 too, by the same template')
  t.equal(serverOf(pool, syn('203.0.113.7:6', `${VIP}:82`)), 'refused')
  t.ok(listing(pool).includes('ip NONE 203.0.113.7:0 0.0.0.9:0 10.1.0.3:0'))
  t.ok(listing(pool).includes(`tcp SYN_RECV 203.0.113.7:2 ${VIP}:81 10.1.0.3:81`))
})

test('what comes from the port of FTP’s data is for no service, as in IPVS', async (t) => {
  const pool = bench({}, {}, { protocol: 'udp' }, marked(9))
  mark(pool, { mark: 9, firstPort: 81 })
  const to = `${VIP}:81`
  for (const frame of [syn('203.0.113.7:20'), datagram('203.0.113.7:20'), syn('203.0.113.7:20', to)]) {
    t.equal(serverOf(pool, frame), 'refused')
  }
  t.equal(pool.drops.toObject()['no-service'], 3)
  t.equal(serverOf(pool, syn('203.0.113.7:21', to)), 3)
})

test('the first rule that matches counts, with all that it says', async (t) => {
  const pool = bench(
    {},
    marked(1, { servers: marked(1).servers.slice(0, 1) }),
    marked(2, { servers: marked(2).servers.slice(1, 2) }),
  )
  const rules: MarkRule[] = [
    { mark: 7, link: 'elsewhere' },
    { mark: 7, link: INSIDE },
    { mark: 7, protocol: 'udp' },
    { mark: 2, source: '203.0.113.0/29' },
    { mark: 1, source: '203.0.113.0/24', link: OUTSIDE },
  ]
  mark(pool, ...rules)
  t.equal(serverOf(pool, syn('203.0.113.7:1')), 2)
  t.equal(serverOf(pool, syn('203.0.113.8:1')), 1)
  t.equal(serverOf(pool, syn('203.0.114.8:1')), 'refused')
})

test('a rule that names destinations makes them ours, VIPs or not, while this director is active', async (t) => {
  const pool = bench({}, marked(4))
  const range = (from: string, host: number) => syn(from, `10.3.0.${host}:80`)
  t.equal(serverOf(pool, range('203.0.113.7:1', 5)), undefined, 'nobody asked for them')
  mark(pool, { mark: 4, protocol: 'tcp' })
  t.equal(serverOf(pool, range('203.0.113.7:1', 5)), undefined, 'a rule without a destination is for our addresses')
  mark(pool, { mark: 5, destination: '10.3.0.0/24' })
  t.equal(serverOf(pool, range('203.0.113.7:1', 5)), undefined, "no service has this mark: the packet stays the host's")
  mark(pool, { mark: 4, destination: '10.3.0.0/24' })
  t.same(
    [5, 6, 7].map((host) => serverOf(pool, range('203.0.113.7:1', host))),
    [3, 2, 1],
  )
  const [reply] = pool.send(INSIDE, serverTcp({ from: '10.1.0.3:80', to: '203.0.113.7:1', flags: TCP_SYN | TCP_ACK }))
  t.same([reply.link, [...reply.frame.subarray(26, 30)]], [OUTSIDE, [10, 3, 0, 5]], 'answers come from there')
  mark(pool)
  t.equal(serverOf(pool, range('203.0.113.7:2', 5)), undefined)
  t.ok(
    listing(pool).some((line) => line.includes('10.3.0.5:80')),
    'connections outlive their rule',
  )
})

test('a standby takes no new connection of a marked destination', async (t) => {
  const pool = bench({ state: 'standby' }, marked(4))
  mark(pool, { mark: 4, destination: '10.3.0.0/24' })
  t.equal(serverOf(pool, syn('203.0.113.7:1', '10.3.0.5:80')), undefined)
  t.equal(pool.drops.toObject().standby, 1)
})

test('nor does it begin another one for a packet to such a destination whose server was removed', async (t) => {
  const pool = bench({ protocol: 'udp' }, marked(4))
  pool.set({ expireNodestConn: 1 })
  mark(pool, { mark: 4, destination: '10.3.0.0/24' })
  const ask = () => serverOf(pool, datagram('203.0.113.7:1', '10.3.0.5:80'))
  t.equal(ask(), 3)
  const spec = marked(4)
  pool.engine.services.set({ ...service(), ...spec, servers: spec.servers?.slice(0, 2) ?? [] })
  pool.engine.placeAddresses([{ address: VIP, link: OUTSIDE, state: 'standby' }], [OUTSIDE, INSIDE])
  t.equal(ask(), undefined)
  t.equal(pool.drops.toObject().standby, 1)
})

test('with one-packet scheduling and persistence each datagram goes where its template leads', async (t) => {
  const pool = bench({ protocol: 'udp', method: 'dr' }, { protocol: 'udp', onePacket: true, persistence })
  const macs = ['203.0.113.7:1', '203.0.113.7:2', '203.0.113.8:1', '203.0.113.7:1'].map((from) =>
    serverMac(pool, datagram(from)),
  )
  t.same(macs, [neighbours['10.1.0.3'], neighbours['10.1.0.3'], MAC.server2, neighbours['10.1.0.3']])
  t.same(listing(pool), [
    `udp NONE 203.0.113.7:0 ${VIP}:80 10.1.0.3:80`,
    `udp NONE 203.0.113.8:0 ${VIP}:80 10.1.0.2:80`,
  ])
  t.same(countsOf(pool, 3), [0, 0, 1])
})

test('the reply to a single datagram is awaited from the last one on', async (t) => {
  const pool = bench(
    { protocol: 'udp', weights: [1] },
    { protocol: 'udp', onePacket: true, servers: service().servers },
  )
  const ask = () => t.equal(serverOf(pool, datagram('203.0.113.7:1')), 1)
  const reply = () => pool.send(INSIDE, serverUdp({ to: '203.0.113.7:1', payload: 'ok' }))
  ask()
  pool.nowMs += 8000
  ask()
  pool.nowMs += 8000
  t.same(reply()[0]?.frame, udpToClient({ to: '203.0.113.7:1', payload: 'ok' }))
  pool.nowMs += 11_000
  pool.breathe()
  t.same(reply(), [])
})

test('with one-packet scheduling each datagram has its own server, and replies leave as the service', async (t) => {
  const pool = bench({ protocol: 'udp' }, { protocol: 'udp', onePacket: true })
  t.same(
    [1, 2, 3, 4].map(() => serverOf(pool, datagram('203.0.113.7:1'))),
    [3, 2, 1, 3],
  )
  const from = '10.1.0.2:8000'
  const [reply] = pool.send(INSIDE, serverUdp({ sourceMac: MAC.server2, from, to: '203.0.113.7:1', payload: 'ok' }))
  t.same(reply.frame, udpToClient({ to: '203.0.113.7:1', payload: 'ok' }))
  t.same(countsOf(pool, 3), [0, 0, 0], 'it counts nowhere')
  t.same(trafficOf(pool), { inPackets: 4, inBytes: 4 * (28 + 3), outPackets: 0, outBytes: 0 }, 'nor does the reply')
  t.same(listing(pool), [])
})

test('of one-packet scheduling by direct routing nothing is left', async (t) => {
  const pool = bench({ protocol: 'udp', method: 'dr' }, { protocol: 'udp', onePacket: true })
  t.ok(serverOf(pool, datagram('203.0.113.7:1')))
  t.same(listing(pool), [])
})

const limited = (...limits: { upperThreshold?: number; lowerThreshold?: number }[]): Partial<ServiceSpec> => {
  const base = service({ weights: [1, 1, 1] })
  return { servers: base.servers.map((server, index) => ({ ...server, ...limits[index] })) }
}

test('a server at its upper threshold gets no more, active or not', async (t) => {
  const pool = bench({}, limited({ upperThreshold: 4, lowerThreshold: 2 }, { upperThreshold: 4 }))
  t.same(
    Array.from({ length: 16 }, (_, port) => serverOf(pool, syn(`203.0.113.7:${port + 1}`))),
    [3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 3, 3, 3],
  )
})

test('a server is asked again below its lower threshold, or below three quarters of the upper one', async (t) => {
  const pool = bench(
    {},
    limited({ upperThreshold: 4, lowerThreshold: 2 }, { upperThreshold: 4 }, { upperThreshold: 1 }),
  )
  for (let port = 1; port <= 9; port++) serverOf(pool, syn(`203.0.113.7:${port}`))
  t.equal(serverOf(pool, syn('203.0.113.7:10')), 'refused', 'all are full')
  const servers = pool.engine.services.serverBySlot.filter((each) => each !== undefined)
  const [first, second] = [1, 2].map((host) => servers.find(({ address }) => (address & 255) === host))
  const connections = pool.engine.connections
  const endOne = (host: number) => {
    for (let index = 1; index < 1024; index++) {
      const server = pool.engine.services.serverBySlot[pool.table.server(index as never)]
      if (pool.table.protocol(index as never) === 6 && server && (server.address & 255) === host)
        return connections.discard(index as never)
    }
  }
  endOne(2)
  t.equal(second?.overloaded, true, '3 of 4 is not below three quarters')
  endOne(2)
  t.equal(second?.overloaded, false)
  endOne(1)
  endOne(1)
  t.equal(first?.overloaded, true, '2 is not below 2')
  endOne(1)
  t.equal(first?.overloaded, false)
})

test('a server that was removed and is added again has its connections and their counts back', async (t) => {
  const pool = bench({}, {})
  serverOf(pool, syn('203.0.113.7:1'))
  pool.engine.services.set(service({ weights: [1, 1] }))
  t.equal(serverOf(pool, clientTcp({ from: '203.0.113.7:1' })), undefined, 'silently dropped')
  t.equal(pool.drops.toObject()['server-gone'], 1)
  pool.engine.services.set(service({ weights: [1, 1, 1] }))
  t.same(countsOf(pool, 3), [1, 0, 0])
  t.equal(serverOf(pool, clientTcp({ from: '203.0.113.7:1', flags: TCP_FIN | TCP_ACK })), 3)
})

test('without a scheduler new connections are refused, and what is known goes on as if servers took them', async (t) => {
  const persistent = { ...service({ weights: [1, 1, 1] }), port: 81, persistence }
  const services = [service({ weights: [1, 1, 1] }), persistent]
  const pool = scene({ neighbours, services })
  pool.set({ expireNodestConn: 1, expireQuiescentTemplate: 1 })
  const halfOpen = syn('203.0.113.7:1')
  const persistentSyn = (from: string) => syn(from, `${VIP}:81`)
  t.equal(serverOf(pool, halfOpen), 3)
  t.equal(serverOf(pool, persistentSyn('203.0.113.7:1')), 3)
  for (const each of services) pool.engine.services.set({ ...each, scheduler: 'none' })
  t.equal(serverOf(pool, halfOpen), 3, 'a repeated SYN follows its connection')
  t.equal(serverOf(pool, syn('203.0.113.7:2')), 'refused')
  t.equal(serverOf(pool, persistentSyn('203.0.113.7:2')), 3, 'a client with a template comes back')
  t.equal(serverOf(pool, persistentSyn('203.0.113.8:1')), 'refused')
  const quiesced = persistent.servers.map((server) => ({ ...server, weight: 0 }))
  pool.engine.services.set({ ...persistent, scheduler: 'none', servers: quiesced })
  t.equal(serverOf(pool, persistentSyn('203.0.113.7:3')), 'refused', 'unless its server has weight 0')
  pool.set({ expireQuiescentTemplate: 0 })
  t.equal(serverOf(pool, persistentSyn('203.0.113.7:4')), 3, 'and expire_quiescent_template is set')
})
