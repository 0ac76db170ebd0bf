/** IPIP packets in, inner packets out. */
import { test } from 'tap'
import { AddressSet } from '../../forwarder/address-set.ts'
import { decapsulate } from '../../forwarder/decapsulate.ts'
import type { Frame } from '../../forwarder/link/link.ts'
import { formatIPv4, parseIPv4, readUint16, writeUint16 } from '../../protocol/packet/bytes.ts'
import { addBytes, checksum, fold, pseudoHeaderSum } from '../../protocol/packet/checksum.ts'
import {
  IPV4,
  MORE_FRAGMENTS,
  PROTOCOL_IPIP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  refreshIPv4Checksum,
  soundIPv4HeaderLength,
  writeIPv4,
} from '../../protocol/packet/ipv4.ts'
import { TCP } from '../../protocol/packet/tcp.ts'
import { UDP } from '../../protocol/packet/udp.ts'

const vip = '198.51.100.1'
const virtualAddresses = new AddressSet([vip])
const noPorts = new Set<number>()
const BEFORE = 64
const [INNER, TRANSPORT] = [BEFORE + 20, BEFORE + 40]

interface Shape {
  protocol?: number
  transportLength?: number
  destination?: string
  outerTos?: number
  innerTos?: number
  fragment?: number
  trailing?: number
}

function frame(bytes: Uint8Array, length: number): Frame {
  const memory = { bytes, view: new DataView(bytes.buffer), addressHigh: 0, addressLow: 0 }
  return { memory, start: BEFORE, length }
}

/** An IPIP packet whose transport checksum is finished; the transport's bytes are a pattern. */
function tunnelled(shape: Shape = {}): Frame {
  const { protocol = PROTOCOL_TCP, transportLength = 31, destination = vip, trailing = 0 } = shape
  const length = 40 + transportLength + trailing
  const bytes = new Uint8Array(BEFORE + length)
  const header = { identification: 7, ttl: 9, source: parseIPv4('192.0.2.9'), destination: parseIPv4(destination) }
  writeIPv4(bytes, INNER, {
    ...header,
    tos: shape.innerTos ?? 0,
    fragment: shape.fragment ?? 0,
    protocol,
    totalLength: 20 + transportLength,
  })
  writeIPv4(bytes, BEFORE, {
    ...header,
    tos: shape.outerTos ?? 0,
    fragment: 0,
    protocol: PROTOCOL_IPIP,
    totalLength: length,
  })
  for (let at = 0; at < transportLength; at++) bytes[TRANSPORT + at] = at * 37
  const field = TRANSPORT + (protocol === PROTOCOL_TCP ? TCP.checksum : UDP.checksum)
  writeUint16(bytes, field, 0)
  const pseudoHeader = pseudoHeaderSum(bytes, INNER, protocol, transportLength)
  writeUint16(bytes, field, checksum(bytes, TRANSPORT, transportLength, pseudoHeader))
  return frame(bytes, length)
}

function transportIsSound({ memory: { bytes }, start, length }: Frame): boolean {
  const pseudoHeader = pseudoHeaderSum(bytes, start, bytes[start + IPV4.protocol], length - 20)
  return fold(addBytes(pseudoHeader, bytes, start + 20, length - 20)) === 0xffff
}

test('the inner packet is what is left, untouched, its time to live included', async (t) => {
  const packet = tunnelled()
  const inner = packet.memory.bytes.slice(INNER)
  t.equal(decapsulate(packet, noPorts, virtualAddresses), undefined)
  t.same([packet.start, packet.length], [INNER, 51])
  t.same(packet.memory.bytes.slice(INNER), inner)
})

test('what hangs on after the inner packet is cut off', async (t) => {
  const packet = tunnelled({ trailing: 6 })
  t.equal(decapsulate(packet, noPorts, virtualAddresses), undefined)
  t.equal(packet.length, 51)
})

test('an outer header with options is stepped over', async (t) => {
  const plain = tunnelled()
  const bytes = new Uint8Array(plain.memory.bytes.length + 4)
  bytes.set(plain.memory.bytes.subarray(0, INNER))
  bytes.set(plain.memory.bytes.subarray(INNER), INNER + 4)
  bytes[BEFORE] = 0x46
  const packet = frame(bytes, plain.length + 4)
  t.equal(decapsulate(packet, noPorts, virtualAddresses), undefined)
  t.same([packet.start, packet.length], [INNER + 4, 51])
})

test('a packet for another address than a VIP is not let in', async (t) => {
  const packet = tunnelled({ destination: '10.0.0.2' })
  t.equal(decapsulate(packet, noPorts, virtualAddresses), 'not-virtual')
  t.equal(packet.start, BEFORE)
  t.equal(decapsulate(packet, noPorts, undefined), undefined, 'unless every address is')
})

const broken: [string, (bytes: Uint8Array, packet: Frame) => void][] = [
  ['nothing', (_, packet) => (packet.length = 0)],
  ['an outer header and nothing more', (_, packet) => (packet.length = 20)],
  ['an inner header cut short', (_, packet) => (packet.length = 39)],
  ['an inner packet cut short', (_, packet) => packet.length--],
  ['an outer header length beyond the packet', (bytes) => (bytes[BEFORE] = 0x4f)],
  ['an outer header length of nothing', (bytes) => (bytes[BEFORE] = 0x40)],
  ['an inner packet of IPv6', (bytes) => (bytes[INNER] = 0x65)],
  ['an inner header with a wrong checksum', (bytes) => (bytes[INNER + IPV4.ttl] ^= 1)],
  [
    'an inner length shorter than its header',
    (bytes) => {
      writeUint16(bytes, INNER + IPV4.totalLength, 19)
      refreshIPv4Checksum(bytes, INNER, 20)
    },
  ],
]
for (const [what, damage] of broken) {
  test(`${what} is malformed`, async (t) => {
    const packet = tunnelled()
    damage(packet.memory.bytes, packet)
    t.equal(decapsulate(packet, noPorts, virtualAddresses), 'malformed')
  })
}

test('no packet of random bytes is handed on as anything but a sound IPv4 packet', async (t) => {
  let seed = 20260726
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0
    return seed >>> 16
  }
  let unsound = 0
  let delivered = 0
  for (let round = 0; round < 20_000; round++) {
    const packet = tunnelled({ protocol: random() & 1 ? PROTOCOL_TCP : PROTOCOL_UDP })
    for (let change = random() % 3; change > 0; change--) {
      packet.memory.bytes[BEFORE + (random() % packet.length)] = random()
    }
    packet.length -= random() % 4 === 0 ? random() % (packet.length + 1) : 0
    if (decapsulate(packet, noPorts, virtualAddresses) !== undefined) continue
    delivered++
    const { bytes } = packet.memory
    const destination = formatIPv4(readUint16(bytes, packet.start + 16) * 65536 + readUint16(bytes, packet.start + 18))
    if (soundIPv4HeaderLength(packet.memory.view, packet.start, packet.length) === 0 || destination !== vip) unsound++
  }
  t.equal(unsound, 0)
  t.ok(delivered > 1000)
})

for (const protocol of [PROTOCOL_TCP, PROTOCOL_UDP]) {
  test(`an unfinished checksum of protocol ${protocol} is finished`, async (t) => {
    const finished = tunnelled({ protocol })
    const packet = tunnelled({ protocol })
    const { bytes } = packet.memory
    const field = TRANSPORT + (protocol === PROTOCOL_TCP ? TCP.checksum : UDP.checksum)
    writeUint16(bytes, field, fold(pseudoHeaderSum(bytes, INNER, protocol, 31)))
    t.equal(decapsulate(packet, noPorts, virtualAddresses), undefined)
    t.ok(transportIsSound(packet))
    t.same(bytes, finished.memory.bytes)
  })
}

test('a checksum that is wrong is not mended', async (t) => {
  const packet = tunnelled()
  packet.memory.bytes[TRANSPORT + 25] ^= 0x10
  t.equal(decapsulate(packet, noPorts, virtualAddresses), undefined)
  t.notOk(transportIsSound(packet))
})

test('a fragment is left as it is, for its first bytes may be data', async (t) => {
  const packet = tunnelled({ fragment: MORE_FRAGMENTS, transportLength: 32 })
  const { bytes } = packet.memory
  writeUint16(bytes, TRANSPORT + TCP.checksum, fold(pseudoHeaderSum(bytes, INNER, PROTOCOL_TCP, 32)))
  const before = bytes.slice()
  t.equal(decapsulate(packet, noPorts, virtualAddresses), undefined)
  t.same(bytes, before)
})

test('a UDP datagram without a checksum stays without one', async (t) => {
  const packet = tunnelled({ protocol: PROTOCOL_UDP })
  writeUint16(packet.memory.bytes, TRANSPORT + UDP.checksum, 0)
  t.equal(decapsulate(packet, noPorts, virtualAddresses), undefined)
  t.equal(readUint16(packet.memory.bytes, TRANSPORT + UDP.checksum), 0)
})

// RFC 6040, figure 4: rows are the inner field, the outer one is CE (3).
for (const [inner, expected] of [
  [1, 3],
  [2, 3],
  [3, 3],
]) {
  test(`congestion marked outside turns ${inner} inside into ${expected}`, async (t) => {
    const packet = tunnelled({ outerTos: 0xb8 | 3, innerTos: 0x28 | inner })
    t.equal(decapsulate(packet, noPorts, virtualAddresses), undefined)
    t.equal(packet.memory.bytes[INNER + IPV4.tos], 0x28 | expected)
    t.equal(soundIPv4HeaderLength(packet.memory.view, INNER, 51), 20)
  })
}

test('congestion marked outside drops a packet that cannot carry the mark', async (t) => {
  t.equal(decapsulate(tunnelled({ outerTos: 3, innerTos: 0 }), noPorts, virtualAddresses), 'congestion')
})
