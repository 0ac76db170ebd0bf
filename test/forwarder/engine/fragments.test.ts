/** Fragments follow their first one, in whatever order they come, and do no harm otherwise. */
import { test } from 'tap'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { seededRandom, seeds } from '../../random.ts'
import type { DirectorBench, Sent } from '../../support/director-bench.ts'
import { checksumsAreRight, fragmentsOf, wholeOf } from '../../support/frames.ts'
import { hex } from '../../support/hex.ts'
import {
  clientTcp,
  clientUdp,
  INSIDE,
  MAC,
  OUTSIDE,
  type SceneOptions,
  scene,
  serverUdp,
  tunnelled,
  udpToClient,
  udpToServer,
  VIP,
} from '../../support/scene.ts'
import { trafficOf } from '../../support/traffic-counts.ts'

const DATA = Uint8Array.from({ length: 4000 }, (_, index) => index * 5)
const datagram = (fields: Parameters<typeof clientUdp>[0] = {}) =>
  clientUdp({ payload: DATA, fragment: 0, identification: 7, ...fields })
const udp = (options: SceneOptions = {}) => scene({ protocol: 'udp', ...options })

const sendAll = (bench: DirectorBench, link: string, frames: readonly Uint8Array[]): Sent[] =>
  frames.flatMap((frame) => bench.send(link, frame))

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
  test(`NAT: a datagram in fragments reaches the server and the answer the client: ${sentence}`, async (t) => {
    const bench = udp()
    const request = fragmentsOf(datagram(), 1500)
    const toServer = sendAll(
      bench,
      OUTSIDE,
      order.map((index) => request[index]),
    )
    t.ok(toServer.every(({ link }) => link === INSIDE))
    const expected = udpToServer({ payload: DATA, fragment: 0, identification: 7 })
    t.equal(hex(wholeOf(toServer.map(({ frame }) => frame))), hex(expected))
    const reply = fragmentsOf(serverUdp({ payload: DATA, fragment: 0, identification: 8 }), 1500)
    const toClient = sendAll(
      bench,
      INSIDE,
      order.map((index) => reply[index]),
    )
    const answer = udpToClient({ payload: DATA, fragment: 0, identification: 8 })
    t.equal(hex(wholeOf(toClient.map(({ frame }) => frame))), hex(answer))
    const bytes = 28 + DATA.length
    t.same(trafficOf(bench), { inPackets: 1, inBytes: bytes, outPackets: 1, outBytes: bytes }, 'counted as one packet')
    t.ok(nothingIsHeld(bench))
    t.ok(Object.values(bench.drops.toObject()).every((count) => count === 0))
  })

  test(`DR: a datagram in fragments reaches the server as it is: ${sentence}`, async (t) => {
    const bench = udp({ method: 'dr' })
    const pieces = fragmentsOf(datagram(), 1500)
    const sent = sendAll(
      bench,
      OUTSIDE,
      order.map((index) => pieces[index]),
    )
    const macs = { sourceMac: MAC.inside, destinationMac: MAC.server1 }
    t.equal(hex(wholeOf(sent.map(({ frame }) => frame))), hex(datagram({ ...macs, ttl: 63 })))
  })

  test(`TUN: each fragment travels in a packet of its own: ${sentence}`, async (t) => {
    const bench = udp({ method: 'tun' })
    const pieces = fragmentsOf(datagram(), 1480)
    const sent = sendAll(
      bench,
      OUTSIDE,
      order.map((index) => pieces[index]),
    )
    const inner = sent.map(({ frame }) => Uint8Array.from([...frame.subarray(0, 14), ...frame.subarray(34)]))
    const macs = { sourceMac: MAC.inside, destinationMac: MAC.server1 }
    t.equal(hex(wholeOf(inner)), hex(datagram({ ...macs, ttl: 63 })))
    for (const { frame } of sent) t.equal(frame[23], 4)
  })
}

test('TUN: a fragment that does not fit with the outer header is cut once more, outside', async (t) => {
  const bench = udp({ method: 'tun' })
  const [first] = fragmentsOf(datagram(), 1500)
  const sent = bench.send(OUTSIDE, first)
  t.equal(sent.length, 2)
  const whole = wholeOf(sent.map(({ frame }) => frame))
  const [expected] = fragmentsOf(datagram({ ttl: 63 }), 1500)
  t.equal(hex(whole), hex(tunnelled(expected, { fragment: 0, identification: 1 })))
})

test('a fragment that does not fit on a narrower link is cut once more', async (t) => {
  for (const method of ['nat', 'dr'] as const) {
    const bench = udp({ method, insideMtu: 1000 })
    const sent = sendAll(bench, OUTSIDE, fragmentsOf(datagram(), 1500))
    t.ok(sent.every(({ frame }) => frame.length <= 1014))
    const whole = wholeOf(sent.map(({ frame }) => frame))
    t.ok(checksumsAreRight(whole))
    t.equal(hex(whole.subarray(42)), hex(DATA))
  }
})

test('a whole packet that does not fit on a narrower link is cut, and one with DF is answered', async (t) => {
  const data = DATA.subarray(0, 1400)
  for (const method of ['nat', 'dr'] as const) {
    const bench = udp({ method, insideMtu: 1000 })
    const sent = bench.send(OUTSIDE, clientUdp({ payload: data, fragment: 0, identification: 3 }))
    t.equal(sent.length, 2)
    const whole = wholeOf(sent.map(({ frame }) => frame))
    t.ok(checksumsAreRight(whole))
    t.equal(hex(whole.subarray(42)), hex(data))
    const [answer] = bench.send(OUTSIDE, clientUdp({ payload: data }))
    t.match(hex(answer.frame.subarray(34, 42)), /^0304....000003e8$/)
  }
  const bench = udp({ outsideMtu: 1000 })
  bench.send(OUTSIDE, clientUdp())
  const replies = bench.send(INSIDE, serverUdp({ payload: data, fragment: 0, identification: 3 }))
  const expected = udpToClient({ payload: data, fragment: 0, identification: 3 })
  t.equal(hex(wholeOf(replies.map(({ frame }) => frame))), hex(expected))
})

test('options of the IP header that belong to the first fragment alone are not in the others', async (t) => {
  const bench = udp({ method: 'dr', insideMtu: 1000 })
  // Record route (7), then a security option (0x82), which every fragment has.
  const options = Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0x82, 4, 0xaa, 0xbb, 0)
  const sent = bench.send(OUTSIDE, withOptions(clientUdp({ payload: DATA.subarray(0, 1200), fragment: 0 }), options))
  t.equal(sent.length, 2)
  t.equal(hex(sent[0].frame.subarray(34, 46)), hex(options))
  t.equal(hex(sent[1].frame.subarray(34, 46)), '01010101010101' + '8204aabb' + '00')
})

test('fragments of a TCP segment follow it', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  const pieces = fragmentsOf(clientTcp({ payload: DATA, fragment: 0, identification: 9 }), 1500)
  const sent = sendAll(bench, OUTSIDE, pieces.toReversed())
  const whole = wholeOf(sent.map(({ frame }) => frame))
  t.ok(checksumsAreRight(whole))
  t.equal(hex(whole.subarray(54)), hex(DATA))
})

const refused: [sentence: string, frames: Uint8Array[], drop: string][] = [
  ['a first fragment that ends within the UDP header', [fragment(0, 0, true)], 'bad-header'],
  ['a first fragment that ends within the TCP header', [tcpFragment(0, 16, true)], 'fragment-tiny'],
  ['a second fragment that begins within the TCP header', [tcpFragment(8, 64, false)], 'fragment-tiny'],
  ['a fragment before others that is no multiple of eight', [fragment(0, 63, true)], 'bad-header'],
  ['a fragment that ends behind the longest packet', [fragment(65_512, 64, false)], 'bad-header'],
  ['the same fragment twice', [fragment(0, 64, true), fragment(0, 64, true)], 'fragment-overlap'],
  [
    'a fragment over the end of another',
    [fragment(0, 64, true), fragment(64, 512, true), fragment(568, 64, true)],
    'fragment-overlap',
  ],
  ['a fragment over the first', [fragment(0, 512, true), fragment(256, 512, true)], 'fragment-overlap'],
  ['a fragment behind the last', [fragment(512, 64, false), fragment(1024, 64, true)], 'fragment-overlap'],
  ['a second end', [fragment(512, 64, false), fragment(1024, 64, false)], 'fragment-overlap'],
  ['an end before what has come', [fragment(1024, 64, true), fragment(512, 64, false)], 'fragment-overlap'],
]
for (const [sentence, frames, drop] of refused) {
  test(`${sentence} is dropped: ${drop}`, async (t) => {
    const bench = scene({ protocol: frames[0][23] === 6 ? 'tcp' : 'udp' })
    sendAll(bench, OUTSIDE, frames)
    t.equal(bench.drops.toObject()[drop], 1)
    const others = Object.entries(bench.drops.toObject()).filter(([reason, count]) => count > 0 && reason !== drop)
    t.same(others, [])
  })
}

test('a fragment whose first does not come is given up after 30 seconds', async (t) => {
  const bench = udp()
  const [first, second] = fragmentsOf(datagram(), 1500)
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

test('fragments that follow a packet that was not forwarded are dropped', async (t) => {
  const bench = udp()
  const pieces = fragmentsOf(datagram({ to: `${VIP}:9` }), 1500)
  sendAll(bench, OUTSIDE, [pieces[1], pieces[0], pieces[2]])
  t.equal(bench.drops.toObject()['fragment-orphan'], 2)
  t.ok(nothingIsHeld(bench))
})

test('fragments that follow a server which was removed meanwhile are dropped', async (t) => {
  const bench = udp()
  const [first, second] = fragmentsOf(datagram(), 1500)
  bench.send(OUTSIDE, first)
  bench.engine.services.set({ protocol: 'udp', address: VIP, port: 80, scheduler: 'rr', servers: [] })
  t.same(bench.send(OUTSIDE, second), [])
  t.equal(bench.drops.toObject()['server-gone'], 1)
})

test('a fragment at its last hop is dropped, and only the first of a datagram is answered', async (t) => {
  const bench = udp()
  bench.send(OUTSIDE, fragmentsOf(datagram(), 1500)[0])
  t.same(bench.send(OUTSIDE, fragmentsOf(datagram({ ttl: 1 }), 1500)[1]), [])
  const [answer] = bench.send(OUTSIDE, fragmentsOf(datagram({ ttl: 1, identification: 8 }), 1500)[0])
  t.match(hex(answer.frame.subarray(34, 36)), '0b00')
  t.equal(bench.drops.toObject()['ttl-exceeded'], 2)
})

test('fragments of SCTP are dropped, since their checksum is of the whole packet', async (t) => {
  const bench = scene({ protocol: 'sctp' })
  t.same(bench.send(OUTSIDE, withProtocol(fragment(0, 64, true), 132)), [])
  t.equal(bench.drops.toObject().fragment, 1)
})

test('fragments between hosts that are none of ours are the host’s', async (t) => {
  const bench = udp()
  for (const link of [OUTSIDE, INSIDE]) {
    t.same(sendAll(bench, link, fragmentsOf(datagram({ to: '203.0.113.99:9' }), 1500)), [])
  }
  t.same(sendAll(bench, INSIDE, fragmentsOf(serverUdp({ payload: DATA, fragment: 0 }), 1500).toReversed()), [])
  t.ok(Object.values(bench.drops.toObject()).every((count) => count === 0))
  t.ok(nothingIsHeld(bench))
})

test('one sender can neither use up the room for datagrams nor that for fragments that wait', async (t) => {
  const bench = udp()
  for (let identification = 0; identification < 2000; identification++) {
    bench.send(OUTSIDE, fragmentsOf(datagram({ identification }), 1500)[1])
  }
  t.ok(bench.drops.toObject()['fragment-limit'] > 1900)
  t.ok(bench.engine.egress.poolUse.held <= 32)
  const other = fragmentsOf(datagram({ from: '203.0.113.8:1' }), 1500)
  t.equal(sendAll(bench, OUTSIDE, other.toReversed()).length, 3)
})

test('many senders together cannot keep a new datagram out, nor fill the pool', async (t) => {
  const bench = udp()
  for (let sender = 0; sender < 5000; sender++) {
    const from = `203.${sender >> 8}.${sender & 255}.1:9`
    bench.send(OUTSIDE, fragmentsOf(datagram({ from }), 1500)[1])
  }
  const { held, total } = bench.engine.egress.poolUse
  t.ok(held <= total / 4, `${held} of ${total} are held`)
  t.equal(sendAll(bench, OUTSIDE, fragmentsOf(datagram(), 1500)).length, 3)
})

test('a name is free again when its datagram has come whole', async (t) => {
  const bench = udp()
  for (let round = 0; round < 100; round++) {
    t.equal(sendAll(bench, OUTSIDE, fragmentsOf(datagram(), 1500)).length, 3)
  }
})

for (const seed of seeds(3)) {
  test(`datagrams cut and shuffled at random arrive whole (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const method = (['nat', 'tun', 'dr'] as const)[random.below(3)]
    const bench = udp({ method })
    for (let round = 0; round < 200; round++) {
      const payload = Uint8Array.from({ length: 1 + random.below(9000) }, () => random.below(256))
      const frames = fragmentsOf(datagram({ payload, identification: round }), 68 + random.below(1400))
      if (frames.length < 2 || frames.length > 30) continue
      for (let at = frames.length - 1; at > 0; at--) {
        const other = random.below(at + 1)
        const frame = frames[at]
        frames[at] = frames[other]
        frames[other] = frame
      }
      const sent = sendAll(bench, OUTSIDE, frames).map(({ frame }) =>
        method === 'tun' ? Uint8Array.from([...frame.subarray(0, 14), ...frame.subarray(34)]) : frame,
      )
      const whole = wholeOf(sent)
      if (!checksumsAreRight(whole) || hex(whole.subarray(42)) !== hex(payload)) t.fail(`round ${round}`)
    }
    t.ok(nothingIsHeld(bench))
  })
}

/** A fragment of a datagram: `length` bytes from `offset` on. */
function fragment(offset: number, length: number, more: boolean): Uint8Array {
  const frame = clientUdp({ payload: new Uint8Array(Math.max(0, length - 8)), fragment: wordOf(offset, more) })
  return length < 8 ? shortened(frame, length) : frame
}

function tcpFragment(offset: number, length: number, more: boolean): Uint8Array {
  const frame = clientTcp({ payload: new Uint8Array(Math.max(0, length - 20)), fragment: wordOf(offset, more) })
  return length < 20 ? shortened(frame, length) : frame
}

function wordOf(offset: number, more: boolean): number {
  return (more ? 0x2000 : 0) | (offset / 8)
}

/** Cut behind so many bytes of the transport header, with lengths that say so. */
function shortened(frame: Uint8Array, length: number): Uint8Array {
  return withLengths(frame.slice(0, 34 + length))
}

function withProtocol(frame: Uint8Array, protocol: number): Uint8Array {
  frame[23] = protocol
  return withLengths(frame)
}

function withOptions(frame: Uint8Array, options: Uint8Array): Uint8Array {
  const longer = Uint8Array.from([...frame.subarray(0, 34), ...options, ...frame.subarray(34)])
  longer[14] = 0x45 + options.length / 4
  return withLengths(longer)
}

/** IP length and header checksum made true. */
function withLengths(frame: Uint8Array): Uint8Array {
  const view = new DataView(frame.buffer)
  view.setUint16(16, frame.length - 14)
  view.setUint16(24, 0)
  let sum = 0
  for (let at = 14; at < 14 + (frame[14] & 15) * 4; at += 2) sum += view.getUint16(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  view.setUint16(24, ~sum & 0xffff)
  return frame
}
