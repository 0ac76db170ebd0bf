/** IP tunnelling, packet in and packet out: the outer header, and what a network card can no longer do behind it. */
import { test } from 'tap'
import { VNET_GSO_UDP_L4 } from '../../../forwarder/link/link.ts'
import { readInt32, readUint16 } from '../../../protocol/packet/bytes.ts'
import { DONT_FRAGMENT } from '../../../protocol/packet/ipv4.ts'
import { TCP_ACK, TCP_CWR, TCP_FIN, TCP_PSH, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { checksumsAreRight, icmpFrame, packetOf } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import {
  CLIENT_ADDRESS,
  clientTcp,
  clientUdp,
  INSIDE,
  MAC,
  OUTSIDE,
  type OuterFields,
  type SceneOptions,
  scene,
  segmentationHeader,
  tunnelled,
  unfinish,
  unfinishedHeader,
  VIP,
} from '../../support/scene.ts'

const tun = (options: SceneOptions = {}) => scene({ method: 'tun', ...options })

const cases: [sentence: string, frame: Uint8Array, inner: Uint8Array, outer: OuterFields, options?: SceneOptions][] = [
  ['a packet travels inside another, which is as old as it after the hop', syn(), syn({ ttl: 63 }), { ttl: 63 }],
  ['the outer TTL follows the inner one', syn({ ttl: 2 }), syn({ ttl: 1 }), { ttl: 1 }],
  ['the type of service is copied', syn({ tos: 0xb8 }), syn({ tos: 0xb8, ttl: 63 }), { tos: 0xb8 }],
  [
    'a missing DF is copied, and what may be cut has a name',
    syn({ fragment: 0 }),
    syn({ fragment: 0, ttl: 63 }),
    { fragment: 0, identification: 1 },
  ],
  ['the identification is not', syn({ identification: 77 }), syn({ identification: 77, ttl: 63 }), {}],
  ['a datagram passes too', clientUdp({ payload: 'q' }), clientUdp({ payload: 'q', ttl: 63 }), {}, { protocol: 'udp' }],
  ['the longest packet that fits is 20 bytes shorter than the MTU', long(1480), long(1480, 63), {}],
]

for (const [sentence, frame, inner, outer, options] of cases) {
  test(sentence, async (t) => {
    const sent = tun(options).send(OUTSIDE, frame)
    t.same(sentHex(sent), [[INSIDE, hex(tunnelled(inner, outer))]])
  })
}

test('an unfinished checksum is finished before it disappears in the tunnel', async (t) => {
  for (const [protocol, frame, inner] of [
    ['tcp', syn({ payload: 'data' }), syn({ payload: 'data', ttl: 63 })],
    ['udp', clientUdp({ payload: 'data' }), clientUdp({ payload: 'data', ttl: 63 })],
  ] as const) {
    const [sent] = tun({ protocol }).send(OUTSIDE, unfinish(frame), unfinishedHeader(frame))
    t.equal(hex(sent.frame), hex(tunnelled(inner)))
    t.same(sent.vnetHeader, new Uint8Array(10), 'nothing is left to finish')
  }
})

test('a virtio header that points behind the frame is not believed', async (t) => {
  const bench = tun()
  const header = unfinishedHeader(syn())
  header[6] = 250
  t.same(bench.send(OUTSIDE, syn(), header), [])
  t.equal(bench.drops.toObject()['bad-header'], 1)
})

const SIZE = 1400
const DATA = 3 * SIZE + 100
const payload = Uint8Array.from({ length: DATA }, (_, index) => index * 13)

test('a large frame goes through the tunnel as the segments that the card would have cut', async (t) => {
  const bench = tun()
  bench.send(OUTSIDE, syn())
  const flags = TCP_ACK | TCP_PSH | TCP_FIN | TCP_CWR
  const frame = clientTcp({ payload, flags, sequence: 0xfffffff0, identification: 0xfffe })
  const sent = bench.send(OUTSIDE, unfinish(frame), segmentationHeader(frame, SIZE))
  const expected = [0, 1, 2, 3].map((number) =>
    tunnelled(
      clientTcp({
        payload: payload.subarray(number * SIZE, (number + 1) * SIZE),
        sequence: (0xfffffff0 + number * SIZE) | 0,
        identification: (0xfffe + number) & 0xffff,
        flags: TCP_ACK | (number === 0 ? TCP_CWR : 0) | (number === 3 ? TCP_PSH | TCP_FIN : 0),
        ttl: 63,
      }),
    ),
  )
  t.same(
    sent.map((each) => hex(each.frame)),
    expected.map(hex),
  )
  for (const each of sent) t.same(each.vnetHeader, new Uint8Array(10))
  const { free, held, total } = bench.engine.egress.poolUse
  t.same({ free, held }, { free: total, held: 0 }, 'the segments went back to the pool')
})

test('64 KiB go through the tunnel too', async (t) => {
  const bench = tun()
  bench.send(OUTSIDE, syn())
  const data = Uint8Array.from({ length: 65_535 - 40 }, (_, index) => index * 7)
  const frame = clientTcp({ payload: data })
  const sent = bench.send(OUTSIDE, unfinish(frame), segmentationHeader(frame, 1440))
  t.equal(sent.length, Math.ceil(data.length / 1440))
  t.same(Buffer.concat(sent.map((each) => each.frame.subarray(14 + 20 + 40))), Buffer.from(data))
  for (const each of sent) t.ok(checksumsAreRight(innerFrame(each.frame)))
  t.ok(sent.every((each, index) => readInt32(each.frame, 14 + 20 + 24) === 1 + index * 1440))
})

test('of large frames that come at once none is lost, though together they make more segments than the pool holds', async (t) => {
  const bench = tun()
  bench.send(OUTSIDE, syn())
  const frame = clientTcp({ payload: new Uint8Array(60_000) })
  const segments = Math.ceil(60_000 / 1440)
  const frames = Math.ceil((2 * bench.engine.egress.poolUse.total) / segments)
  for (let number = 0; number < frames; number++)
    bench.link(OUTSIDE).inject(unfinish(frame), segmentationHeader(frame, 1440))
  t.equal(bench.breathe().length, frames * segments)
  t.equal(bench.drops.toObject()['outbox-full'] ?? 0, 0)
})

test('a large frame for which the pool is too small is dropped whole', async (t) => {
  const bench = tun()
  bench.send(OUTSIDE, syn())
  const frame = clientTcp({ payload: new Uint8Array(60_000) })
  t.same(bench.send(OUTSIDE, unfinish(frame), segmentationHeader(frame, 10)), [])
  t.equal(bench.drops.toObject()['outbox-full'], 1)
  const { free, total } = bench.engine.egress.poolUse
  t.equal(free, total)
})

test('a large frame of datagrams goes through the tunnel as the datagrams that the card would have cut', async (t) => {
  const bench = tun({ protocol: 'udp' })
  const data = Uint8Array.from({ length: 2500 }, (_, index) => index * 11)
  const frame = clientUdp({ payload: data, identification: 0xffff })
  const header = segmentationHeader(frame, 1000)
  header[1] = VNET_GSO_UDP_L4
  const expected = [0, 1, 2].map((number) =>
    tunnelled(
      clientUdp({
        payload: data.subarray(number * 1000, (number + 1) * 1000),
        identification: (0xffff + number) & 0xffff,
        ttl: 63,
      }),
    ),
  )
  t.same(
    bench.send(OUTSIDE, unfinish(frame), header).map((each) => hex(each.frame)),
    expected.map(hex),
  )
})

test('a large frame of a kind that nobody here cuts is dropped', async (t) => {
  const bench = tun({ protocol: 'udp' })
  const frame = clientUdp({ payload: new Uint8Array(5000) })
  const header = segmentationHeader(frame, 1000)
  header[1] = 3 // VIRTIO_NET_HDR_GSO_UDP
  t.same(bench.send(OUTSIDE, unfinish(frame), header), [])
  t.equal(bench.drops.toObject().unsupported, 1)
})

const tooLong: [sentence: string, frame: Uint8Array, header: Uint8Array | undefined, mtu: number][] = [
  ['a packet that does not fit with its outer header', long(1481), undefined, 1480],
  ['segments that do not fit', long(20_000), segmentationHeader(long(20_000), 1441), 1480],
]
for (const [sentence, frame, header, mtu] of tooLong) {
  test(`${sentence}: the client is told the MTU`, async (t) => {
    const bench = tun()
    const sent = bench.send(OUTSIDE, header ? unfinish(frame) : frame, header)
    const quoted = packetOf(header ? unfinish(frame) : frame).subarray(0, 576 - 28)
    const expected = icmpFrame({
      sourceMac: MAC.outside,
      destinationMac: MAC.router,
      from: VIP,
      to: CLIENT_ADDRESS,
      tos: 0xc0,
      fragment: 0,
      type: 3,
      code: 4,
      rest: mtu,
      payload: quoted,
    })
    t.same(sentHex(sent), [[OUTSIDE, hex(expected)]])
    t.equal(bench.drops.toObject()['too-big'], 1)
  })
}

function innerFrame(frame: Uint8Array): Uint8Array {
  const inner = frame.slice(20)
  inner.set(frame.subarray(0, 14))
  return inner.subarray(0, 14 + readUint16(inner, 16))
}

function syn(fields: Parameters<typeof clientTcp>[0] = {}): Uint8Array {
  return clientTcp({ flags: TCP_SYN, ...fields })
}

/** A SYN with so much data that the packet has that length. */
function long(packetLength: number, ttl = 64, fragment = DONT_FRAGMENT): Uint8Array {
  return syn({ payload: new Uint8Array(packetLength - 40).fill(0x61), ttl, fragment })
}
