/** What scheduling.test.ts shows of IPv4, for IPv6: persistence, firewall marks, single datagrams, defences, servers that are gone. */
import { test } from 'tap'
import type { MarkRule, PersistenceSpec, RealServerSpec, ServiceSpec } from '../../../forwarder/service.ts'
import { formatEndpoint } from '../../../protocol/packet/ipv6-address.ts'
import { TCP_ACK, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { hex } from '../../support/hex.ts'
import {
  clientTcp6,
  clientUdp6,
  type SceneOptions6,
  scene6,
  serverTcp6,
  serverUdp6,
  service6,
  tcpToClient6,
  udpToClient6,
  VIP6,
} from '../../support/ipv6-scene.ts'
import { INSIDE, MAC, OUTSIDE, scene, service } from '../../support/scene.ts'
import { trafficOf } from '../../support/traffic-counts.ts'

const THREE = [1, 1, 1]
const neighbours = {
  '2001:db8:2::1': MAC.server1,
  '2001:db8:2::2': MAC.server2,
  '2001:db8:2::3': '02:00:00:00:02:03',
}
const persistence: PersistenceSpec = { timeoutS: 60, netmask: '128' }
const [a, b] = ['2001:db8:c::7', '2001:db8:c::8']

/** A director with three servers, and services that are variations of the one of ipv6-scene.ts. */
function bench(options: SceneOptions6, ...variations: Partial<ServiceSpec>[]): DirectorBench {
  const base = service6({ weights: THREE, ...options })
  return scene6({ neighbours, ...options, services: variations.map((variation) => ({ ...base, ...variation })) })
}

/** Which server a frame went to, by the last byte of its MAC; 'refused' for an answer, undefined for nothing. */
function serverOf(bench: DirectorBench, frame: Uint8Array): number | 'refused' | undefined {
  const [sent] = bench.send(OUTSIDE, frame)
  if (sent === undefined) return undefined
  return sent.link === INSIDE ? sent.frame[5] : 'refused'
}

const syn = (client: string, port: number, to = `[${VIP6}]:80`) =>
  clientTcp6({ from: `[${client}]:${port}`, to, flags: TCP_SYN })
const datagram = (client: string, port: number) => clientUdp6({ from: `[${client}]:${port}`, payload: 'ask' })

/** As vsadm -Lnc lists them, without the time. */
function listing(bench: DirectorBench): string[] {
  return [...bench.reader.connections()]
    .map((each) =>
      [
        each.protocol,
        each.state,
        formatEndpoint(each.clientAddress, each.clientPort),
        formatEndpoint(each.virtualAddress, each.virtualPort),
        formatEndpoint(each.serverAddress, each.serverPort),
      ].join(' '),
    )
    .sort()
}

const templates = (bench: DirectorBench) => listing(bench).filter((line) => line.includes(']:0 '))

/** Hands everything that one director has told its peers to another. */
function replicate(from: DirectorBench, to: DirectorBench): void {
  for (let at = from.outgoing.peek(); at >= 0; at = from.outgoing.peek()) {
    const slot = to.incoming.reserve()
    to.incoming.bytes.set(from.outgoing.bytes.subarray(at, at + RECORD_LENGTH), slot)
    to.incoming.commit()
    from.outgoing.advance()
  }
  to.breathe()
}

test('a persistent client stays with its server, and its template is assured by an established connection', async (t) => {
  const pool = bench({}, { persistence })
  t.same([serverOf(pool, syn(a, 1)), serverOf(pool, syn(a, 2)), serverOf(pool, syn(b, 1))], [3, 3, 2])
  t.same(templates(pool), [
    `tcp NONE [${a}]:0 [${VIP6}]:80 [2001:db8:2::3]:8000`,
    `tcp NONE [${b}]:0 [${VIP6}]:80 [2001:db8:2::2]:8000`,
  ])
  pool.send(INSIDE, serverTcp6({ from: '[2001:db8:2::3]:8000', to: `[${a}]:1`, flags: TCP_SYN | TCP_ACK }))
  pool.send(OUTSIDE, clientTcp6({ from: `[${a}]:1` }))
  t.ok(templates(pool).includes(`tcp ASSURED [${a}]:0 [${VIP6}]:80 [2001:db8:2::3]:8000`))
})

test('a prefix of 64 bits makes a network one client', async (t) => {
  const pool = bench({ protocol: 'udp' }, { persistence: { timeoutS: 60, netmask: '64' } })
  const clients = ['2001:db8:c::7', '2001:db8:c::ffff:0:0:99', '2001:db8:c:1::7']
  t.same(
    clients.map((client) => serverOf(pool, datagram(client, 1))),
    [3, 3, 2],
  )
  t.ok(templates(pool).includes(`udp NONE [2001:db8:c::]:0 [${VIP6}]:80 [2001:db8:2::3]:8000`))
  pool.send(INSIDE, serverUdp6({ from: '[2001:db8:2::3]:8000', to: '[2001:db8:c::7]:1' }))
  t.ok(
    templates(pool).includes(`udp ASSURED [2001:db8:c::]:0 [${VIP6}]:80 [2001:db8:2::3]:8000`),
    'a reply is what assures it',
  )
})

test('a persistent service of port 0 takes every port, an exact one comes first', async (t) => {
  const { servers } = service6({ method: 'dr', weights: THREE })
  const everyPort = servers.map((server) => ({ ...server, port: 0 }))
  const exact = { port: 443, servers: [{ ...servers[0], port: 443 }] }
  const pool = bench({ method: 'dr' }, { port: 0, persistence, servers: everyPort }, exact)
  t.same(
    [80, 8080, 443].map((port) => serverOf(pool, syn(a, 1, `[${VIP6}]:${port}`))),
    [3, 3, 1],
  )
  t.same(templates(pool), [`tcp NONE [${a}]:0 [${VIP6}]:0 [2001:db8:2::3]:0`])
})

const marked = (mark: number, more: Partial<ServiceSpec> = {}): ServiceSpec => ({
  ...service6({ weights: THREE }),
  protocol: 'fwm',
  address: '::',
  port: 0,
  mark,
  servers: service6({ weights: THREE }).servers.map((server): RealServerSpec => ({ ...server, port: 0 })),
  ...more,
})

function mark(pool: DirectorBench, ...rules: MarkRule[]): void {
  pool.engine.marks.replace(rules, [OUTSIDE, INSIDE])
}

test('packets that a rule marks go to the service of the mark and of their family', async (t) => {
  const ofIPv4: ServiceSpec = { ...service(), protocol: 'fwm', address: '0.0.0.0', port: 0, mark: 9 }
  const pool = bench({}, {}, ofIPv4, marked(9, { persistence }))
  t.equal(serverOf(pool, syn(a, 1)), 3, 'without a rule the service of the port has them')
  mark(pool, { mark: 9, protocol: 'tcp', destination: `${VIP6}/128`, firstPort: 80, lastPort: 81 })
  t.same([serverOf(pool, syn(a, 2, `[${VIP6}]:81`)), serverOf(pool, syn(b, 3, `[${VIP6}]:81`))], [3, 2])
  t.equal(serverOf(pool, syn(a, 5)), 3, 'port 80 too, by the same template')
  t.equal(serverOf(pool, syn(a, 6, `[${VIP6}]:82`)), 'refused')
  t.ok(templates(pool).includes(`ip NONE [${a}]:0 [0:9::]:0 [2001:db8:2::3]:0`), 'as IPVS lists them')
  t.ok(listing(pool).includes(`tcp SYN_RECV [${a}]:2 [${VIP6}]:81 [2001:db8:2::3]:81`))
})

test('a mark has a service of each family, and templates of one are not those of the other', async (t) => {
  const both = scene({
    services: [
      { ...service(), protocol: 'fwm', address: '0.0.0.0', port: 0, mark: 9, persistence: undefined },
      marked(9, { servers: [] }),
    ],
  })
  t.ok(both.engine.services.findMark(9, false))
  t.not(both.engine.services.findMark(9, false), both.engine.services.findMark(9, true))
  both.engine.services.remove({ protocol: 'fwm', address: '::', port: 0, mark: 9 })
  t.ok(both.engine.services.findMark(9, false))
  t.equal(both.engine.services.findMark(9, true), undefined)
})

test('a rule of one family says nothing of the other, and one without a prefix is for both', async (t) => {
  const pool = bench({}, marked(4))
  for (const rule of [{ source: '0.0.0.0/0' }, { destination: '198.51.100.10/32' }, { source: '2001:db8:d::/48' }]) {
    mark(pool, { mark: 4, ...rule })
    t.equal(serverOf(pool, syn(a, 1)), 'refused', JSON.stringify(rule))
  }
  for (const rule of [{ source: '::/0' }, { source: '2001:db8:c::/48' }, { firstPort: 80 }]) {
    mark(pool, { mark: 4, ...rule })
    t.type(serverOf(pool, syn(a, 1)), 'number', JSON.stringify(rule))
    for (let index = 1; index < 4; index++) if (pool.table.protocol(index as never)) pool.table.remove(index as never)
  }
})

test('a rule that names destinations makes them ours, VIPs or not, while this director is active', async (t) => {
  const pool = bench({}, marked(4))
  const range = (port: number, host: number) => syn(a, port, `[2001:db8:5::${host}]:80`)
  t.equal(serverOf(pool, range(1, 5)), undefined, 'nobody asked for them')
  mark(pool, { mark: 4, protocol: 'tcp' })
  t.equal(serverOf(pool, range(1, 5)), undefined, 'a rule without a destination is for our addresses')
  mark(pool, { mark: 5, destination: '2001:db8:5::/64' })
  t.equal(serverOf(pool, range(1, 5)), undefined, "no service has this mark: the packet stays the host's")
  mark(pool, { mark: 4, destination: '2001:db8:5::/64' })
  t.same(
    [5, 6, 7].map((host) => serverOf(pool, range(1, host))),
    [3, 2, 1],
  )
  const [reply] = pool.send(
    INSIDE,
    serverTcp6({ from: '[2001:db8:2::3]:80', to: `[${a}]:1`, flags: TCP_SYN | TCP_ACK }),
  )
  const expected = tcpToClient6({ from: '[2001:db8:5::5]:80', to: `[${a}]:1`, flags: TCP_SYN | TCP_ACK })
  t.equal(hex(reply.frame), hex(expected), 'answers come from there')
  t.equal(serverOf(pool, clientTcp6({ from: `[${a}]:1`, to: '[2001:db8:5::5]:80' })), 3, 'and the connection goes on')
  pool.engine.addresses.replace([{ address: VIP6, link: OUTSIDE, state: 'standby' }], [OUTSIDE, INSIDE])
  t.equal(serverOf(pool, range(2, 8)), undefined)
  t.equal(pool.drops.toObject().standby, 1)
})

test('a standby begins no other connection for a packet to a marked destination whose server was removed', async (t) => {
  const pool = bench({}, marked(4))
  pool.set({ expireNodestConn: 1, sloppyTcp: 1 })
  mark(pool, { mark: 4, destination: '2001:db8:5::/64' })
  const segment = clientTcp6({ from: `[${a}]:1`, to: '[2001:db8:5::5]:80' })
  t.equal(serverOf(pool, segment), 3)
  pool.engine.services.set({ ...marked(4), servers: marked(4).servers.slice(0, 2) })
  pool.engine.placeAddresses([{ address: VIP6, link: OUTSIDE, state: 'standby' }], [OUTSIDE, INSIDE])
  t.equal(serverOf(pool, segment), undefined)
  t.equal(pool.drops.toObject().standby, 1)
})

test('marked destinations are kept by their connections and no longer', async (t) => {
  const pool = bench({}, marked(4))
  mark(pool, { mark: 4, destination: '2001:db8:5::/64' })
  serverOf(pool, syn(a, 1, '[2001:db8:5::5]:80'))
  const { book } = pool.engine.services.directory
  for (let number = 1; number < 2 * book.capacity; number++) book.intern(9, 9, 9, number)
  t.ok(listing(pool).some((line) => line.includes('[2001:db8:5::5]:80')))
  for (let passed = 0; passed < 70; passed++) {
    pool.nowMs += 1000
    pool.breathe()
  }
  t.same(listing(pool), [])
  for (let number = 1; number < 2 * book.capacity; number++) book.intern(8, 8, 8, number)
  t.notOk(book.format(book.numberOf('2001:db8:5::5')).startsWith('2001'), 'its number is somebody else’s')
})

test('templates and connections are known to a peer, which sends the clients where they were', async (t) => {
  const rule = { mark: 9, protocol: 'tcp', destination: '2001:db8:5::/64' } as const
  const variations = [{ persistence: { timeoutS: 60, netmask: '64' } }, marked(9, { persistence })]
  const [active, standby] = [bench({}, ...variations), bench({}, ...variations)]
  for (const each of [active, standby]) mark(each, rule)
  for (const to of [`[${VIP6}]:80`, '[2001:db8:5::5]:90']) {
    serverOf(active, syn(b, 1, `[${VIP6}]:80`))
    active.send(OUTSIDE, syn(a, 1, to))
    active.send(OUTSIDE, clientTcp6({ from: `[${a}]:1`, to }))
  }
  replicate(active, standby)
  const established = (pool: DirectorBench) => listing(pool).filter((line) => !line.includes('SYN_RECV'))
  t.same(established(standby), established(active))
  t.equal(templates(standby).length, 2)
  const [server] = [serverOf(active, syn(a, 9, '[2001:db8:5::6]:90'))]
  t.equal(serverOf(standby, syn(a, 9, '[2001:db8:5::6]:90')), server)
})

test('with one-packet scheduling each datagram has its own server, and replies leave as the service', async (t) => {
  const pool = bench({ protocol: 'udp' }, { onePacket: true })
  t.same(
    [1, 2, 3, 4].map(() => serverOf(pool, datagram(a, 1))),
    [3, 2, 1, 3],
  )
  const reply = { sourceMac: MAC.server2, from: '[2001:db8:2::2]:8000', to: `[${a}]:1`, payload: 'ok' }
  const [sent] = pool.send(INSIDE, serverUdp6(reply))
  t.equal(hex(sent.frame), hex(udpToClient6({ to: `[${a}]:1`, payload: 'ok' })))
  t.same(trafficOf(pool), { inPackets: 4, inBytes: 4 * (48 + 3), outPackets: 0, outBytes: 0 })
  t.same(listing(pool), [])
  const direct = bench({ protocol: 'udp', method: 'dr' }, { onePacket: true })
  t.equal(serverOf(direct, datagram(a, 1)), 3)
  t.same(listing(direct), [], 'by direct routing nothing is left')
})

test('a server at its upper threshold gets no more', async (t) => {
  const { servers } = service6({ weights: [1, 1] })
  const pool = bench({}, { servers: servers.map((server, index) => ({ ...server, upperThreshold: index ? 1 : 2 })) })
  t.same(
    [1, 2, 3, 4].map((port) => serverOf(pool, syn(a, port))),
    [2, 1, 1, 'refused'],
  )
})

test('expire_nodest_conn ends a connection whose server was removed or is down, and the packet may begin a new one', async (t) => {
  const { servers, ...spec } = service6({ weights: [1, 1, 1] })
  for (const left of [servers.slice(0, 2), servers.with(2, { ...servers[2], down: true })]) {
    const pool = bench({}, {})
    pool.set({ expireNodestConn: 1 })
    t.equal(serverOf(pool, syn(a, 1)), 3)
    pool.engine.services.set({ ...spec, servers: left })
    t.equal(serverOf(pool, clientTcp6({ from: `[${a}]:1` })), undefined, 'in the middle it is dropped')
    t.equal(pool.drops.toObject()['no-connection'], 1)
    t.same(listing(pool), [])
  }
})

test('drop_packet drops packets that would begin a connection, and answers those for no service', async (t) => {
  const pool = bench({}, {})
  pool.set({ dropPacket: 3, amDroprate: 1 })
  t.equal(serverOf(pool, syn(a, 1, `[${VIP6}]:81`)), 'refused')
  t.equal(serverOf(pool, syn(a, 1)), undefined)
  t.equal(pool.drops.toObject()['drop-packet'], 1)
})
