/**
 * Part of decapsulator.test.ts. This host is a real server at 10.0.0.2. A TUN device stands for its network: IPIP packets of
 * a director are written to it, and what the server answers to its clients is read from it.
 */
import { execFileSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { startDecapsulator } from '../../forwarder/decapsulator.ts'
import { allocateFrameMemory } from '../../forwarder/sys/memory.ts'
import { openTun } from '../../forwarder/sys/tun.ts'
import { parseIPv4, readInt32, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum, pseudoHeaderSum } from '../../protocol/packet/checksum.ts'
import { PROTOCOL_GRE } from '../../protocol/packet/gre.ts'
import {
  IPV4,
  PROTOCOL_ICMP,
  PROTOCOL_IPIP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  writeIPv4,
} from '../../protocol/packet/ipv4.ts'
import { TCP, TCP_ACK, TCP_PSH, TCP_SYN } from '../../protocol/packet/tcp.ts'
import { UDP } from '../../protocol/packet/udp.ts'
import { until } from '../until.ts'
import { ip } from './namespace.ts'

const [vip, client, director, server] = ['198.51.100.1', '192.0.2.9', '10.0.0.1', '10.0.0.2']
const CLIENT_PORT = 40_000
/** Of the inner packet; in front of it there is room for any tunnel's headers. */
const INNER = 60
const TRANSPORT = INNER + 20
const GUE_PORT = 6080
const STRICT = '1'

ip('link set lo up')
writeFileSync('/proc/sys/net/ipv4/conf/all/rp_filter', STRICT)
const network = openTun('network0')
ip(`address add ${server}/24 dev network0\nroute add default dev network0`)
const memory = allocateFrameMemory(65_536)
const { bytes } = memory

/** The outer protocol, and what stands between the two IP headers, in front of a packet of this length. */
const wrappings = {
  ipip: { protocol: PROTOCOL_IPIP, shim: (_: number): number[] => [] },
  gre: { protocol: PROTOCOL_GRE, shim: (_: number): number[] => [0, 0, 8, 0] },
  gue: {
    protocol: PROTOCOL_UDP,
    shim: (length: number): number[] => [
      ...[0xc0, 1, GUE_PORT >> 8, GUE_PORT & 255, (length + 12) >> 8, (length + 12) & 255, 0, 0],
      ...[0, 4, 0, 0],
    ],
  },
}
/** What the next packets are sent in. */
let wrapping = wrappings.ipip

/** Sends a tunnel packet whose transport header and data, without the checksum, are in place from TRANSPORT on. */
function sendTunnelled(protocol: number, checksumField: number, transportLength: number, destination = vip): void {
  const header = { tos: 0, identification: 1, fragment: 0, ttl: 64 }
  writeIPv4(bytes, INNER, {
    ...header,
    totalLength: 20 + transportLength,
    protocol,
    source: parseIPv4(client),
    destination: parseIPv4(destination),
  })
  writeUint16(bytes, TRANSPORT + checksumField, 0)
  const sum = checksum(bytes, TRANSPORT, transportLength, pseudoHeaderSum(bytes, INNER, protocol, transportLength))
  writeUint16(bytes, TRANSPORT + checksumField, sum)
  const shim = wrapping.shim(20 + transportLength)
  const start = INNER - shim.length - 20
  bytes.set(shim, INNER - shim.length)
  writeIPv4(bytes, start, {
    ...header,
    totalLength: 40 + shim.length + transportLength,
    protocol: wrapping.protocol,
    source: parseIPv4(director),
    destination: parseIPv4(server),
  })
  const length = 40 + shim.length + transportLength
  if (!network.write({ memory, start, length })) throw new Error('the kernel took no packet')
}

function sendDatagram(port: number, text: string, destination = vip): void {
  writeUint16(bytes, TRANSPORT + UDP.sourcePort, CLIENT_PORT)
  writeUint16(bytes, TRANSPORT + UDP.destinationPort, port)
  writeUint16(bytes, TRANSPORT + UDP.length, 8 + text.length)
  bytes.set(Buffer.from(text), TRANSPORT + 8)
  sendTunnelled(PROTOCOL_UDP, UDP.checksum, 8 + text.length, destination)
}

function sendSegment(port: number, flags: number, sequence: number, acknowledgement: number, text = ''): void {
  bytes.fill(0, TRANSPORT, TRANSPORT + 20)
  writeUint16(bytes, TRANSPORT + TCP.sourcePort, CLIENT_PORT)
  writeUint16(bytes, TRANSPORT + TCP.destinationPort, port)
  writeInt32(bytes, TRANSPORT + TCP.sequence, sequence)
  writeInt32(bytes, TRANSPORT + TCP.acknowledgement, acknowledgement)
  bytes[TRANSPORT + TCP.dataOffset] = 5 << 4
  bytes[TRANSPORT + TCP.flags] = flags
  writeUint16(bytes, TRANSPORT + TCP.window, 65_535)
  bytes.set(Buffer.from(text), TRANSPORT + 20)
  sendTunnelled(PROTOCOL_TCP, TCP.checksum, 20 + text.length)
}

/** The next packet that the server sends to the client, as offsets from 0 in `bytes`. */
async function answer(): Promise<void> {
  for (;;) {
    const length = network.read(memory, 0)
    if (length >= 40 && bytes[0] >> 4 === 4 && readInt32(bytes, IPV4.destination) === parseIPv4(client)) return
    await turn()
  }
}

function linkExists(name: string): boolean {
  return readFileSync('/proc/net/dev', 'utf8').includes(`${name}:`)
}

test('datagrams for the VIP arrive at a socket bound to it, from their client', async (t) => {
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip] })
  t.teardown(() => decapsulator.stop())
  t.equal(decapsulator.device, 'director0')
  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  socket.bind(0, vip)
  await once(socket, 'listening')
  const arrived = once(socket, 'message')
  sendDatagram(socket.address().port, 'who is there?')
  const [data, from] = await arrived
  t.equal(String(data), 'who is there?')
  t.match(from, { address: client, port: CLIENT_PORT })
  // The packet is counted when the kernel has taken it, and may have reached its socket before.
  await until(() => decapsulator.counters().delivered === 1)
  t.equal(decapsulator.counters().deliveredBytes, 41)
})

test('each kind of tunnel ends here that was asked for, and no other', async (t) => {
  const ends = {
    ipip: { type: 'ipip', port: 0 },
    gre: { type: 'gre', port: 0 },
    gue: { type: 'gue', port: GUE_PORT },
  } as const
  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  let isBound = false
  for (const kind of ['gre', 'gue'] as const) {
    const decapsulator = await startDecapsulator({ virtualAddresses: [vip], tunnels: [ends[kind], ends.ipip] })
    t.teardown(() => decapsulator.stop())
    // The VIP is the device's: the first decapsulator brings it, and a bound socket stays bound.
    if (!isBound) await once(socket.bind(0, vip), 'listening')
    isBound = true
    for (const wrapped of [kind, 'ipip'] as const) {
      wrapping = wrappings[wrapped]
      const arrived = once(socket, 'message')
      sendDatagram(socket.address().port, `by ${wrapped}`)
      t.equal(String((await arrived)[0]), `by ${wrapped}`)
    }
    wrapping = wrappings[kind === 'gre' ? 'gue' : 'gre']
    sendDatagram(socket.address().port, 'by the other')
    wrapping = wrappings.ipip
    const arrived = once(socket, 'message')
    sendDatagram(socket.address().port, 'by ipip again')
    t.equal(String((await arrived)[0]), 'by ipip again')
    await until(() => decapsulator.counters().delivered >= 3)
    await decapsulator.stop()
    t.equal(decapsulator.counters().delivered, 3)
  }
})

test('a datagram in a GUE tunnel is not answered with port unreachable; a port that is taken is named', async (t) => {
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip], tunnels: [{ type: 'gue', port: GUE_PORT }] })
  t.teardown(() => decapsulator.stop())
  // What the kernel said to packets of other tests is not what is looked for.
  while (network.read(memory, 0) > 0);
  wrapping = wrappings.gue
  sendDatagram(9, 'for the server itself', server)
  wrapping = wrappings.ipip
  await until(() => decapsulator.counters().refused['not-virtual'] === 1)
  for (let length = network.read(memory, 0); length > 0; length = network.read(memory, 0)) {
    t.not(bytes[IPV4.protocol], PROTOCOL_ICMP)
  }
  await t.rejects(
    startDecapsulator({ virtualAddresses: [vip], device: 'tunnel8', tunnels: [{ type: 'gue', port: GUE_PORT }] }),
    { code: 'SOCKET_BUSY', message: /UDP port 6080/ },
  )
})

test('a TCP connection to the VIP is opened and carries data, and is answered past the tunnel', async (t) => {
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip], device: 'tunnel7' })
  t.teardown(() => decapsulator.stop())
  const listens = createServer()
  t.teardown(() => listens.close())
  listens.listen(0, vip)
  await once(listens, 'listening')
  const { port } = listens.address() as { port: number }
  const accepted = once(listens, 'connection')

  sendSegment(port, TCP_SYN, 1000, 0)
  await answer()
  t.equal(bytes[20 + TCP.flags], TCP_SYN | TCP_ACK)
  t.equal(readInt32(bytes, IPV4.source), parseIPv4(vip))
  const acknowledgement = readInt32(bytes, 20 + TCP.sequence) + 1
  sendSegment(port, TCP_ACK | TCP_PSH, 1001, acknowledgement, 'GET /')
  const [connection] = (await accepted) as [Socket]
  t.teardown(() => connection.destroy())
  const [data] = await once(connection, 'data')
  t.equal(String(data), 'GET /')
})

test('what is not for a VIP is refused and counted', async (t) => {
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip] })
  t.teardown(() => decapsulator.stop())
  sendDatagram(9, 'for the server itself', server)
  await until(() => decapsulator.counters().refused['not-virtual'] === 1)
  t.equal(decapsulator.counters().delivered, 0)
})

test('stopping takes the device and the VIP away', async (t) => {
  const decapsulator = await startDecapsulator({ virtualAddresses: [vip] })
  const addresses = () => execFileSync('ip', ['address'], { encoding: 'utf8' })
  t.match(addresses(), `${vip}/32`)
  await decapsulator.stop()
  t.notOk(linkExists('director0'))
  t.notMatch(addresses(), vip)
  await decapsulator.stop()
})

test('a host that would answer ARP for the VIP is warned of, with the setting to make', async (t) => {
  const first = await startDecapsulator({ virtualAddresses: [vip] })
  await first.stop()
  t.equal(first.warnings.length, 1)
  t.match(first.warnings[0], /net\.ipv4\.conf\.network0\.arp_ignore=1 and net\.ipv4\.conf\.network0\.arp_announce=2/)
  writeFileSync('/proc/sys/net/ipv4/conf/all/arp_ignore', '1')
  writeFileSync('/proc/sys/net/ipv4/conf/all/arp_announce', '2')
  const second = await startDecapsulator({ virtualAddresses: [vip] })
  await second.stop()
  t.same(second.warnings, [])
})

test('a device that another process has open is named, and nothing is left behind', async (t) => {
  await t.rejects(startDecapsulator({ virtualAddresses: [vip], device: 'network0' }), {
    code: 'SOCKET_BUSY',
    message: /network0/,
  })
  await t.rejects(startDecapsulator({ virtualAddresses: [vip], device: 'a-name-far-too-long' }), {
    code: 'INTERFACE_MISSING',
  })
})

test('an address that cannot be put on the device stops the start, and the device goes', async (t) => {
  await t.rejects(startDecapsulator({ virtualAddresses: ['0.0.0.0.0'] }), {
    code: 'FORWARDER_FAILED',
    message: /0\.0\.0\.0\.0 cannot be put on director0/,
  })
  t.notOk(linkExists('director0'))
})
