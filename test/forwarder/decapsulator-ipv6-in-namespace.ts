/**
 * Part of decapsulator.test.ts, for IPv6 on either side of the tunnel. This host is a real server at 2001:db8:2::2 and 10.0.0.2. A
 * TUN device stands for its network: tunnel packets of a director are written to it.
 */
import { execFileSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { startDecapsulator, type TunnelEnd } from '../../forwarder/decapsulator.ts'
import { VNET_HEADER_LENGTH } from '../../forwarder/link/link.ts'
import { interfaceFacts } from '../../forwarder/sys/interface.ts'
import { allocateFrameMemory } from '../../forwarder/sys/memory.ts'
import { openTun } from '../../forwarder/sys/tun.ts'
import { parseIPv4, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum } from '../../protocol/packet/checksum.ts'
import { ETHERTYPE_IPV6 } from '../../protocol/packet/ethernet.ts'
import { ICMPV6_NEIGHBOUR_ADVERTISEMENT, ICMPV6_NEIGHBOUR_SOLICITATION } from '../../protocol/packet/icmpv6.ts'
import { IPV4_HEADER_LENGTH, writeIPv4 } from '../../protocol/packet/ipv4.ts'
import { PROTOCOL_FRAGMENT, pseudoHeaderSumIPv6, writeIPv6 } from '../../protocol/packet/ipv6.ts'
import { parseIPv6, readIPv6Text } from '../../protocol/packet/ipv6-address.ts'
import { NEIGHBOUR_FRAME_LENGTH, writeNeighbourFrame } from '../../protocol/packet/neighbour-discovery.ts'
import { TCP_ACK, TCP_SYN } from '../../protocol/packet/tcp.ts'
import { packetOf, udpFrame } from '../support/frames.ts'
import { tcpFrame6, udpFrame6 } from '../support/ipv6-frames.ts'
import { until } from '../until.ts'
import { openPlainPacketSocket } from './link/plain-packet-socket.ts'
import { createVethPair, ip } from './namespace.ts'

const [vip, vip6, client, client6] = ['198.51.100.1', '2001:db8:1::10', '192.0.2.9', '2001:db8:c::7']
const [director, director6, server, server6] = ['10.0.0.1', '2001:db8:2::1', '10.0.0.2', '2001:db8:2::2']
const GUE_PORT = 6080

ip('link set lo up')
const network = openTun('network0')
ip(`address add ${server}/24 dev network0\nroute add default dev network0`)
ip(`address add ${server6}/64 dev network0 nodad\n-6 route add default dev network0`)
const memory = allocateFrameMemory(65_536)
const { bytes } = memory

function write(packet: Uint8Array): void {
  bytes.set(packet)
  if (!network.write({ memory, start: 0, length: packet.length })) throw new Error('the kernel took no packet')
}

/** @param trafficClass of an outer IPv6 header */
function outerPacket(isIPv6: boolean, protocol: number, content: Uint8Array, trafficClass = 0): Uint8Array {
  const headerLength = isIPv6 ? 40 : IPV4_HEADER_LENGTH
  const packet = new Uint8Array(headerLength + content.length)
  packet.set(content, headerLength)
  if (isIPv6) {
    writeIPv6(packet, 0, {
      trafficClass,
      payloadLength: content.length,
      nextHeader: protocol,
      hopLimit: 64,
      source: parseIPv6(director6),
      destination: parseIPv6(server6),
    })
  } else {
    writeIPv4(packet, 0, {
      tos: 0,
      totalLength: packet.length,
      identification: 1,
      fragment: 0,
      ttl: 64,
      protocol,
      source: parseIPv4(director),
      destination: parseIPv4(server),
    })
  }
  return packet
}

/** A packet with a UDP and a GUE header in front of it; over IPv6 the UDP checksum is there. */
function gue(isIPv6: boolean, protocol: number, inner: Uint8Array): Uint8Array {
  const length = 12 + inner.length
  const ports = [0xc0, 1, GUE_PORT >> 8, GUE_PORT & 255]
  const content = Uint8Array.of(...ports, length >> 8, length & 255, 0, 0, 0, protocol, 0, 0, ...inner)
  const packet = outerPacket(isIPv6, 17, content)
  if (isIPv6) writeUint16(packet, 46, checksum(packet, 40, length, pseudoHeaderSumIPv6(packet, 0, 17, length)))
  return packet
}

const datagram = (isIPv6: boolean, port: number, payload: string, to = isIPv6 ? vip6 : vip) =>
  packetOf(
    isIPv6
      ? udpFrame6({ from: `[${client6}]:4000`, to: `[${to}]:${port}`, payload })
      : udpFrame({ from: `${client}:4000`, to: `${to}:${port}`, payload }),
  )

const ends: TunnelEnd[] = [
  { type: 'ipip', port: 0 },
  { type: 'gre', port: 0 },
  { type: 'gue', port: GUE_PORT },
]
/** By outer family and inner family: the packet in each kind of tunnel. */
const wrappings: [name: string, wrap: (outer: boolean, inner: boolean, packet: Uint8Array) => Uint8Array][] = [
  ['ipip', (outer, inner, packet) => outerPacket(outer, inner ? 41 : 4, packet)],
  [
    'gre',
    (outer, inner, packet) =>
      outerPacket(outer, 47, Uint8Array.of(0, 0, ...(inner ? [0x86, 0xdd] : [8, 0]), ...packet)),
  ],
  ['gue', (outer, inner, packet) => gue(outer, inner ? 41 : 4, packet)],
]

test('every kind of tunnel ends here over both families, around both', async (t) => {
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip, vip6], tunnels: ends })
  t.teardown(() => decapsulator.stop())
  let sent = 0
  for (const isInner6 of [false, true]) {
    const socket = createSocket(isInner6 ? 'udp6' : 'udp4')
    t.teardown(() => socket.close())
    await once(socket.bind(0, isInner6 ? vip6 : vip), 'listening')
    for (const isOuter6 of [false, true]) {
      for (const [name, wrap] of wrappings) {
        const text = `IPv${isInner6 ? 6 : 4} in IPv${isOuter6 ? 6 : 4} by ${name}`
        const arrived = once(socket, 'message')
        write(wrap(isOuter6, isInner6, datagram(isInner6, socket.address().port, text)))
        const [data, from] = await arrived
        t.equal(String(data), text)
        t.equal(from.address, isInner6 ? client6 : client)
        sent++
      }
    }
  }
  await until(() => decapsulator.counters().delivered === sent)
  t.same(decapsulator.counters().refused, { malformed: 0, 'not-virtual': 0, congestion: 0, 'device-refused': 0 })
})

test('a tunnel packet of IPv6 that came in fragments is taken apart whole', async (t) => {
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip6] })
  t.teardown(() => decapsulator.stop())
  const socket = createSocket('udp6')
  t.teardown(() => socket.close())
  await once(socket.bind(0, vip6), 'listening')
  const arrived = once(socket, 'message')
  const inner = datagram(true, socket.address().port, 'in two pieces'.padEnd(1400))
  for (const [from, to] of [
    [0, 1232],
    [1232, inner.length],
  ]) {
    const isMore = to < inner.length ? 1 : 0
    const header = [41, 0, (from | isMore) >> 8, (from | isMore) & 255, 0, 0, 0, 7]
    write(outerPacket(true, PROTOCOL_FRAGMENT, Uint8Array.of(...header, ...inner.subarray(from, to))))
  }
  const [data] = await arrived
  t.equal(String(data).trim(), 'in two pieces')
})

test('congestion marked on the outer IPv6 header is seen here', async (t) => {
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip6] })
  t.teardown(() => decapsulator.stop())
  write(outerPacket(true, 41, datagram(true, 9, 'cannot carry the mark'), 3))
  await until(() => decapsulator.counters().refused.congestion === 1)
})

test('a TCP connection to the VIP is opened, and is answered past the tunnel', async (t) => {
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip6], device: 'tunnel7' })
  t.teardown(() => decapsulator.stop())
  const listens = createServer()
  t.teardown(() => listens.close())
  listens.listen(0, vip6)
  await once(listens, 'listening')
  const { port } = listens.address() as { port: number }
  const syn = tcpFrame6({ from: `[${client6}]:4000`, to: `[${vip6}]:${port}`, flags: TCP_SYN, sequence: 1000 })
  write(outerPacket(true, 41, packetOf(syn)))
  for (;;) {
    const length = network.read(memory, 0)
    if (length >= 60 && bytes[0] >> 4 === 6 && readIPv6Text(bytes, 24) === client6) break
    await turn()
  }
  t.equal(readIPv6Text(bytes, 8), vip6)
  t.equal(bytes[53], TCP_SYN | TCP_ACK)
})

test('what is not for a VIP is refused, and no tunnel packet is answered with an error', async (t) => {
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip6], tunnels: ends })
  t.teardown(() => decapsulator.stop())
  while (network.read(memory, 0) > 0);
  for (const [, wrap] of wrappings) write(wrap(true, true, datagram(true, 9, 'for the server itself', server6)))
  await until(() => decapsulator.counters().refused['not-virtual'] === wrappings.length)
  for (let length = network.read(memory, 0); length > 0; length = network.read(memory, 0)) {
    const isError = bytes[0] >> 4 === 6 && bytes[6] === 58 && bytes[40] < 128
    t.notOk(isError)
  }
  t.equal(decapsulator.counters().delivered, 0)
})

test('the VIP is on the device, ready at once, even where IPv6 is off for new devices; and it goes with it', async (t) => {
  const addresses = () => execFileSync('ip', ['-6', 'address', 'show'], { encoding: 'utf8' })
  writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1')
  t.teardown(() => writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '0'))
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip6] })
  t.match(addresses(), `${vip6}/128 scope global`)
  t.notMatch(addresses(), 'tentative')
  await decapsulator.stop()
  t.notMatch(addresses(), vip6)
})

test('the kernel answers a solicitation for its own address and not for the VIP, and a VIP on another interface is warned of', async (t) => {
  createVethPair('net0', 'peer0')
  const own = '2001:db8:3::2'
  ip(`address add ${own}/64 dev net0 nodad`)
  const first = await startDecapsulator({ virtualAddresses: [vip6] })
  t.same(first.warnings, [])
  const peer = openPlainPacketSocket('peer0', ETHERTYPE_IPV6)
  t.teardown(() => peer.close())
  const answered = async () => {
    // Straight to the host, so that no group membership hides the solicitation from it.
    for (const target of [vip6, own]) peer.inject(solicitation(target))
    for (;;) {
      const frames = peer.take().map((taken) => taken.subarray(VNET_HEADER_LENGTH))
      const advertisement = frames.find((frame) => frame[20] === 58 && frame[54] === ICMPV6_NEIGHBOUR_ADVERTISEMENT)
      if (advertisement) return readIPv6Text(advertisement, 62)
      await turn()
    }
  }
  t.equal(await answered(), own)
  await first.stop()
  ip(`address add ${vip6}/128 dev net0 nodad`)
  const second = await startDecapsulator({ virtualAddresses: [vip6] })
  await second.stop()
  t.equal(second.warnings.length, 1)
  t.match(second.warnings[0], `ip address del ${vip6} dev net0`)
})

function solicitation(target: string): Uint8Array {
  const frame = new Uint8Array(NEIGHBOUR_FRAME_LENGTH)
  writeNeighbourFrame(frame, 0, {
    type: ICMPV6_NEIGHBOUR_SOLICITATION,
    flags: 0,
    source: parseIPv6('2001:db8:3::9'),
    destination: parseIPv6(target),
    target: parseIPv6(target),
    mac: interfaceFacts('peer0').mac,
    destinationMac: interfaceFacts('net0').mac,
  })
  return frame
}
