/** Fragments of IPv6 follow their first one, in whatever order they come, and do no harm otherwise. */
import { test } from 'tap'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { seededRandom, seeds } from '../../random.ts'
import type { DirectorBench, Sent } from '../../support/director-bench.ts'
import { fragmentsOf, packetOf } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { type Extension, fragmentsOf6, icmpFrame6, ipv6Frame, wholeOf6 } from '../../support/ipv6-frames.ts'
import {
  CLIENT6_ADDRESS,
  clientTcp6,
  clientUdp6,
  type SceneOptions6,
  SERVER1_ADDRESS6,
  scene6,
  serverUdp6,
  service6,
  tcpToServer6,
  udpToClient6,
  udpToServer6,
  VIP6,
} from '../../support/ipv6-scene.ts'
import { clientUdp, INSIDE, MAC, OUTSIDE, SERVER1_ADDRESS, service, VIP } from '../../support/scene.ts'
import { trafficOf } from '../../support/traffic-counts.ts'

const DATA = Uint8Array.from({ length: 4000 }, (_, index) => index * 5)
const destinationOptions: Extension = [60, Uint8Array.of(0, 0, 1, 4, 0, 0, 0, 0)]
const hopByHop: Extension = [0, Uint8Array.of(0, 0, 1, 4, 0, 0, 0, 0)]
const datagram = (fields: Parameters<typeof clientUdp6>[0] = {}) => clientUdp6({ payload: DATA, ...fields })
const udp = (options: SceneOptions6 = {}) => scene6({ protocol: 'udp', ...options })
const macsToServer = { sourceMac: MAC.inside, destinationMac: MAC.server1 }

const sendAll = (bench: DirectorBench, link: string, frames: readonly Uint8Array[]): Sent[] =>
  frames.flatMap((frame) => bench.send(link, frame))
const framesOf = (sent: readonly Sent[]) => sent.map(({ frame }) => frame)
const dropped = (bench: DirectorBench) => Object.entries(bench.drops.toObject()).filter(([, count]) => count > 0)

function nothingIsHeld(bench: DirectorBench): boolean {
  const { free, held, total } = bench.engine.egress.poolUse
  return free === total && held === 0
}

const orders: [sentence: string, order: readonly number[]][] = [
  ['in order', [0, 1, 2]],
  ['the last two the wrong way round', [0, 2, 1]],
  ['backwards', [2, 1, 0]],
  ['the first in the middle', [1, 0, 2]],
]
for (const [sentence, order] of orders) {
  const shuffled = (fragments: Uint8Array[]) => order.map((index) => fragments[index])

  test(`NAT: a datagram in fragments reaches the server and the answer the client: ${sentence}`, async (t) => {
    const bench = udp()
    const toServer = sendAll(bench, OUTSIDE, shuffled(fragmentsOf6(datagram(), 1500)))
    t.ok(toServer.every(({ link }) => link === INSIDE))
    t.equal(hex(wholeOf6(framesOf(toServer))), hex(udpToServer6({ payload: DATA })))
    const toClient = sendAll(bench, INSIDE, shuffled(fragmentsOf6(serverUdp6({ payload: DATA }), 1500, 8)))
    t.equal(hex(wholeOf6(framesOf(toClient))), hex(udpToClient6({ payload: DATA })))
    const bytes = 48 + DATA.length
    t.same(trafficOf(bench), { inPackets: 1, inBytes: bytes, outPackets: 1, outBytes: bytes }, 'counted as one packet')
    t.ok(nothingIsHeld(bench))
    t.same(dropped(bench), [])
  })

  test(`DR: a datagram in fragments reaches the server as it is: ${sentence}`, async (t) => {
    const bench = udp({ method: 'dr' })
    const sent = sendAll(bench, OUTSIDE, shuffled(fragmentsOf6(datagram(), 1500)))
    t.equal(hex(wholeOf6(framesOf(sent))), hex(datagram({ ...macsToServer, hopLimit: 63 })))
  })

  test(`TUN: each fragment travels in a packet of its own, of either family: ${sentence}`, async (t) => {
    for (const [address, outerLength, nextHeaderAt] of [
      [SERVER1_ADDRESS6, 40, 20],
      [SERVER1_ADDRESS, 20, 23],
    ] as const) {
      const servers = [{ address, port: 80, method: 'tun' as const, weight: 1 }]
      const bench = scene6({ services: [{ ...service6({ method: 'tun', protocol: 'udp' }), servers }] })
      const frames = framesOf(sendAll(bench, OUTSIDE, shuffled(fragmentsOf6(datagram(), 1460))))
      for (const frame of frames) t.equal(frame[nextHeaderAt], 41)
      const inner = frames.map((frame) => Uint8Array.of(...frame.subarray(0, 14), ...frame.subarray(14 + outerLength)))
      const expected = datagram({ ...macsToServer, hopLimit: 63 })
      if (outerLength === 20) expected.set([8, 0], 12)
      t.equal(hex(wholeOf6(inner)), hex(expected))
    }
  })
}

test('extension headers on either side of the fragment header are passed over', async (t) => {
  const bench = udp()
  const cases: [extensions: Extension[], unfragmentable: number][] = [
    [[destinationOptions], 0],
    [[hopByHop], 8],
    [[hopByHop, destinationOptions], 8],
  ]
  for (const [extensions, unfragmentable] of cases) {
    const sent = sendAll(bench, OUTSIDE, fragmentsOf6(datagram({ extensions }), 1500, 7, unfragmentable).toReversed())
    const expected = fragmentsOf6(udpToServer6({ payload: DATA, extensions }), 1500, 7, unfragmentable)
    t.same(sentHex(sent).toSorted(), expected.map((frame) => [INSIDE, hex(frame)]).toSorted())
  }
})

test('a fragment that is a whole packet is forwarded as one, and is of no datagram', async (t) => {
  const bench = udp()
  const atomic: Extension = [44, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 7)]
  const [other] = fragmentsOf6(datagram(), 1500, 7)
  bench.send(OUTSIDE, other)
  const sent = bench.send(OUTSIDE, clientUdp6({ payload: 'whole', extensions: [atomic] }))
  t.same(sentHex(sent), [[INSIDE, hex(udpToServer6({ payload: 'whole', extensions: [atomic] }))]])
  t.same(dropped(bench), [])
})

test('a datagram may be 65,535 bytes long behind the IPv6 header, other extension headers included', async (t) => {
  const bench = udp()
  t.equal(sendAll(bench, OUTSIDE, [fragment(0, 64, true), fragment(65_512, 23, false)]).length, 2)
  const payload = new Uint8Array(65_535 - 8 - 8)
  const longest = datagram({ payload, extensions: [hopByHop] })
  t.equal(sendAll(bench, OUTSIDE, fragmentsOf6(longest, 1500, 8, 8)).length, 46)
  t.same(dropped(bench), [])
})

test('fragments of a TCP segment follow it, and those of IPsec the key exchange', async (t) => {
  const bench = scene6()
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  const sent = sendAll(bench, OUTSIDE, fragmentsOf6(clientTcp6({ payload: DATA }), 1500).toReversed())
  t.equal(hex(wholeOf6(framesOf(sent))), hex(tcpToServer6({ payload: DATA })))

  const ike = service6({ protocol: 'udp' })
  const ipsec = scene6({ services: [{ ...ike, port: 500, servers: [{ ...ike.servers[0], port: 500 }] }] })
  ipsec.send(OUTSIDE, clientUdp6({ from: `[${CLIENT6_ADDRESS}]:500`, to: `[${VIP6}]:500` }))
  const client = { sourceMac: MAC.router, destinationMac: MAC.outside, from: CLIENT6_ADDRESS, to: VIP6 }
  const secrets = sendAll(ipsec, OUTSIDE, fragmentsOf6(ipv6Frame(client, 50, DATA, undefined), 1500).toReversed())
  const server = { ...macsToServer, from: CLIENT6_ADDRESS, to: SERVER1_ADDRESS6, hopLimit: 63 }
  t.equal(hex(wholeOf6(framesOf(secrets))), hex(ipv6Frame(server, 50, DATA, undefined)))
})

test('only the first fragment of a datagram that does not fit is answered, with the size that does', async (t) => {
  const ways: [name: string, mtu: number, scene: DirectorBench][] = [
    ['NAT', 1400, udp({ insideMtu: 1400 })],
    ['DR', 1400, udp({ method: 'dr', insideMtu: 1400 })],
    ['TUN', 1460, udp({ method: 'tun' })],
  ]
  for (const [name, mtu, bench] of ways) {
    const pieces = fragmentsOf6(datagram(), 1500)
    const sent = sendAll(bench, OUTSIDE, pieces)
    t.equal(sent.length, 2, `${name}: an answer, and the last fragment, which fits`)
    const [{ link, frame }] = sent
    t.equal(link, OUTSIDE)
    t.same([frame[20], frame[54], new DataView(frame.buffer, frame.byteOffset).getInt32(58)], [58, 2, mtu])
    t.equal(bench.drops.toObject()['too-big'], 2)
  }
  const bench = udp({ outsideMtu: 1400 })
  bench.send(OUTSIDE, clientUdp6())
  const replies = sendAll(bench, INSIDE, fragmentsOf6(serverUdp6({ payload: DATA }), 1500))
  t.same(
    replies.map(({ link, frame }) => [link, frame[20], frame[54]]),
    [
      [INSIDE, 58, 2],
      [OUTSIDE, 44, 17],
    ],
  )
})

const refused: [sentence: string, frames: Uint8Array[], drop: string][] = [
  ['a first fragment that ends within the UDP header', [fragment(0, 4, true)], 'bad-header'],
  ['a first fragment that ends within the TCP header', [fragment(0, 16, true, 6)], 'fragment-tiny'],
  [
    'a first fragment that ends in front of the UDP header',
    fragmentsOf6(datagram({ extensions: [destinationOptions] }), 56).slice(0, 1),
    'fragment-tiny',
  ],
  ['a fragment before others that is no multiple of eight', [fragment(0, 63, true)], 'bad-header'],
  ['a fragment that ends behind the longest packet', [fragment(65_512, 24, false)], 'bad-header'],
  ['an empty fragment', [fragment(64, 0, false)], 'bad-header'],
  ['the same fragment twice', [fragment(0, 64, true), fragment(0, 64, true)], 'fragment-overlap'],
  [
    'a fragment over the end of another',
    [fragment(0, 64, true), fragment(64, 512, true), fragment(568, 64, true)],
    'fragment-overlap',
  ],
  ['a fragment over the first', [fragment(0, 512, true), fragment(256, 512, true)], 'fragment-overlap'],
  ['a fragment behind the last', [fragment(512, 64, false), fragment(1024, 64, true)], 'fragment-overlap'],
  [
    'a fragment that names another protocol and overlaps',
    [fragment(0, 512, true), fragment(256, 512, true, 6)],
    'fragment-overlap',
  ],
  ['a second end', [fragment(512, 64, false), fragment(1024, 64, false)], 'fragment-overlap'],
  ['a fragment of SCTP', [fragment(0, 64, true, 132)], 'fragment'],
  [
    'a fragment of ICMPv6',
    fragmentsOf6(icmpFrame6({ ...addresses(), type: 128, payload: DATA }), 1500).slice(0, 1),
    'fragment',
  ],
  ['a fragment of what is not forwarded', [fragment(0, 64, true, 47)], 'unsupported'],
]
for (const [sentence, frames, drop] of refused) {
  test(`${sentence} is dropped: ${drop}`, async (t) => {
    const bench = udp()
    sendAll(bench, OUTSIDE, frames)
    t.same(dropped(bench), [[drop, 1]])
  })
}

test('an error about a first fragment on its way to the server is the client’s, about its own', async (t) => {
  const bench = udp()
  const [first, second] = fragmentsOf6(datagram(), 1500)
  const sent = sendAll(bench, OUTSIDE, [first, second]).map(({ frame }) => packetOf(frame).slice(0, 200))
  const router = { sourceMac: MAC.server1, destinationMac: MAC.inside, from: SERVER1_ADDRESS6, to: CLIENT6_ADDRESS }
  const error = { type: 2, rest: 1400 }
  const [told] = bench.send(INSIDE, icmpFrame6({ ...router, ...error, payload: sent[0] }))
  const own = packetOf(fragmentsOf6(datagram({ hopLimit: 63 }), 1500)[0]).slice(0, 200)
  const client = { sourceMac: MAC.outside, destinationMac: MAC.router, from: VIP6, to: CLIENT6_ADDRESS, hopLimit: 63 }
  t.equal(hex(told.frame), hex(icmpFrame6({ ...client, ...error, payload: own })))
  t.same(bench.send(INSIDE, icmpFrame6({ ...router, ...error, payload: sent[1] })), [], 'a later one tells no ports')
})

test('a fragment whose first does not come is given up after 30 seconds', async (t) => {
  const bench = udp()
  const [first, second] = fragmentsOf6(datagram(), 1500)
  t.same(bench.send(OUTSIDE, second), [])
  bench.nowMs += 29_000
  bench.breathe()
  t.notOk(nothingIsHeld(bench))
  bench.nowMs += 2000
  bench.breathe()
  t.equal(bench.drops.toObject()['fragment-orphan'], 1)
  t.ok(nothingIsHeld(bench))
  t.equal(bench.send(OUTSIDE, first).length, 1, 'the first alone still finds its way')
})

test('fragments that follow a packet that was not forwarded, or a server that was removed, are dropped', async (t) => {
  const bench = udp()
  const pieces = fragmentsOf6(datagram({ to: `[${VIP6}]:9` }), 1500)
  sendAll(bench, OUTSIDE, [pieces[1], pieces[0], pieces[2]])
  t.equal(bench.drops.toObject()['fragment-orphan'], 2)
  t.ok(nothingIsHeld(bench))
  const [first, second] = fragmentsOf6(datagram(), 1500, 8)
  bench.send(OUTSIDE, first)
  bench.engine.services.set({ ...service6({ protocol: 'udp' }), servers: [] })
  t.same(bench.send(OUTSIDE, second), [])
  t.equal(bench.drops.toObject()['server-gone'], 1)
})

test('a fragment at its last hop is dropped, and only the first of a datagram is answered', async (t) => {
  const bench = udp()
  bench.send(OUTSIDE, fragmentsOf6(datagram(), 1500)[0])
  t.same(bench.send(OUTSIDE, fragmentsOf6(datagram({ hopLimit: 1 }), 1500)[1]), [])
  const [answer] = bench.send(OUTSIDE, fragmentsOf6(datagram({ hopLimit: 1 }), 1500, 8)[0])
  t.match(hex(answer.frame.subarray(54, 56)), '0300')
  t.equal(bench.drops.toObject()['ttl-exceeded'], 2)
})

test('fragments between hosts that are none of ours, or to a group, are the host’s', async (t) => {
  const bench = udp()
  for (const link of [OUTSIDE, INSIDE]) {
    t.same(sendAll(bench, link, fragmentsOf6(datagram({ to: '[2001:db8:1::99]:9' }), 1500)), [])
  }
  t.same(sendAll(bench, INSIDE, fragmentsOf6(serverUdp6({ payload: DATA }), 1500).toReversed()), [])
  t.same(sendAll(bench, OUTSIDE, fragmentsOf6(datagram({ destinationMac: '33:33:00:00:00:10' }), 1500)), [])
  t.same(dropped(bench), [])
  t.ok(nothingIsHeld(bench))
})

test('one sender cannot use up the room, whichever addresses of its network it takes', async (t) => {
  const bench = udp()
  for (let identification = 0; identification < 2000; identification++) {
    const from = `[2001:db8:c::${(identification % 64).toString(16)}]:5`
    bench.send(OUTSIDE, fragmentsOf6(datagram({ from }), 1500, identification)[1])
  }
  t.ok(bench.drops.toObject()['fragment-limit'] > 1900)
  t.ok(bench.engine.egress.poolUse.held <= 32)
  const other = fragmentsOf6(datagram({ from: '[2001:db8:d::7]:1' }), 1500)
  t.equal(sendAll(bench, OUTSIDE, other.toReversed()).length, 3)
})

test('datagrams that differ in a bit of their 32-bit identification, or in their family, are kept apart', async (t) => {
  const bench = scene6({
    services: [service6({ protocol: 'udp' }), service({ protocol: 'udp' })],
    addresses: [VIP6, VIP].map((address) => ({ address, link: OUTSIDE, state: 'active' as const })),
  })
  const names = [7, 7 | (1 << 31), 7 | (1 << 16)]
  const six = names.map((name) => fragmentsOf6(datagram(), 1500, name))
  const four = fragmentsOf(clientUdp({ payload: DATA, fragment: 0, identification: 7 }), 1500)
  const mixed = [2, 0, 1].flatMap((piece) => [...six.map((pieces) => pieces[piece]), four[piece]])
  t.equal(sendAll(bench, OUTSIDE, mixed).length, 12)
  t.same(dropped(bench), [])
  t.ok(nothingIsHeld(bench))
})

for (const seed of seeds(3)) {
  test(`datagrams cut and shuffled at random arrive whole (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const method = (['nat', 'tun', 'dr'] as const)[random.below(3)]
    const bench = udp({ method })
    for (let round = 0; round < 200; round++) {
      const payload = Uint8Array.from({ length: 1 + random.below(9000) }, () => random.below(256))
      const frames = fragmentsOf6(datagram({ payload }), 68 + random.below(1392), round)
      if (frames.length < 2 || frames.length > 30) continue
      for (let at = frames.length - 1; at > 0; at--) {
        const other = random.below(at + 1)
        const frame = frames[at]
        frames[at] = frames[other]
        frames[other] = frame
      }
      const sent = framesOf(sendAll(bench, OUTSIDE, frames)).map((frame) =>
        method === 'tun' ? Uint8Array.of(...frame.subarray(0, 14), ...frame.subarray(54)) : frame,
      )
      const expected =
        method === 'nat' ? udpToServer6({ payload }) : datagram({ payload, ...macsToServer, hopLimit: 63 })
      if (hex(wholeOf6(sent)) !== hex(expected)) t.fail(`round ${round}`)
    }
    t.ok(nothingIsHeld(bench))
  })
}

function addresses() {
  return { sourceMac: MAC.router, destinationMac: MAC.outside, from: CLIENT6_ADDRESS, to: VIP6 }
}

/** A fragment of a datagram: `length` bytes from `offset` on. */
function fragment(offset: number, length: number, more: boolean, protocol = 17): Uint8Array {
  const header: Extension = [44, Uint8Array.of(0, 0, offset >> 8, (offset & 0xff) | (more ? 1 : 0), 0, 0, 0, 7)]
  const message = new Uint8Array(length)
  message.set([0x0d, 0x80, 0, 80].slice(0, length))
  return ipv6Frame({ ...addresses(), extensions: [header] }, protocol, message, undefined)
}
