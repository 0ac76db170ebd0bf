/** Tunnels between the families, packet in and packet out: 6-in-6, 4-in-6, 6-in-4, plain and by GRE and GUE. */
import { test } from 'tap'
import type { TunnelSpec } from '../../../forwarder/service.ts'
import { parseIPv4 } from '../../../protocol/packet/bytes.ts'
import { writeIPv4 } from '../../../protocol/packet/ipv4.ts'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { packetOf, wholeOf } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { icmpFrame6, ipv6Frame, wholeOf6 } from '../../support/ipv6-frames.ts'
import {
  CLIENT6_ADDRESS,
  clientTcp6,
  clientUdp6,
  INSIDE_SOURCE6,
  SERVER1_ADDRESS6,
  scene6,
  segmentationHeader6,
  service6,
  tcpToClient6,
  unfinish6,
  unfinishedHeader6,
  VIP6,
} from '../../support/ipv6-scene.ts'
import {
  clientTcp,
  clientUdp,
  INSIDE,
  INSIDE_SOURCE,
  MAC,
  OUTSIDE,
  SERVER1_ADDRESS,
  segmentationHeader,
  service,
  unfinish,
  VIP,
} from '../../support/scene.ts'

const toServer = { sourceMac: MAC.inside, destinationMac: MAC.server1 }
const text = 'GET / HTTP/1.0\r\n\r\n'

/** A service whose one server is at `address`, by a tunnel. */
function tunnelScene(
  address: string,
  options: { tunnel?: TunnelSpec; protocol?: 'tcp' | 'udp'; isIPv4?: boolean; insideMtu?: number } = {},
) {
  const { tunnel, protocol = 'tcp', isIPv4 = false, insideMtu } = options
  const spec = isIPv4 ? service({ method: 'tun', protocol }) : service6({ method: 'tun', protocol })
  const servers = [{ address, port: 80, method: 'tun' as const, weight: 1, tunnel }]
  return scene6({
    insideMtu,
    services: [{ ...spec, servers }],
    addresses: [{ address: isIPv4 ? VIP : VIP6, link: OUTSIDE, state: 'active' }],
  })
}

/** The frame in which `packet` travels to an IPv6 server, with `shim` in front of it. */
const in6 = (packet: Uint8Array, protocol: number, fields = {}, shim = new Uint8Array(0)) =>
  ipv6Frame(
    { ...toServer, from: INSIDE_SOURCE6, to: SERVER1_ADDRESS6, hopLimit: 63, ...fields },
    protocol,
    Uint8Array.of(...shim, ...packet),
    undefined,
  )

/** The frame in which `packet` travels to an IPv4 server. */
function in4(packet: Uint8Array, protocol: number, identification: number, tos = 0): Uint8Array {
  const frame = ipv6Frame({ ...toServer, from: '::', to: '::' }, 0, new Uint8Array(packet.length - 20), undefined)
  frame.set([8, 0], 12)
  writeIPv4(frame, 14, {
    tos,
    totalLength: 20 + packet.length,
    identification,
    fragment: 0,
    ttl: 63,
    protocol,
    source: parseIPv4(INSIDE_SOURCE),
    destination: parseIPv4(SERVER1_ADDRESS),
  })
  frame.set(packet, 34)
  return frame
}

test('IPv6 in IPv6: hop limit and traffic class are copied, the flow label is not', async (t) => {
  const fields = { flags: TCP_SYN, trafficClass: 0xb8, flowLabel: 0x12345 }
  const sent = tunnelScene(SERVER1_ADDRESS6).send(OUTSIDE, clientTcp6(fields))
  const expected = in6(packetOf(clientTcp6({ ...fields, hopLimit: 63 })), 41, { trafficClass: 0xb8 })
  t.same(sentHex(sent), [[INSIDE, hex(expected)]])
})

test('IPv4 in IPv6: a service of IPv4 with a server of IPv6', async (t) => {
  const bench = tunnelScene(SERVER1_ADDRESS6, { isIPv4: true })
  const sent = bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN, tos: 0x28 }))
  const expected = in6(packetOf(clientTcp({ flags: TCP_SYN, tos: 0x28, ttl: 63 })), 4, { trafficClass: 0x28 })
  t.same(sentHex(sent), [[INSIDE, hex(expected)]])
  t.equal([...bench.reader.connections()][0].serverAddress, SERVER1_ADDRESS6)
})

test('IPv6 in IPv4: a service of IPv6 with a server of IPv4, whose outer header may be cut', async (t) => {
  const bench = tunnelScene(SERVER1_ADDRESS)
  const fields = { flags: TCP_SYN, trafficClass: 0xb8 }
  for (const identification of [1, 2]) {
    const sent = bench.send(OUTSIDE, clientTcp6(fields))
    const expected = in4(packetOf(clientTcp6({ ...fields, hopLimit: 63 })), 41, identification, 0xb8)
    t.same(sentHex(sent), [[INSIDE, hex(expected)]])
  }
})

test('GRE names the family of what it carries', async (t) => {
  const tunnel = { type: 'gre', port: 0, checksum: 'none' } as const
  const syn6 = packetOf(clientTcp6({ flags: TCP_SYN, hopLimit: 63 }))
  const sixInSix = tunnelScene(SERVER1_ADDRESS6, { tunnel }).send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  t.same(sentHex(sixInSix), [[INSIDE, hex(in6(syn6, 47, {}, Uint8Array.of(0, 0, 0x86, 0xdd)))]])
  const fourInSix = tunnelScene(SERVER1_ADDRESS6, { tunnel, isIPv4: true }).send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  const syn4 = packetOf(clientTcp({ flags: TCP_SYN, ttl: 63 }))
  t.same(sentHex(fourInSix), [[INSIDE, hex(in6(syn4, 47, {}, Uint8Array.of(0, 0, 8, 0)))]])
  const sixInFour = tunnelScene(SERVER1_ADDRESS, { tunnel }).send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  t.same(sentHex(sixInFour), [[INSIDE, hex(in4(Uint8Array.of(0, 0, 0x86, 0xdd, ...syn6), 47, 1))]])
})

test('GUE over IPv6 has a right checksum when it is asked for, and the same source port for all of a flow', async (t) => {
  const tunnel = { type: 'gue', port: 6080, checksum: 'plain' } as const
  const bench = tunnelScene(SERVER1_ADDRESS6, { tunnel })
  const ports = new Set<number>()
  for (const payload of ['', 'odd', text]) {
    const fields = { flags: TCP_SYN, payload }
    const [{ frame }] = bench.send(OUTSIDE, clientTcp6(fields))
    ports.add((frame[54] << 8) | frame[55])
    const shim = frame.slice(54, 66)
    const [before, after] = [shim.slice(0, 6), shim.slice(8)]
    t.same([...after], [0, 41, 0, 0], 'GUE version 0, no options, IPv6 inside')
    const inner = packetOf(clientTcp6({ ...fields, hopLimit: 63 }))
    const message = Uint8Array.of(...before, 0, 0, ...after, ...inner)
    const expected = ipv6Frame(
      { ...toServer, from: INSIDE_SOURCE6, to: SERVER1_ADDRESS6, hopLimit: 63 },
      17,
      message,
      6,
    )
    t.equal(hex(frame), hex(expected))
  }
  t.equal(ports.size, 1)
})

test('an unfinished checksum is finished before it goes into a tunnel', async (t) => {
  const frame = clientTcp6({ flags: TCP_SYN, payload: 'odd' })
  const [sent] = tunnelScene(SERVER1_ADDRESS6).send(OUTSIDE, unfinish6(frame), unfinishedHeader6(frame))
  t.equal(hex(sent.frame), hex(in6(packetOf(clientTcp6({ flags: TCP_SYN, payload: 'odd', hopLimit: 63 })), 41)))
  t.ok(sent.vnetHeader.every((byte) => byte === 0))
})

for (const address of [SERVER1_ADDRESS6, SERVER1_ADDRESS]) {
  test(`a frame that the card was to cut is cut for the tunnel to ${address}`, async (t) => {
    const bench: DirectorBench = tunnelScene(address)
    bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
    const payload = Uint8Array.from({ length: 2500 }, (_, index) => index)
    const frame = clientTcp6({ payload, sequence: 1000, flags: TCP_ACK | TCP_PSH | TCP_FIN })
    const sent = bench.send(OUTSIDE, unfinish6(frame), segmentationHeader6(frame, 1200))
    const expected = [0, 1200, 2400].map((from) =>
      clientTcp6({
        payload: payload.slice(from, from + 1200),
        sequence: 1000 + from,
        flags: from === 2400 ? TCP_ACK | TCP_PSH | TCP_FIN : TCP_ACK,
        hopLimit: 63,
      }),
    )
    const outer = address === SERVER1_ADDRESS6 ? 40 : 20
    t.same(
      sent.map((one) => hex(one.frame.subarray(14 + outer))),
      expected.map((one) => hex(packetOf(one))),
    )
  })
}

test('a large datagram frame is cut for a tunnel too', async (t) => {
  const payload = new Uint8Array(3000).fill(3)
  const frame = clientUdp6({ payload })
  const bench = tunnelScene(SERVER1_ADDRESS6, { protocol: 'udp' })
  const sent = bench.send(OUTSIDE, unfinish6(frame), segmentationHeader6(frame, 1300))
  const expected = [1300, 1300, 400].map((length) => clientUdp6({ payload: payload.slice(0, length), hopLimit: 63 }))
  t.same(
    sentHex(sent),
    expected.map((one) => [INSIDE, hex(in6(packetOf(one), 41))]),
  )
})

test('what does not fit into the tunnel is told with the MTU that is left inside it', async (t) => {
  const large = clientTcp6({ flags: TCP_SYN, payload: new Uint8Array(1420) })
  for (const [address, left] of [
    [SERVER1_ADDRESS6, 1460],
    [SERVER1_ADDRESS, 1480],
  ] as const) {
    const [error] = tunnelScene(address).send(OUTSIDE, clientTcp6({ flags: TCP_SYN, payload: new Uint8Array(1440) }))
    t.equal(error.link, OUTSIDE)
    t.equal(error.frame[54], 2)
    t.equal(new DataView(error.frame.slice().buffer).getUint32(58), left)
  }
  t.equal(tunnelScene(SERVER1_ADDRESS).send(OUTSIDE, large)[0].link, INSIDE, 'it just fits')
  const [error4] = tunnelScene(SERVER1_ADDRESS6, { isIPv4: true }).send(
    OUTSIDE,
    clientTcp({ flags: TCP_SYN, payload: new Uint8Array(1440) }),
  )
  t.match(hex(error4.frame.subarray(34, 42)), /^0304....000005b4$/)
})

/** The tunnel packet of which these are the fragments. */
const wholeOfSent = (sent: { link: string; frame: Uint8Array }[]) => hex(wholeOf6(sent.map(({ frame }) => frame)))

test('an IPv4 packet without DF that does not fit into a tunnel of IPv6 travels in fragments of the outer packet', async (t) => {
  const bench = tunnelScene(SERVER1_ADDRESS6, { isIPv4: true, protocol: 'udp' })
  const payload = Uint8Array.from({ length: 1460 }, (_, index) => index * 7)
  for (const name of [1, 2]) {
    const sent = bench.send(OUTSIDE, clientUdp({ payload, fragment: 0 }))
    t.equal(sent.length, 2)
    for (const { link, frame } of sent) {
      t.equal(link, INSIDE)
      t.ok(frame.length <= 1514)
      t.equal(new DataView(frame.slice().buffer).getInt32(58), name, 'each packet has an identification of its own')
    }
    t.equal(wholeOfSent(sent), hex(in6(packetOf(clientUdp({ payload, fragment: 0, ttl: 63 })), 4)))
  }
})

test('with pmtu_disc off a packet with DF is cut as well, and so are segments that a card would have made too long', async (t) => {
  const bench = tunnelScene(SERVER1_ADDRESS6, { isIPv4: true })
  bench.engine.settings.pmtuDisc = 0
  const payload = new Uint8Array(1440)
  const sent = bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN, payload }))
  t.equal(wholeOfSent(sent), hex(in6(packetOf(clientTcp({ flags: TCP_SYN, payload, ttl: 63 })), 4)))
  const large = clientTcp({ payload: new Uint8Array(2880) })
  const pieces = bench.send(OUTSIDE, unfinish(large), segmentationHeader(large, 1440))
  t.equal(pieces.length, 4)
  for (const [number, sequence] of [1, 1441].entries()) {
    const segment = clientTcp({ payload, sequence, ttl: 63, identification: number })
    t.equal(wholeOfSent(pieces.slice(number * 2, number * 2 + 2)), hex(in6(packetOf(segment), 4)))
  }
})

test('an IPv6 packet that every link must carry is cut outside where the tunnel leaves less than that', async (t) => {
  const payload = new Uint8Array(1220)
  for (const [address, mtu] of [
    [SERVER1_ADDRESS6, 1300],
    [SERVER1_ADDRESS, 1290],
  ] as const) {
    const bench = tunnelScene(address, { insideMtu: mtu })
    const sent = bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN, payload }))
    t.equal(sent.length, 2)
    const inner = packetOf(clientTcp6({ flags: TCP_SYN, payload, hopLimit: 63 }))
    const frames = sent.map(({ frame }) => frame)
    if (address === SERVER1_ADDRESS6) t.equal(wholeOfSent(sent), hex(in6(inner, 41)))
    else t.equal(hex(wholeOf(frames)), hex(in4(inner, 41, 1)))
    const [error] = bench.send(OUTSIDE, clientTcp6({ payload: new Uint8Array(1221) }))
    t.same([error.frame[54], new DataView(error.frame.slice().buffer).getUint32(58)], [2, 1280], 'a longer one is told')
  }
})

test('what a router on the way to an IPv6 server can carry is kept to for ten minutes', async (t) => {
  const bench = tunnelScene(SERVER1_ADDRESS6, { isIPv4: true, protocol: 'udp' })
  const datagram = clientUdp({ payload: new Uint8Array(1300), fragment: 0 })
  const [whole] = bench.send(OUTSIDE, datagram)
  const router = { sourceMac: MAC.server1, destinationMac: MAC.inside, from: '2001:db8:2::77', to: INSIDE_SOURCE6 }
  bench.send(INSIDE, icmpFrame6({ ...router, type: 2, rest: 1300, payload: packetOf(whole.frame).slice(0, 1232) }))
  const sent = bench.send(OUTSIDE, datagram)
  t.ok(sent.length === 2 && sent.every(({ frame }) => frame.length <= 1314))
  t.equal(wholeOfSent(sent), hex(whole.frame))
  const [told] = bench.send(OUTSIDE, clientUdp({ payload: new Uint8Array(1300) }))
  t.match(hex(told.frame.subarray(34, 42)), /^0304....000004ec$/)
  // The director looks after its neighbours as well.
  const sendAgain = () => bench.send(OUTSIDE, datagram).filter(({ frame }) => frame[20] !== 58)
  bench.nowMs += 599_000
  t.equal(sendAgain().length, 2)
  bench.nowMs += 2000
  t.equal(sendAgain().length, 1)
})

test('an error about a reply follows it through the tunnel, and is not answered with another', async (t) => {
  const bench = tunnelScene(SERVER1_ADDRESS6)
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  const fields = { type: 2, rest: 1280, from: CLIENT6_ADDRESS, to: VIP6 }
  const macs = { sourceMac: MAC.router, destinationMac: MAC.outside }
  const payload = packetOf(tcpToClient6({ payload: new Uint8Array(100) }))
  const expected = in6(packetOf(icmpFrame6({ ...fields, payload, hopLimit: 63 })), 41)
  t.same(sentHex(bench.send(OUTSIDE, icmpFrame6({ ...fields, ...macs, payload }))), [[INSIDE, hex(expected)]])
  const huge = packetOf(tcpToClient6({ payload: new Uint8Array(1360) }))
  t.same(bench.send(OUTSIDE, icmpFrame6({ ...fields, ...macs, payload: huge })), [])
  t.equal(bench.drops.toObject()['too-big'], 1)
})

test('servers of the other family are taken by tunnels alone', async (t) => {
  for (const method of ['nat', 'dr'] as const) {
    const spec = { ...service6({ method }), servers: [{ address: SERVER1_ADDRESS, port: 80, method, weight: 1 }] }
    const bench = scene6({ services: [spec] })
    bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
    t.equal(bench.drops.toObject()['no-server'], 1)
  }
})

test('a SYN announces no more than fits into the tunnel, where the service asks for that', async (t) => {
  const spec = { ...service6({ method: 'tun' }), mss: 'clamp' as const }
  const bench = scene6({ services: [spec] })
  const syn = clientTcp6({ flags: TCP_SYN, payload: Uint8Array.of(2, 4, 5, 0xa0) })
  // An option instead of data: the header is one word longer.
  syn[14 + 40 + 12] = 6 << 4
  const [{ frame }] = bench.send(OUTSIDE, syn)
  const tcp = 14 + 40 + 40
  t.equal((frame[tcp + 22] << 8) | frame[tcp + 23], 1500 - 40 - 40 - 20)
})
