/** ICMP errors about a connection's packets find the one whom they concern, and quote a packet that he knows. */
import { test } from 'tap'
import type { TunnelSpec } from '../../../forwarder/service.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { icmpFrame, packetOf } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import {
  CLIENT_ADDRESS,
  clientTcp,
  clientUdp,
  INSIDE,
  INSIDE_SOURCE,
  MAC,
  OUTSIDE,
  type SceneOptions,
  SERVER1_ADDRESS,
  scene,
  serverTcp,
  serverUdp,
  tcpToClient,
  tcpToServer,
  tunnelled,
  udpToClient,
  udpToServer,
  VIP,
} from '../../support/scene.ts'
import { trafficOf } from '../../support/traffic-counts.ts'

const CLIENTS_ROUTER = '203.0.113.1'
const SERVERS_ROUTER = '10.1.0.99'
const fromOutside = { sourceMac: MAC.router, destinationMac: MAC.outside }
const fromInside = { sourceMac: MAC.server1, destinationMac: MAC.inside }
const toServer = { sourceMac: MAC.inside, destinationMac: MAC.server1, ttl: 63 }
const toClient = { sourceMac: MAC.outside, destinationMac: MAC.router, ttl: 63 }

function open(options: SceneOptions = {}): DirectorBench {
  const bench = scene(options)
  bench.send(OUTSIDE, options.protocol === 'udp' ? clientUdp() : clientTcp({ flags: TCP_SYN }))
  return bench
}

/** An IP packet as an error quotes it: the header, and the first bytes behind it. */
function quote(frame: Uint8Array, transportBytes = 8): Uint8Array {
  return packetOf(frame).slice(0, 20 + transportBytes)
}

const reply = tcpToClient({ ttl: 40 })
const request = tcpToServer({ ttl: 40 })
const cases: [sentence: string, link: string, frame: Uint8Array, out: string, expected: Uint8Array, SceneOptions?][] = [
  [
    'NAT: an error about a reply reaches the server, about its own packet',
    OUTSIDE,
    icmpFrame({ ...fromOutside, from: CLIENTS_ROUTER, to: VIP, type: 3, code: 1, payload: quote(reply) }),
    INSIDE,
    icmpFrame({
      ...toServer,
      from: CLIENTS_ROUTER,
      to: SERVER1_ADDRESS,
      type: 3,
      code: 1,
      payload: quote(serverTcp({ ttl: 40 })),
    }),
  ],
  [
    'NAT: a client that is told the MTU of a reply tells the server',
    OUTSIDE,
    icmpFrame({ ...fromOutside, from: CLIENTS_ROUTER, to: VIP, type: 3, code: 4, rest: 1400, payload: quote(reply) }),
    INSIDE,
    icmpFrame({
      ...toServer,
      from: CLIENTS_ROUTER,
      to: SERVER1_ADDRESS,
      type: 3,
      code: 4,
      rest: 1400,
      payload: quote(serverTcp({ ttl: 40 })),
    }),
  ],
  [
    'NAT: an error about a request reaches the client, from the service and about the client’s own packet',
    INSIDE,
    icmpFrame({ ...fromInside, from: SERVER1_ADDRESS, to: CLIENT_ADDRESS, type: 3, code: 3, payload: quote(request) }),
    OUTSIDE,
    icmpFrame({ ...toClient, from: VIP, to: CLIENT_ADDRESS, type: 3, code: 3, payload: quote(clientTcp({ ttl: 40 })) }),
  ],
  [
    'NAT: so does one from a router on the servers’ side',
    INSIDE,
    icmpFrame({ ...fromInside, from: SERVERS_ROUTER, to: CLIENT_ADDRESS, type: 11, payload: quote(request, 100) }),
    OUTSIDE,
    icmpFrame({
      ...toClient,
      from: VIP,
      to: CLIENT_ADDRESS,
      type: 11,
      payload: quote(clientTcp({ ttl: 40 }), 100),
    }),
  ],
  [
    'NAT: a server without a listener is reported to the client of a datagram',
    INSIDE,
    icmpFrame({
      ...fromInside,
      from: SERVER1_ADDRESS,
      to: CLIENT_ADDRESS,
      type: 3,
      code: 3,
      payload: quote(udpToServer({ payload: 'q' })),
    }),
    OUTSIDE,
    icmpFrame({
      ...toClient,
      from: VIP,
      to: CLIENT_ADDRESS,
      type: 3,
      code: 3,
      payload: quote(clientUdp({ payload: 'q', ttl: 63 })),
    }),
    { protocol: 'udp' },
  ],
  [
    'NAT: a client that has gone is reported to the server of a datagram',
    OUTSIDE,
    icmpFrame({
      ...fromOutside,
      from: CLIENT_ADDRESS,
      to: VIP,
      type: 3,
      code: 3,
      payload: quote(udpToClient({ payload: 'r' })),
    }),
    INSIDE,
    icmpFrame({
      ...toServer,
      from: CLIENT_ADDRESS,
      to: SERVER1_ADDRESS,
      type: 3,
      code: 3,
      payload: quote(serverUdp({ payload: 'r', ttl: 63 })),
    }),
    { protocol: 'udp' },
  ],
  [
    'NAT: a quoted datagram without a checksum is passed on without one',
    INSIDE,
    icmpFrame({
      ...fromInside,
      from: SERVER1_ADDRESS,
      to: CLIENT_ADDRESS,
      type: 3,
      code: 3,
      payload: quote(udpToServer({ payload: 'q', checksum: false })),
    }),
    OUTSIDE,
    icmpFrame({
      ...toClient,
      from: VIP,
      to: CLIENT_ADDRESS,
      type: 3,
      code: 3,
      payload: quote(clientUdp({ payload: 'q', checksum: false, ttl: 63 })),
    }),
    { protocol: 'udp' },
  ],
  [
    'DR: an error about a reply reaches the server as it is',
    OUTSIDE,
    icmpFrame({ ...fromOutside, from: CLIENTS_ROUTER, to: VIP, type: 3, code: 4, rest: 1400, payload: quote(reply) }),
    INSIDE,
    icmpFrame({ ...toServer, from: CLIENTS_ROUTER, to: VIP, type: 3, code: 4, rest: 1400, payload: quote(reply) }),
    { method: 'dr' },
  ],
  [
    'TUN: an error about a reply reaches the server through the tunnel',
    OUTSIDE,
    icmpFrame({ ...fromOutside, from: CLIENTS_ROUTER, to: VIP, type: 3, code: 4, rest: 1400, payload: quote(reply) }),
    INSIDE,
    tunnelled(
      icmpFrame({ from: CLIENTS_ROUTER, to: VIP, ttl: 63, type: 3, code: 4, rest: 1400, payload: quote(reply) }),
    ),
    { method: 'tun' },
  ],
  [
    'TUN: a tunnel packet that did not fit is reported to the client, with the MTU less the outer header',
    INSIDE,
    icmpFrame({
      ...fromInside,
      from: SERVERS_ROUTER,
      to: INSIDE_SOURCE,
      type: 3,
      code: 4,
      rest: 1400,
      payload: packetOf(tunnelled(clientTcp({ ttl: 40 }))),
    }),
    OUTSIDE,
    icmpFrame({
      ...toClient,
      from: VIP,
      to: CLIENT_ADDRESS,
      ttl: 64,
      tos: 0xc0,
      fragment: 0,
      type: 3,
      code: 4,
      rest: 1380,
      payload: packetOf(clientTcp({ ttl: 40 })),
    }),
    { method: 'tun' },
  ],
  [
    'TUN: a server that cannot be reached is reported to the client',
    INSIDE,
    icmpFrame({
      ...fromInside,
      from: SERVERS_ROUTER,
      to: INSIDE_SOURCE,
      type: 3,
      code: 1,
      payload: packetOf(tunnelled(clientTcp({ ttl: 40 }))).slice(0, 48),
    }),
    OUTSIDE,
    icmpFrame({
      ...toClient,
      from: VIP,
      to: CLIENT_ADDRESS,
      ttl: 64,
      tos: 0xc0,
      fragment: 0,
      type: 3,
      code: 1,
      payload: quote(clientTcp({ ttl: 40 })),
    }),
    { method: 'tun' },
  ],
]

for (const [sentence, link, frame, out, expected, options] of cases) {
  test(sentence, async (t) => {
    const bench = open(options)
    const before = trafficOf(bench)
    t.same(sentHex(bench.send(link, frame)), [[out, hex(expected)]])
    const after = trafficOf(bench)
    const counted = [
      after.inPackets - before.inPackets,
      after.inBytes - before.inBytes,
      after.outPackets,
      after.outBytes,
    ]
    const packet = [1, frame.length - 14]
    // One about a tunnel packet is none of the connection's.
    const expectedCounts =
      link === OUTSIDE ? [...packet, 0, 0] : options?.method === 'tun' ? [0, 0, 0, 0] : [0, 0, ...packet]
    t.same(counted, expectedCounts)
  })
}

/** A client's packet as a router on the servers' side meets it in the tunnel: what our own director makes of it. */
function inTunnel(tunnel: TunnelSpec): Uint8Array {
  const [sent] = open({ method: 'tun', tunnel }).send(OUTSIDE, clientTcp({ ttl: 41 }))
  return packetOf(sent.frame)
}

const tunnels: [TunnelSpec, overhead: number][] = [
  [{ type: 'ipip', port: 0, checksum: 'none' }, 20],
  [{ type: 'gre', port: 0, checksum: 'none' }, 24],
  [{ type: 'gre', port: 0, checksum: 'plain' }, 28],
  [{ type: 'gue', port: 6080, checksum: 'none' }, 32],
  [{ type: 'gue', port: 6080, checksum: 'plain' }, 32],
]
for (const [tunnel, overhead] of tunnels) {
  const about = { ...fromInside, from: SERVERS_ROUTER, to: INSIDE_SOURCE, type: 3, code: 4, rest: 1400 }
  test(`TUN: an error about a ${tunnel.type} packet (${tunnel.checksum}) reaches the client, about its own`, async (t) => {
    const bench = open({ method: 'tun', tunnel })
    const sent = bench.send(INSIDE, icmpFrame({ ...about, payload: inTunnel(tunnel) }))
    const expected = icmpFrame({
      ...{ ...toClient, from: VIP, to: CLIENT_ADDRESS, ttl: 64, tos: 0xc0, fragment: 0 },
      ...{ type: 3, code: 4, rest: 1400 - overhead, payload: packetOf(clientTcp({ ttl: 40 })) },
    })
    t.same(sentHex(sent), [[OUTSIDE, hex(expected)]])
  })

  test(`TUN: one about a ${tunnel.type} packet (${tunnel.checksum}) that is not of this tunnel is the host’s`, async (t) => {
    for (const other of tunnels.map(([spec]) => spec).filter(({ type }) => type !== tunnel.type)) {
      const bench = open({ method: 'tun', tunnel: other })
      t.same(bench.send(INSIDE, icmpFrame({ ...about, payload: inTunnel(tunnel) })), [])
    }
    const elsewhere = inTunnel(tunnel)
    elsewhere[19] = 77
    const bench = open({ method: 'tun', tunnel })
    t.same(bench.send(INSIDE, icmpFrame({ ...about, payload: elsewhere })), [])
    const cutShort = inTunnel(tunnel).slice(0, overhead + 27)
    t.same(bench.send(INSIDE, icmpFrame({ ...about, payload: cutShort })), [])
    t.ok(Object.values(bench.drops.toObject()).every((count) => count === 0))
  })
}

test('TUN: an error about a datagram to another port than the tunnel’s is the host’s', async (t) => {
  const other = inTunnel({ type: 'gue', port: 6081, checksum: 'none' })
  const bench = open({ method: 'tun', tunnel: { type: 'gue', port: 6080, checksum: 'none' } })
  const error = icmpFrame({ ...fromInside, from: SERVERS_ROUTER, to: INSIDE_SOURCE, type: 3, payload: other })
  t.same(bench.send(INSIDE, error), [])
})

const aboutReply = { ...fromOutside, from: CLIENTS_ROUTER, to: VIP, type: 3, code: 1 }
const dropped: [sentence: string, frame: Uint8Array, drop: string, options?: SceneOptions][] = [
  [
    'an error about a connection that is not known is dropped',
    icmpFrame({ ...aboutReply, payload: quote(tcpToClient({ to: '203.0.113.7:9' })) }),
    'icmp-unrelated',
  ],
  [
    'an error that quotes too little is dropped',
    icmpFrame({ ...aboutReply, payload: quote(reply, 7) }),
    'icmp-unrelated',
  ],
  [
    'an error that quotes no IPv4 is dropped',
    icmpFrame({ ...aboutReply, payload: new Uint8Array(60) }),
    'icmp-unrelated',
  ],
  [
    'an error about a later fragment, which has no ports, is dropped',
    icmpFrame({ ...aboutReply, payload: quote(tcpToClient({ fragment: 3 })) }),
    'icmp-unrelated',
  ],
  [
    'an error that was damaged on its way is dropped',
    damaged(icmpFrame({ ...aboutReply, payload: quote(reply) })),
    'bad-header',
  ],
  ['an error at its last hop is dropped', icmpFrame({ ...aboutReply, ttl: 1, payload: quote(reply) }), 'ttl-exceeded'],
  [
    'an error that does not fit into the tunnel is dropped, not answered with another',
    icmpFrame({ ...aboutReply, payload: quote(tcpToClient({ payload: new Uint8Array(1440) }), 1440) }),
    'too-big',
    { method: 'tun' },
  ],
]
for (const [sentence, frame, drop, options] of dropped) {
  test(sentence, async (t) => {
    const bench = open(options)
    t.same(bench.send(OUTSIDE, frame), [])
    t.equal(bench.drops.toObject()[drop], 1)
  })
}

test('an error about a connection whose server was removed is dropped', async (t) => {
  const bench = open()
  bench.engine.services.set({ protocol: 'tcp', address: VIP, port: 80, scheduler: 'rr', servers: [] })
  t.same(bench.send(OUTSIDE, icmpFrame({ ...aboutReply, payload: quote(reply) })), [])
  t.equal(bench.drops.toObject()['icmp-unrelated'], 1)
})

const hosts: [sentence: string, frame: Uint8Array, options?: SceneOptions][] = [
  [
    'an error about somebody else’s packet is the host’s',
    icmpFrame({
      ...fromInside,
      from: SERVERS_ROUTER,
      to: INSIDE_SOURCE,
      type: 3,
      payload: quote(clientTcp({ to: '9.9.9.9:9' })),
    }),
  ],
  [
    'an error about somebody else’s tunnel is the host’s',
    icmpFrame({
      ...fromInside,
      from: SERVERS_ROUTER,
      to: INSIDE_SOURCE,
      type: 3,
      payload: packetOf(tunnelled(clientTcp(), { destination: '10.1.0.77' })),
    }),
    { method: 'tun' },
  ],
  [
    'an error about a tunnel that quotes nothing of the packet inside is the host’s',
    icmpFrame({
      ...fromInside,
      from: SERVERS_ROUTER,
      to: INSIDE_SOURCE,
      type: 3,
      payload: packetOf(tunnelled(clientTcp())).slice(0, 28),
    }),
    { method: 'tun' },
  ],
]
for (const [sentence, frame, options] of hosts) {
  test(sentence, async (t) => {
    const bench = open(options)
    t.same(bench.send(INSIDE, frame), [])
    t.ok(Object.values(bench.drops.toObject()).every((count) => count === 0))
  })
}

function damaged(frame: Uint8Array): Uint8Array {
  frame[frame.length - 1] ^= 1
  return frame
}
