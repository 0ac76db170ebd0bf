/** A route may carry less than its link, where an operator has said so: the usual remedy where nobody on the way says it. */
import { test } from 'tap'
import type { Route } from '../../../forwarder/commands.ts'
import { TCP_ACK, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import {
  clientTcp6,
  INSIDE_SOURCE6,
  OUTSIDE_SOURCE6,
  ROUTER6,
  type SceneOptions6,
  scene6,
  serverTcp6,
} from '../../support/ipv6-scene.ts'
import {
  clientTcp,
  clientUdp,
  INSIDE,
  INSIDE_SOURCE,
  OUTSIDE,
  OUTSIDE_SOURCE,
  ROUTER,
  type SceneOptions,
  scene,
  serverTcp,
  serverUdp,
} from '../../support/scene.ts'

const NEXT_MTU = 14 + 20 + 6
const NEXT_MTU6 = 14 + 40 + 6

/** What the routes to the clients and to the servers say that they carry. */
function routes(toClients: number | undefined, toServers: number | undefined): Route[] {
  const outside = { link: OUTSIDE, mtu: toClients }
  const inside = { link: INSIDE, mtu: toServers }
  return [
    { destination: '0.0.0.0', prefixLength: 0, gateway: ROUTER, source: OUTSIDE_SOURCE, ...outside },
    { destination: '10.1.0.0', prefixLength: 24, source: INSIDE_SOURCE, ...inside },
    { destination: '::', prefixLength: 0, gateway: ROUTER6, source: OUTSIDE_SOURCE6, ...outside },
    { destination: '2001:db8:2::', prefixLength: 64, source: INSIDE_SOURCE6, ...inside },
  ]
}

const open = (options: SceneOptions = {}) => opened(scene({ routes: routes(1400, 1300), ...options }), clientTcp)
const open6 = (options: SceneOptions6 = {}) => opened(scene6({ routes: routes(1400, 1300), ...options }), clientTcp6)

function opened(bench: DirectorBench, packet: typeof clientTcp | typeof clientTcp6): DirectorBench {
  bench.send(OUTSIDE, packet({ flags: TCP_SYN }))
  return bench
}

/** Whether the packet was forwarded; else what its sender was told that fits. */
function outcome(bench: DirectorBench, link: string, packet: Uint8Array, mtuAt: number): 'forwarded' | number {
  const [sent] = bench.send(link, packet)
  return sent.link === link ? sent.frame[mtuAt] * 256 + sent.frame[mtuAt + 1] : 'forwarded'
}

const tcp = (length: number) => ({ payload: new Uint8Array(length - 40) })
const tcp6 = (length: number) => ({ payload: new Uint8Array(length - 60) })

for (const method of ['nat', 'dr'] as const) {
  test(`what the route to a server (${method}) does not carry is answered`, async (t) => {
    const bench = open({ method })
    t.equal(outcome(bench, OUTSIDE, clientTcp(tcp(1300)), NEXT_MTU), 'forwarded')
    t.equal(outcome(bench, OUTSIDE, clientTcp(tcp(1301)), NEXT_MTU), 1300)
    const bench6 = open6({ method })
    t.equal(outcome(bench6, OUTSIDE, clientTcp6(tcp6(1300)), NEXT_MTU6), 'forwarded')
    t.equal(outcome(bench6, OUTSIDE, clientTcp6(tcp6(1301)), NEXT_MTU6), 1300)
  })
}

test('so is what the route to a client does not carry, though the reply does not go by it', async (t) => {
  const bench = open()
  t.equal(outcome(bench, INSIDE, serverTcp(tcp(1400)), NEXT_MTU), 'forwarded')
  t.equal(outcome(bench, INSIDE, serverTcp(tcp(1401)), NEXT_MTU), 1400)
  const bench6 = open6()
  t.equal(outcome(bench6, INSIDE, serverTcp6(tcp6(1400)), NEXT_MTU6), 'forwarded')
  t.equal(outcome(bench6, INSIDE, serverTcp6(tcp6(1401)), NEXT_MTU6), 1400)
})

test('a tunnel has what its route carries, less its headers', async (t) => {
  const bench = open({ method: 'tun' })
  t.equal(outcome(bench, OUTSIDE, clientTcp(tcp(1280)), NEXT_MTU), 'forwarded')
  t.equal(outcome(bench, OUTSIDE, clientTcp(tcp(1281)), NEXT_MTU), 1280)
})

test('packets that may be cut are cut to what the route carries, in both directions', async (t) => {
  const bench = scene({ protocol: 'udp', routes: routes(1400, 1300) })
  const data = { payload: new Uint8Array(1450), fragment: 0 }
  bench.send(OUTSIDE, clientUdp())
  const lengths = (link: string, packet: Uint8Array) => bench.send(link, packet).map(({ frame }) => frame.length - 14)
  t.same(lengths(OUTSIDE, clientUdp(data)), [1300, 198])
  t.same(lengths(INSIDE, serverUdp(data)), [1396, 102])
})

test('mss: clamp heeds what routes carry', async (t) => {
  const bench = scene({ mss: 'clamp', routes: routes(1400, undefined) })
  const announcing = (frame: Uint8Array) => {
    frame[46] = 6 << 4
    return frame
  }
  const payload = Uint8Array.of(2, 4, 1460 >> 8, 1460 & 255)
  for (const [link, packet] of [
    [OUTSIDE, clientTcp({ flags: TCP_SYN, payload })],
    [INSIDE, serverTcp({ flags: TCP_SYN | TCP_ACK, payload })],
  ] as const) {
    const [{ frame }] = bench.send(link, announcing(packet))
    t.equal(frame[56] * 256 + frame[57], 1360)
  }
})

test('new routes count from then on, and one that says more than its link carries says nothing', async (t) => {
  const bench = open()
  for (const [said, longest] of [
    [1200, 1200],
    [9000, 1500],
    [undefined, 1500],
  ] as const) {
    bench.engine.setRoutes(routes(said, said))
    t.equal(outcome(bench, OUTSIDE, clientTcp(tcp(longest)), NEXT_MTU), 'forwarded')
    t.equal(outcome(bench, OUTSIDE, clientTcp(tcp(longest + 1)), NEXT_MTU), longest)
    t.equal(outcome(bench, INSIDE, serverTcp(tcp(longest)), NEXT_MTU), 'forwarded')
    t.equal(outcome(bench, INSIDE, serverTcp(tcp(longest + 1)), NEXT_MTU), longest)
  }
})

test('nobody is told that a way of IPv6 carries less than any link must', async (t) => {
  const bench6 = open6({ routes: routes(1000, 1000) })
  t.equal(outcome(bench6, OUTSIDE, clientTcp6(tcp6(1280)), NEXT_MTU6), 'forwarded')
  t.equal(outcome(bench6, OUTSIDE, clientTcp6(tcp6(1281)), NEXT_MTU6), 1280)
})
