/** The director as a real server of its own: what goes to the host's stack, what comes from it, and what a takeover makes of it. */
import { test } from 'tap'
import { TCP_ACK, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { DirectorBench } from '../../support/director-bench.ts'
import { fragmentsOf, icmpFrame, packetOf, tcpFrame, wholeOf } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { fragmentsOf6, icmpFrame6, tcpFrame6 } from '../../support/ipv6-frames.ts'
import {
  CLIENT6,
  CLIENT6_ADDRESS,
  clientTcp6,
  INSIDE_SOURCE6,
  OUTSIDE_SOURCE6,
  ROUTER6,
  service6,
  tcpToClient6,
  VIP6,
} from '../../support/ipv6-scene.ts'
import {
  CLIENT,
  CLIENT_ADDRESS,
  clientTcp,
  INSIDE,
  MAC,
  OUTSIDE,
  OUTSIDE_SOURCE,
  ROUTER,
  SERVER1_ADDRESS,
  VIP,
  VIRTUAL,
} from '../../support/scene.ts'

const HOST = 'director-host'
const LOOPBACK = '127.0.0.1'

function bench(address = LOOPBACK, method: 'local' | 'dr' = 'local', state: 'active' | 'standby' = 'active') {
  return new DirectorBench({
    links: [
      { name: OUTSIDE, mac: MAC.outside },
      { name: INSIDE, mac: MAC.inside },
      { name: HOST, mac: '02:00:00:00:00:00' },
    ],
    hostLink: 2,
    addresses: [{ address: VIP, link: OUTSIDE, state }],
    routes: [
      { destination: '0.0.0.0', prefixLength: 0, gateway: ROUTER, link: OUTSIDE, source: OUTSIDE_SOURCE },
      { destination: '198.51.100.0', prefixLength: 24, link: OUTSIDE, source: OUTSIDE_SOURCE },
    ],
    services: [
      {
        protocol: 'tcp',
        address: VIP,
        port: 80,
        scheduler: 'rr',
        servers: [{ address, port: 8000, method, weight: 1 }],
      },
    ],
    neighbours: { [ROUTER]: MAC.router, [address]: MAC.server1 },
  })
}

const anyMac = { sourceMac: '02:00:00:00:00:00', destinationMac: '00:00:00:00:00:00' }
const reply = (fields = {}) => tcpFrame({ ...anyMac, from: `${LOOPBACK}:8000`, to: CLIENT, ...fields })

test('a client packet goes to the host as one to the local server, and the reply leaves as the virtual service', async (t) => {
  const director = bench()
  t.same(sentHex(director.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))), [
    [HOST, hex(tcpFrame({ ...anyMac, from: CLIENT, to: `${LOOPBACK}:8000`, ttl: 63, flags: TCP_SYN }))],
  ])
  const answer = { sourceMac: MAC.outside, destinationMac: MAC.router, from: VIRTUAL, to: CLIENT, ttl: 63 }
  t.same(sentHex(director.send(HOST, reply({ flags: TCP_SYN | TCP_ACK }))), [
    [OUTSIDE, hex(tcpFrame({ ...answer, flags: TCP_SYN | TCP_ACK }))],
  ])
  director.send(OUTSIDE, clientTcp())
  t.same(
    [...director.reader.connections()].map((connection) => connection.state),
    ['ESTABLISHED'],
    'both directions move the state',
  )
})

test('fragments go to the local server and come from it; from elsewhere nobody can send them in its name', async (t) => {
  const director = bench()
  director.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  const payload = Uint8Array.from({ length: 4000 }, (_, index) => index * 3)
  const large = { payload, fragment: 0, identification: 5 }
  const toHost = fragmentsOf(clientTcp(large), 1500).flatMap((frame) => director.send(OUTSIDE, frame))
  t.ok(toHost.every(({ link }) => link === HOST))
  const expected = tcpFrame({ ...anyMac, from: CLIENT, to: `${LOOPBACK}:8000`, ttl: 63, ...large })
  t.equal(hex(wholeOf(toHost.map(({ frame }) => frame))), hex(expected))
  const [first, second, third] = fragmentsOf(reply(large), 1500)
  const toClient = [...director.send(HOST, first), ...director.send(HOST, second)]
  t.same(director.send(INSIDE, third), [])
  t.equal(director.drops.toObject()['martian-source'], 1)
  t.ok(toClient.length === 2 && toClient.every(({ link }) => link === OUTSIDE))
})

test('nobody asks by ARP for a local server', async (t) => {
  const director = bench()
  director.nowMs += 60_000
  const asked = director.breathe().map(({ frame }) => [...frame.subarray(38, 42)].join('.'))
  t.notOk(asked.includes(LOOPBACK))
  t.ok(asked.includes(ROUTER), 'while others are asked for')
})

test('a local server that sends more than the interface carries hears so from the virtual address', async (t) => {
  const director = bench()
  director.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  director.engine.setRoutes([], { [OUTSIDE]: 1400 })
  const tooLong = reply({ payload: new Uint8Array(1361) })
  const expected = icmpFrame({
    ...{ sourceMac: anyMac.destinationMac, destinationMac: anyMac.sourceMac },
    ...{ from: VIP, to: LOOPBACK, tos: 0xc0, fragment: 0, ttl: 64, type: 3, code: 4, rest: 1400 },
    payload: packetOf(tooLong).subarray(0, 576 - 28),
  })
  t.same(sentHex(director.send(HOST, tooLong)), [[HOST, hex(expected)]])
  t.equal(director.send(HOST, reply({ payload: new Uint8Array(1360) }))[0].link, OUTSIDE)
})

test('a packet from a network that says it is the local server’s is dropped', async (t) => {
  const director = bench()
  director.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  t.same(director.send(INSIDE, reply()), [])
  t.equal(director.drops.toObject()['martian-source'], 1)
})

test('what the host sends to somebody who came by no virtual address is sent on for it, by the routes, but not to groups', async (t) => {
  const director = bench(OUTSIDE_SOURCE)
  const direct = { from: `${OUTSIDE_SOURCE}:8000`, to: `${CLIENT_ADDRESS}:999` }
  director.send(HOST, tcpFrame({ ...anyMac, ...direct }))
  director.resolve({ [ROUTER]: MAC.router })
  t.same(sentHex(director.send(HOST, tcpFrame({ ...anyMac, ...direct }))), [
    [OUTSIDE, hex(tcpFrame({ ...direct, sourceMac: MAC.outside, destinationMac: MAC.router }))],
  ])
  for (const to of ['224.0.0.22:1', '255.255.255.255:67']) {
    t.same(director.send(HOST, tcpFrame({ ...anyMac, from: direct.from, to })), [], to)
  }
})

test('other links’ frames that are the host’s are left to it', async (t) => {
  t.same(bench().send(INSIDE, tcpFrame({ from: '10.1.0.1:1', to: '10.1.0.254:2' })), [])
})

function takenOver(from: DirectorBench, to: DirectorBench): boolean {
  from.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  from.send(OUTSIDE, clientTcp())
  return to.engine.replication.apply(from.outgoing.bytes, from.outgoing.peek())
}

test('a loopback server’s connection is the next director’s own server’s, which may reset it', async (t) => {
  const next = bench()
  t.ok(takenOver(bench(), next))
  const [sent] = next.send(OUTSIDE, clientTcp())
  t.equal(sent.link, HOST)
})

test('an address that is one director’s own is a real server like others to the next', async (t) => {
  const other = () => {
    const director = bench(SERVER1_ADDRESS, 'dr')
    director.engine.setRoutes([
      { destination: '10.1.0.0', prefixLength: 24, link: INSIDE, source: '10.1.0.254' },
      { destination: '0.0.0.0', prefixLength: 0, gateway: ROUTER, link: OUTSIDE, source: OUTSIDE_SOURCE },
    ])
    director.resolve({ [SERVER1_ADDRESS]: MAC.server1 })
    return director
  }
  const next = other()
  t.ok(takenOver(bench(SERVER1_ADDRESS), next))
  t.equal(next.send(OUTSIDE, clientTcp())[0].link, INSIDE)
  const back = bench(SERVER1_ADDRESS)
  t.ok(takenOver(other(), back))
  t.equal(back.send(OUTSIDE, clientTcp())[0].link, HOST)
})

test('a connection of a local server that is not configured here is not taken', async (t) => {
  const next = bench()
  next.engine.services.remove({ protocol: 'tcp', address: VIP, port: 80 })
  t.notOk(takenOver(bench(), next))
})

function bench6(method: 'local' | 'dr' = 'local'): DirectorBench {
  return new DirectorBench({
    links: [
      { name: OUTSIDE, mac: MAC.outside },
      { name: INSIDE, mac: MAC.inside },
      { name: HOST, mac: '02:00:00:00:00:00' },
    ],
    hostLink: 2,
    addresses: [{ address: VIP6, link: OUTSIDE, state: 'active' }],
    routes: [
      { destination: '::', prefixLength: 0, gateway: ROUTER6, link: OUTSIDE, source: OUTSIDE_SOURCE6 },
      { destination: '2001:db8:2::', prefixLength: 64, link: INSIDE, source: INSIDE_SOURCE6 },
    ],
    services: [
      {
        ...service6(),
        servers: [{ address: INSIDE_SOURCE6, port: 8000, method, weight: 1 }],
      },
    ],
    neighbours: { [ROUTER6]: MAC.router, [INSIDE_SOURCE6]: MAC.server1 },
  })
}

const LOCAL6 = `[${INSIDE_SOURCE6}]:8000`
const reply6 = (fields = {}) => tcpFrame6({ ...anyMac, from: LOCAL6, to: CLIENT6, ...fields })

test('over IPv6 too, the local server gets the packet, and its reply leaves as the virtual service', async (t) => {
  const director = bench6()
  t.same(sentHex(director.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))), [
    [HOST, hex(tcpFrame6({ ...anyMac, from: CLIENT6, to: LOCAL6, hopLimit: 63, flags: TCP_SYN }))],
  ])
  t.same(sentHex(director.send(HOST, reply6({ flags: TCP_SYN | TCP_ACK }))), [
    [OUTSIDE, hex(tcpToClient6({ flags: TCP_SYN | TCP_ACK }))],
  ])
  t.same(director.send(INSIDE, reply6()), [], 'from elsewhere nobody speaks in its name')
  t.equal(director.drops.toObject()['martian-source'], 1)
})

test('over IPv6 too it hears from the virtual address what the interface carries', async (t) => {
  const director = bench6()
  director.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  director.engine.setRoutes([], { [OUTSIDE]: 1400 })
  const tooLong = reply6({ payload: new Uint8Array(1341) })
  const expected = icmpFrame6({
    ...{ sourceMac: anyMac.destinationMac, destinationMac: anyMac.sourceMac },
    ...{ from: VIP6, to: INSIDE_SOURCE6, trafficClass: 0xc0, hopLimit: 64, type: 2, rest: 1400 },
    payload: packetOf(tooLong).subarray(0, 1280 - 48),
  })
  t.same(sentHex(director.send(HOST, tooLong)), [[HOST, hex(expected)]])
})

test('fragments of IPv6 go to the local server and come from it, and from nowhere else', async (t) => {
  const director = bench6()
  director.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  const payload = new Uint8Array(4000).fill(7)
  const toHost = fragmentsOf6(clientTcp6({ payload }), 1500).flatMap((frame) => director.send(OUTSIDE, frame))
  t.ok(toHost.length > 1 && toHost.every(({ link }) => link === HOST))
  const [first, second, third] = fragmentsOf6(reply6({ payload }), 1500, 8)
  const toClient = [...director.send(HOST, first), ...director.send(HOST, second)]
  t.same(director.send(INSIDE, third), [])
  t.ok(toClient.length === 2 && toClient.every(({ link }) => link === OUTSIDE))
})

test('what the host sends over IPv6 past the virtual address is sent on for it, but not to groups and neighbours', async (t) => {
  const director = bench6()
  const direct = { from: LOCAL6, to: `[${CLIENT6_ADDRESS}]:999` }
  director.send(HOST, tcpFrame6({ ...anyMac, ...direct }))
  director.resolve({ [ROUTER6]: MAC.router })
  t.same(sentHex(director.send(HOST, tcpFrame6({ ...anyMac, ...direct }))), [
    [OUTSIDE, hex(tcpFrame6({ ...direct, sourceMac: MAC.outside, destinationMac: MAC.router }))],
  ])
  for (const to of ['[ff02::16]:1', '[fe80::9]:1']) {
    t.same(director.send(HOST, tcpFrame6({ ...anyMac, from: LOCAL6, to })), [], to)
  }
})

test('an IPv6 address that is one director’s own is a real server like others to the next', async (t) => {
  const [own, other] = [bench6(), bench6('dr')]
  own.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  own.send(OUTSIDE, clientTcp6())
  t.ok(other.engine.replication.apply(own.outgoing.bytes, own.outgoing.peek()))
  t.equal(other.send(OUTSIDE, clientTcp6())[0].link, INSIDE)
})
