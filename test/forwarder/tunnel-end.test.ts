/** The far end of every kind of tunnel: what a director has wrapped up comes out as it went in. */
import { test } from 'tap'
import { AddressSet } from '../../forwarder/address-set.ts'
import { decapsulate } from '../../forwarder/decapsulate.ts'
import type { Frame } from '../../forwarder/link/link.ts'
import { readUint16, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum, fold, pseudoHeaderSum } from '../../protocol/packet/checksum.ts'
import { IPV4, refreshIPv4Checksum, soundIPv4HeaderLength } from '../../protocol/packet/ipv4.ts'
import { IPV6, pseudoHeaderSumIPv6, soundIPv6Length } from '../../protocol/packet/ipv6.ts'
import { seededRandom, seeds } from '../random.ts'
import { packetOf } from '../support/frames.ts'
import { hex } from '../support/hex.ts'
import { clientUdp6, unfinish6, unfinishedHeader6, VIP6 } from '../support/ipv6-scene.ts'
import { clientUdp, OUTSIDE, unfinish, unfinishedHeader, VIP } from '../support/scene.ts'
import {
  type Family,
  GUE_PORT,
  nameOf,
  outerLength,
  type TunnelKind,
  tunnelBench,
  tunnelKinds,
  tunnelSpecs,
} from '../support/tunnel-kinds.ts'

const guePorts = new Set([GUE_PORT])
const vips = new AddressSet([VIP, VIP6])
const BEFORE = 64
const DATA = 'what is the time?'

const clients = {
  4: { udp: clientUdp, unfinish, unfinishedHeader },
  6: { udp: clientUdp6, unfinish: unfinish6, unfinishedHeader: unfinishedHeader6 },
}
/** What the director forwards: one hop further on. */
const forwarded = (inner: Family) =>
  packetOf(inner === 6 ? clientUdp6({ payload: DATA, hopLimit: 63 }) : clientUdp({ payload: DATA, ttl: 63 }))

/** What a director has sent to its server, from the outer IP header on, by kind. */
const packets = new Map<string, Uint8Array>()

/** A client's datagram in the tunnel, as it reaches the server. */
function inTunnel(kind: TunnelKind, isUnfinished = false): Frame {
  const name = `${Object.values(kind)} ${isUnfinished}`
  const packet = packets.get(name) ?? throughDirector(kind, isUnfinished)
  packets.set(name, packet)
  const bytes = new Uint8Array(BEFORE + packet.length)
  bytes.set(packet, BEFORE)
  const memory = { bytes, view: new DataView(bytes.buffer), addressHigh: 0, addressLow: 0 }
  return { memory, start: BEFORE, length: packet.length }
}

function throughDirector(kind: TunnelKind, isUnfinished: boolean): Uint8Array {
  const client = clients[kind.inner]
  const frame = client.udp({ payload: DATA })
  const bench = tunnelBench(kind, 'udp')
  const [sent] = isUnfinished
    ? bench.send(OUTSIDE, client.unfinish(frame), client.unfinishedHeader(frame))
    : bench.send(OUTSIDE, frame)
  return packetOf(sent.frame)
}

const inner = (packet: Frame) => packet.memory.bytes.subarray(packet.start, packet.start + packet.length)

function isSoundForVip({ memory: { view }, start, length }: Frame): boolean {
  return view.getUint8(start) >> 4 === 6
    ? soundIPv6Length(view, start, length) === length && vips.hasIPv6(view, start + IPV6.destination)
    : soundIPv4HeaderLength(view, start, length) !== 0 && vips.hasIPv4(view, start + IPV4.destination)
}

for (const tunnel of tunnelKinds) {
  const name = nameOf(tunnel)
  test(`${name}: the packet comes out as it went in`, async (t) => {
    for (const isUnfinished of [false, true]) {
      const packet = inTunnel(tunnel, isUnfinished)
      t.equal(decapsulate(packet, guePorts, vips), undefined)
      t.equal(hex(inner(packet)), hex(forwarded(tunnel.inner)))
    }
  })

  test(`${name}: cut short anywhere it is malformed, and left as it is`, async (t) => {
    const { length } = inTunnel(tunnel)
    for (let cut = 0; cut < length; cut++) {
      const packet = inTunnel(tunnel)
      packet.length = cut
      t.equal(decapsulate(packet, guePorts, vips), 'malformed')
      t.same([packet.start, packet.length], [BEFORE, cut])
    }
  })

  if (tunnel.checksum !== 'none') {
    test(`${name}: a byte that was changed on the way is noticed`, async (t) => {
      const { length } = inTunnel(tunnel)
      for (let at = outerLength(tunnel); at < length; at++) {
        const packet = inTunnel(tunnel)
        packet.memory.bytes[BEFORE + at] ^= 0x55
        t.equal(decapsulate(packet, guePorts, vips), 'malformed')
      }
    })
  }

  for (const seed of seeds(1)) {
    test(`${name}: nothing but a sound packet for a VIP comes out of random bytes (SEED=${seed})`, async (t) => {
      const random = seededRandom(seed)
      const whole = inTunnel(tunnel, true)
      let delivered = 0
      for (let round = 0; round < 10_000; round++) {
        const bytes = whole.memory.bytes.slice()
        const memory = { ...whole.memory, bytes, view: new DataView(bytes.buffer) }
        const packet = { memory, start: whole.start, length: whole.length }
        for (let change = random.below(3); change > 0; change--) {
          bytes[BEFORE + random.below(random.oneIn(2) ? packet.length : outerLength(tunnel) + 20)] = random.below(256)
        }
        if (random.oneIn(4)) packet.length = random.below(packet.length + 1)
        if (decapsulate(packet, guePorts, vips) !== undefined) continue
        delivered++
        const end = packet.start + packet.length
        const isInside = packet.start >= BEFORE + 20 && end <= BEFORE + whole.length
        if (!isInside || !isSoundForVip(packet)) t.fail(`round ${round}: ${hex(bytes.subarray(BEFORE))}`)
      }
      t.ok(delivered > 1000, `${delivered} came out`)
    })
  }
}

const [gre, gue, remote] = [1, 3, 5].map((index): TunnelKind => ({ ...tunnelSpecs[index], inner: 4, outer: 4 }))
const ipip: TunnelKind = { ...tunnelSpecs[0], inner: 4, outer: 4 }
const refused: [sentence: string, tunnel: TunnelKind, change: (bytes: Uint8Array, at: number) => void][] = [
  ['GRE with a key', gre, (bytes, at) => (bytes[at] = 0x20)],
  ['GRE of another version', gre, (bytes, at) => (bytes[at + 1] = 1)],
  ['GRE around something else than an IP packet', gre, (bytes, at) => writeUint16(bytes, at + 2, 0x0806)],
  ['GRE that calls IPv4 IPv6', gre, (bytes, at) => writeUint16(bytes, at + 2, 0x86dd)],
  ['an outer header that calls IPv4 IPv6', ipip, (bytes) => (bytes[BEFORE + IPV4.protocol] = 41)],
  ['a datagram to another port', gue, (bytes, at) => writeUint16(bytes, at + 2, 53)],
  ['GUE whose datagram is of another length', gue, (bytes, at) => writeUint16(bytes, at + 4, 40)],
  ['GUE of another variant', gue, (bytes, at) => (bytes[at + 8] = 0x40)],
  ['a GUE control message', gue, (bytes, at) => (bytes[at + 8] = 0x20)],
  ['GUE with flags that are not known', gue, (bytes, at) => writeUint16(bytes, at + 10, 0x8000)],
  ['GUE with a header longer than its flags say', gue, (bytes, at) => (bytes[at + 8] = 1)],
  ['GUE around something else than an IP packet', gue, (bytes, at) => (bytes[at + 9] = 17)],
  ['GUE that calls IPv4 IPv6', gue, (bytes, at) => (bytes[at + 9] = 41)],
  ['a remote checksum whose field lies outside the packet', remote, (bytes, at) => writeUint16(bytes, at + 18, 60)],
  ['a remote checksum that begins behind its field', remote, (bytes, at) => writeUint16(bytes, at + 16, 28)],
  ['private flags that are not known', remote, (bytes, at) => (bytes[at + 12] = 0xc0)],
]
for (const [sentence, tunnel, change] of refused) {
  test(`${sentence} is malformed`, async (t) => {
    const packet = inTunnel(tunnel, true)
    const { bytes } = packet.memory
    change(bytes, BEFORE + 20)
    if (bytes[BEFORE + IPV4.protocol] === 17) writeUint16(bytes, BEFORE + 26, 0)
    t.equal(decapsulate(packet, guePorts, vips), 'malformed')
  })
}

test('a UDP checksum that the kernel left unfinished is right', async (t) => {
  for (const kind of tunnelKinds.filter(({ type, checksum: option }) => type === 'gue' && option === 'plain')) {
    const packet = inTunnel(kind)
    const { bytes } = packet.memory
    const length = packet.length - outerLength(kind)
    const sum = kind.outer === 6 ? pseudoHeaderSumIPv6 : pseudoHeaderSum
    writeUint16(bytes, BEFORE + outerLength(kind) + 6, fold(sum(bytes, BEFORE, 17, length)))
    t.equal(decapsulate(packet, guePorts, vips), undefined)
  }
})

test('congestion marked outside is carried inside, in every kind of tunnel', async (t) => {
  for (const kind of tunnelKinds) {
    const packet = inTunnel(kind)
    const { bytes } = packet.memory
    const at = BEFORE + packet.length - forwarded(kind.inner).length
    // The mark is made by a router, so no checksum of the tunnel is of it; that the inner packet can carry it, was there before.
    setCongestion(bytes, at, 1)
    remakeTunnelChecksum(bytes, packet.length, kind)
    setCongestion(bytes, BEFORE, 3)
    t.equal(decapsulate(packet, guePorts, vips), undefined)
    const expected = forwarded(kind.inner)
    setCongestion(expected, 0, 3)
    t.equal(hex(inner(packet)), hex(expected))
  }
})

test('congestion marked outside drops a packet that cannot carry the mark', async (t) => {
  for (const kind of tunnelKinds) {
    const packet = inTunnel(kind)
    setCongestion(packet.memory.bytes, BEFORE, 3)
    t.equal(decapsulate(packet, guePorts, vips), 'congestion')
    t.equal(packet.start, BEFORE)
  }
})

/** Of the packet at `ip`, whose mark was 0. */
function setCongestion(bytes: Uint8Array, ip: number, mark: number): void {
  if (bytes[ip] >> 4 === 6) {
    bytes[ip + 1] |= mark << 4
    return
  }
  bytes[ip + IPV4.tos] = mark
  refreshIPv4Checksum(bytes, ip, 20)
}

function remakeTunnelChecksum(bytes: Uint8Array, length: number, kind: TunnelKind): void {
  if (kind.checksum === 'none') return
  const tunnel = BEFORE + outerLength(kind)
  const field = tunnel + (kind.type === 'gre' ? 4 : 6)
  writeUint16(bytes, field, 0)
  const ofAddresses = kind.outer === 6 ? pseudoHeaderSumIPv6 : pseudoHeaderSum
  const initial = kind.type === 'gre' ? 0 : ofAddresses(bytes, BEFORE, 17, length - outerLength(kind))
  writeUint16(bytes, field, checksum(bytes, tunnel, length - outerLength(kind), initial))
  if (readUint16(bytes, field) === 0) writeUint16(bytes, field, 0xffff)
}
