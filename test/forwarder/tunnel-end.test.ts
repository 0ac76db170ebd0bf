/** The far end of every kind of tunnel: what a director has wrapped up comes out as it went in. */
import { test } from 'tap'
import { decapsulate } from '../../forwarder/decapsulate.ts'
import type { Frame } from '../../forwarder/link/link.ts'
import type { TunnelSpec } from '../../forwarder/service.ts'
import { parseIPv4, readUint16, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum, fold, pseudoHeaderSum } from '../../protocol/packet/checksum.ts'
import { IPV4, refreshIPv4Checksum, soundIPv4HeaderLength } from '../../protocol/packet/ipv4.ts'
import { seededRandom, seeds } from '../random.ts'
import { checksumsAreRight, packetOf } from '../support/frames.ts'
import { hex } from '../support/hex.ts'
import { clientUdp, OUTSIDE, scene, unfinish, unfinishedHeader, VIP } from '../support/scene.ts'

const GUE_PORT = 6080
const guePorts = new Set([GUE_PORT])
const vips = new Set([parseIPv4(VIP)])
const BEFORE = 64
const specs: TunnelSpec[] = [
  { type: 'ipip', port: 0, checksum: 'none' },
  { type: 'gre', port: 0, checksum: 'none' },
  { type: 'gre', port: 0, checksum: 'plain' },
  { type: 'gue', port: GUE_PORT, checksum: 'none' },
  { type: 'gue', port: GUE_PORT, checksum: 'plain' },
  { type: 'gue', port: GUE_PORT, checksum: 'remote' },
]
const DATA = 'what is the time?'

/** A client's datagram in the tunnel, as it reaches the server: from the outer IP header on. */
function inTunnel(tunnel: TunnelSpec, isUnfinished = false): Frame {
  const frame = clientUdp({ payload: DATA })
  const bench = scene({ method: 'tun', protocol: 'udp', tunnel })
  const [sent] = isUnfinished
    ? bench.send(OUTSIDE, unfinish(frame), unfinishedHeader(frame))
    : bench.send(OUTSIDE, frame)
  const packet = packetOf(sent.frame)
  const bytes = new Uint8Array(BEFORE + packet.length)
  bytes.set(packet, BEFORE)
  const memory = { bytes, view: new DataView(bytes.buffer), addressHigh: 0, addressLow: 0 }
  return { memory, start: BEFORE, length: packet.length }
}

const inner = (packet: Frame) => packet.memory.bytes.subarray(packet.start, packet.start + packet.length)

for (const tunnel of specs) {
  const name = `${tunnel.type} (${tunnel.checksum})`
  test(`${name}: the packet comes out as it went in`, async (t) => {
    for (const isUnfinished of [false, true]) {
      const packet = inTunnel(tunnel, isUnfinished)
      t.equal(decapsulate(packet, guePorts, vips), undefined)
      t.equal(hex(inner(packet)), hex(packetOf(clientUdp({ payload: DATA, ttl: 63 }))))
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
      for (let at = 20; at < length; at++) {
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
          bytes[BEFORE + random.below(random.oneIn(2) ? packet.length : 40)] = random.below(256)
        }
        if (random.oneIn(4)) packet.length = random.below(packet.length + 1)
        if (decapsulate(packet, guePorts, vips) !== undefined) continue
        delivered++
        const end = packet.start + packet.length
        const isInside = packet.start >= BEFORE + 20 && end <= BEFORE + whole.length
        const isSound = soundIPv4HeaderLength(memory.view, packet.start, packet.length) !== 0
        const isForVip = vips.has(memory.view.getInt32(packet.start + IPV4.destination))
        if (!isInside || !isSound || !isForVip) t.fail(`round ${round}: ${hex(bytes.subarray(BEFORE))}`)
      }
      t.ok(delivered > 1000, `${delivered} came out`)
    })
  }
}

const [, gre, , gue, , remote] = specs
const refused: [sentence: string, tunnel: TunnelSpec, change: (bytes: Uint8Array, at: number) => void][] = [
  ['GRE with a key', gre, (bytes, at) => (bytes[at] = 0x20)],
  ['GRE of another version', gre, (bytes, at) => (bytes[at + 1] = 1)],
  ['GRE around something else than IPv4', gre, (bytes, at) => writeUint16(bytes, at + 2, 0x86dd)],
  ['a datagram to another port', gue, (bytes, at) => writeUint16(bytes, at + 2, 53)],
  ['GUE whose datagram is of another length', gue, (bytes, at) => writeUint16(bytes, at + 4, 40)],
  ['GUE of another variant', gue, (bytes, at) => (bytes[at + 8] = 0x40)],
  ['a GUE control message', gue, (bytes, at) => (bytes[at + 8] = 0x20)],
  ['GUE with flags that are not known', gue, (bytes, at) => writeUint16(bytes, at + 10, 0x8000)],
  ['GUE with a header longer than its flags say', gue, (bytes, at) => (bytes[at + 8] = 1)],
  ['GUE around something else than IPv4', gue, (bytes, at) => (bytes[at + 9] = 41)],
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
  const packet = inTunnel(specs[4])
  const { bytes } = packet.memory
  writeUint16(bytes, BEFORE + 26, fold(pseudoHeaderSum(bytes, BEFORE, 17, packet.length - 20)))
  t.equal(decapsulate(packet, guePorts, vips), undefined)
})

test('congestion marked outside is carried inside, in every kind of tunnel', async (t) => {
  for (const tunnel of specs) {
    const packet = inTunnel(tunnel)
    const { bytes } = packet.memory
    const at = BEFORE + packet.length - (28 + DATA.length)
    // The mark is made by a router, so no checksum of the tunnel is of it; that the inner packet can carry it, was there before.
    bytes[at + IPV4.tos] = 1
    refreshIPv4Checksum(bytes, at, 20)
    remakeTunnelChecksum(bytes, packet.length, tunnel)
    bytes[BEFORE + IPV4.tos] = 3
    refreshIPv4Checksum(bytes, BEFORE, 20)
    t.equal(decapsulate(packet, guePorts, vips), undefined)
    t.equal(inner(packet)[IPV4.tos], 3)
    t.ok(checksumsAreRight(Uint8Array.from([...new Uint8Array(14), ...inner(packet)])))
  }
})

function remakeTunnelChecksum(bytes: Uint8Array, length: number, { type, checksum: option }: TunnelSpec): void {
  if (option === 'none') return
  const field = BEFORE + 20 + (type === 'gre' ? 4 : 6)
  writeUint16(bytes, field, 0)
  const initial = type === 'gre' ? 0 : pseudoHeaderSum(bytes, BEFORE, 17, length - 20)
  writeUint16(bytes, field, checksum(bytes, BEFORE + 20, length - 20, initial))
  if (readUint16(bytes, field) === 0) writeUint16(bytes, field, 0xffff)
}
