/** Errors about tunnel packets, with either family outside and inside: the client learns of its own packet, in its own family. */
import { test } from 'tap'
import { icmpFrame, packetOf } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { fragmentsOf6, icmpFrame6 } from '../../support/ipv6-frames.ts'
import { CLIENT6_ADDRESS, clientTcp6, clientUdp6, INSIDE_SOURCE6, VIP6 } from '../../support/ipv6-scene.ts'
import { CLIENT_ADDRESS, clientTcp, clientUdp, INSIDE, INSIDE_SOURCE, MAC, OUTSIDE, VIP } from '../../support/scene.ts'
import {
  type Family,
  GUE_PORT,
  nameOf,
  outerLength,
  type TunnelKind,
  tunnelBench,
  tunnelKinds,
} from '../../support/tunnel-kinds.ts'

const MTU = 1400
const SYN = 2
const PAYLOAD = 'a question that is longer than what the way to the server carries'
const fromRouter = { sourceMac: MAC.server1, destinationMac: MAC.inside }
const toClient = { sourceMac: MAC.outside, destinationMac: MAC.router }

/** An error from a router on the servers' side about a packet of the director. */
function aboutOuter(outer: Family, type: number, code: number, rest: number, payload: Uint8Array): Uint8Array {
  return outer === 6
    ? icmpFrame6({ ...fromRouter, from: '2001:db8:2::77', to: INSIDE_SOURCE6, type, code, rest, payload })
    : icmpFrame({ ...fromRouter, from: '10.1.0.77', to: INSIDE_SOURCE, type, code, rest, payload })
}

/** What the client must get: an error from the virtual address about its own packet, which has come one hop. */
function aboutOwn(inner: Family, type: number, code: number, rest: number): Uint8Array {
  return inner === 6
    ? icmpFrame6({
        ...toClient,
        from: VIP6,
        to: CLIENT6_ADDRESS,
        trafficClass: 0xc0,
        type,
        code,
        rest,
        payload: packetOf(clientTcp6({ payload: PAYLOAD, hopLimit: 63 })),
      })
    : icmpFrame({
        ...toClient,
        from: VIP,
        to: CLIENT_ADDRESS,
        tos: 0xc0,
        fragment: 0,
        type,
        code,
        rest,
        payload: packetOf(clientTcp({ payload: PAYLOAD, ttl: 63 })),
      })
}

const open = (kind: TunnelKind) => {
  const bench = tunnelBench(kind, 'tcp')
  bench.send(OUTSIDE, kind.inner === 6 ? clientTcp6({ flags: SYN }) : clientTcp({ flags: SYN }))
  return bench
}

const packets = new Map<string, Uint8Array>()

/** The client's packet in its tunnel, from the outer IP header on. */
function inTunnel(kind: TunnelKind): Uint8Array {
  const frame = kind.inner === 6 ? clientTcp6({ payload: PAYLOAD }) : clientTcp({ payload: PAYLOAD })
  const packet = packets.get(nameOf(kind)) ?? packetOf(open(kind).send(OUTSIDE, frame)[0].frame)
  packets.set(nameOf(kind), packet)
  return packet
}

const overhead = (kind: TunnelKind) => inTunnel(kind).length - PAYLOAD.length - 20 - (kind.inner === 6 ? 40 : 20)
const tooBig: Record<Family, [type: number, code: number]> = { 4: [3, 4], 6: [2, 0] }

for (const kind of tunnelKinds) {
  test(`${nameOf(kind)}: the client learns which size fits into the tunnel`, async (t) => {
    const error = aboutOuter(kind.outer, ...tooBig[kind.outer], MTU, inTunnel(kind))
    const expected = aboutOwn(kind.inner, ...tooBig[kind.inner], MTU - overhead(kind))
    t.same(sentHex(open(kind).send(INSIDE, error)), [[OUTSIDE, hex(expected)]])
  })

  test(`${nameOf(kind)}: an error about another tunnel, or one that quotes too little, is the host’s`, async (t) => {
    const bench = open(kind)
    const about = (quoted: Uint8Array) => aboutOuter(kind.outer, ...tooBig[kind.outer], MTU, quoted)
    for (const other of tunnelKinds.filter(({ type, inner }) => type !== kind.type && inner === kind.inner)) {
      if (other.outer === kind.outer) t.same(bench.send(INSIDE, about(inTunnel(other))), [])
    }
    const elsewhere = inTunnel(kind).slice()
    elsewhere[outerLength(kind) - 1] ^= 1
    t.same(bench.send(INSIDE, about(elsewhere)), [], 'of another server')
    const enough = overhead(kind) + (kind.inner === 6 ? 48 : 28)
    for (let length = 0; length < enough; length++) {
      if (bench.send(INSIDE, about(inTunnel(kind).slice(0, length))).length > 0) t.fail(`quoting ${length} bytes`)
    }
    t.equal(bench.send(INSIDE, about(inTunnel(kind).slice(0, enough))).length, 1)
  })
}

const plain = (outer: Family, inner: Family): TunnelKind => ({ type: 'ipip', port: 0, checksum: 'none', inner, outer })
const other: [sentence: string, outer: Family, from: number[], expected: Record<Family, number[] | undefined>][] = [
  ['host unreachable', 4, [3, 1, 0], { 4: [3, 1, 0], 6: [1, 3, 0] }],
  ['protocol unreachable, from a server that knows no such tunnel', 4, [3, 2, 0], { 4: [3, 2, 0], 6: [1, 3, 0] }],
  ['time exceeded', 4, [11, 0, 0], { 4: [11, 0, 0], 6: [1, 3, 0] }],
  ['source quench', 4, [4, 0, 0], { 4: [4, 0, 0], 6: undefined }],
  ['a size that is not told', 4, [3, 4, 0], { 4: [3, 4, 0], 6: [2, 0, 1280] }],
  ['a size that nobody goes below', 4, [3, 4, 70], { 4: [3, 4, 68], 6: [2, 0, 1280] }],
  ['address unreachable', 6, [1, 3, 0], { 4: [3, 1, 0], 6: [1, 3, 0] }],
  ['hop limit exceeded', 6, [3, 0, 0], { 4: [3, 1, 0], 6: [1, 3, 0] }],
  ['an unknown header, from a server that knows no such tunnel', 6, [4, 1, 6], { 4: [3, 1, 0], 6: [1, 3, 0] }],
  ['a size that nobody goes below', 6, [2, 0, 1280], { 4: [3, 4, 1240], 6: [2, 0, 1280] }],
  ['a size beyond what IPv4 can say', 6, [2, 0, 0x7fff_ffff], { 4: [3, 4, 0xffff], 6: [2, 0, 0x7fff_ffff - 40] }],
]
for (const [sentence, outer, [type, code, rest], expected] of other) {
  for (const inner of [4, 6] as const) {
    test(`IPv${inner} in IPv${outer}: ${sentence}`, async (t) => {
      const kind = plain(outer, inner)
      const sent = open(kind).send(INSIDE, aboutOuter(outer, type, code, rest, inTunnel(kind)))
      const meaning = expected[inner]
      if (meaning === undefined) t.same(sent, [])
      else t.same(sentHex(sent), [[OUTSIDE, hex(aboutOwn(inner, meaning[0], meaning[1], meaning[2]))]])
    })
  }
}

test('IPv4 in IPv4: what a router can carry is told to all clients for ten minutes, and what may be cut is cut', async (t) => {
  const kind = plain(4, 4)
  const bench = open(kind)
  const from = `${CLIENT_ADDRESS}:3457`
  bench.send(OUTSIDE, clientTcp({ from, flags: SYN }))
  bench.send(INSIDE, aboutOuter(4, 3, 4, MTU, inTunnel(kind)))
  const payload = new Uint8Array(1380 - 39)
  const told = () => bench.send(OUTSIDE, clientTcp({ from, payload })).filter(({ link }) => link === OUTSIDE)
  t.same([...told()[0].frame.subarray(34, 36), ...told()[0].frame.subarray(40, 42)], [3, 4, 1380 >> 8, 1380 & 255])
  t.equal(bench.send(OUTSIDE, clientTcp({ from, payload: payload.subarray(1) }))[0].link, INSIDE)
  t.equal(bench.send(OUTSIDE, clientTcp({ from, payload, fragment: 0 })).length, 2, 'cut')
  bench.nowMs += 601_000
  t.same(told(), [])
})

test('no way of IPv4 is thought narrower than Linux thinks one, whatever is said of it', async (t) => {
  const kind = plain(4, 4)
  const bench = open(kind)
  bench.send(INSIDE, aboutOuter(4, 3, 4, 100, inTunnel(kind)))
  const link = (length: number) => bench.send(OUTSIDE, clientTcp({ payload: new Uint8Array(length - 40) }))[0].link
  t.same([link(532), link(533)], [INSIDE, OUTSIDE])
})

test('an error about a first fragment in a tunnel is the client’s, and about a later one the host’s', async (t) => {
  const kind = plain(6, 6)
  const bench = tunnelBench(kind, 'udp')
  const pieces = fragmentsOf6(clientUdp6({ payload: new Uint8Array(3000) }), 1460)
  const [first, second] = pieces.map((piece) => packetOf(bench.send(OUTSIDE, piece)[0].frame))
  const [told] = bench.send(INSIDE, aboutOuter(6, 2, 0, MTU, first.slice(0, 200)))
  t.match(hex(told.frame.subarray(54, 62)), /^0200....00000550$/)
  t.same(bench.send(INSIDE, aboutOuter(6, 2, 0, MTU, second.slice(0, 200))), [])
})

test('an error about a datagram to another port than the tunnel’s, or about a tunnel in a tunnel, is the host’s', async (t) => {
  for (const [inner, client] of [
    [4, clientUdp()],
    [6, clientUdp6()],
  ] as const) {
    const kind: TunnelKind = { type: 'gue', port: GUE_PORT, checksum: 'none', inner, outer: 6 }
    const bench = tunnelBench({ ...kind, port: GUE_PORT + 1 }, 'udp')
    const packet = packetOf(tunnelBench(kind, 'udp').send(OUTSIDE, client)[0].frame)
    bench.send(OUTSIDE, client)
    t.same(bench.send(INSIDE, aboutOuter(6, 2, 0, MTU, packet)), [])
    const nested = Uint8Array.of(...inTunnel(plain(6, 6)).subarray(0, 40), ...inTunnel(plain(6, inner)))
    t.same(bench.send(INSIDE, aboutOuter(6, 2, 0, MTU, nested)), [])
  }
})

test('more errors than may be sent are kept back and counted', async (t) => {
  const kind = plain(6, 4)
  const bench = open(kind)
  const error = aboutOuter(6, 2, 0, MTU, inTunnel(kind))
  let sent = 0
  for (let count = 0; count < 1200; count++) sent += bench.send(INSIDE, error).length
  t.equal(sent, 1000)
  t.equal(bench.drops.toObject()['icmp-limited'], 200)
})
