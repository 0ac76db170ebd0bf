/** A SYN announces no more than the way can carry, where its service asks for that. */
import { test } from 'tap'
import type { TunnelSpec } from '../../../forwarder/service.ts'
import { checksum, pseudoHeaderSum } from '../../../protocol/packet/checksum.ts'
import { TCP_ACK, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { seededRandom, seeds } from '../../random.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { checksumsAreRight } from '../../support/frames.ts'
import { hex } from '../../support/hex.ts'
import {
  clientTcp,
  finish,
  INSIDE,
  OUTSIDE,
  type SceneOptions,
  scene,
  serverTcp,
  unfinish,
  unfinishedHeader,
} from '../../support/scene.ts'
import { openTunnel } from '../../support/tunnel-decoder.ts'

const MSS_1460 = [2, 4, 1460 >> 8, 1460 & 255]
const NO_OPERATION = 1
const OPTIONS = 54

/** The frame with TCP options, which come first in its payload, declared as such. */
function withOptions(frame: Uint8Array, length: number): Uint8Array {
  const copy = frame.slice()
  copy[46] = ((20 + length) / 4) << 4
  copy.fill(0, 50, 52)
  const sum = checksum(copy, 34, copy.length - 34, pseudoHeaderSum(copy, 14, 6, copy.length - 34))
  copy[50] = sum >> 8
  copy[51] = sum
  return copy
}

const synWith = (options: number[], flags = TCP_SYN) =>
  withOptions(clientTcp({ flags, payload: Uint8Array.from(options) }), options.length)
const synAckWith = (options: number[]) =>
  withOptions(serverTcp({ flags: TCP_SYN | TCP_ACK, payload: Uint8Array.from(options) }), options.length)
const clamping = (options: SceneOptions = {}): DirectorBench => scene({ mss: 'clamp', ...options })
const sizeOf = (frame: Uint8Array, at = OPTIONS + 2) => frame[at] * 256 + frame[at + 1]

const ways: [sentence: string, options: SceneOptions, size: number][] = [
  ['NAT: what the narrower of the two links carries', { insideMtu: 1400 }, 1360],
  ['NAT: also where that is the client’s', { outsideMtu: 1300 }, 1260],
  ['DR: what the link to the server carries', { method: 'dr', insideMtu: 1400 }, 1360],
  ['a way that carries all leaves the SYN as it is', { method: 'dr' }, 1460],
]
for (const [sentence, options, size] of ways) {
  test(sentence, async (t) => {
    const [sent] = clamping(options).send(OUTSIDE, synWith(MSS_1460))
    t.equal(sizeOf(sent.frame), size)
    t.ok(checksumsAreRight(sent.frame))
  })
}

const tunnels: [TunnelSpec['type'], TunnelSpec['checksum'], overhead: number][] = [
  ['ipip', 'none', 20],
  ['gre', 'none', 24],
  ['gre', 'plain', 28],
  ['gue', 'none', 32],
  ['gue', 'remote', 40],
]
for (const [type, option, overhead] of tunnels) {
  test(`TUN: what fits into a ${type} tunnel (${option})`, async (t) => {
    const tunnel = { type, port: 6080, checksum: option }
    const [sent] = clamping({ method: 'tun', tunnel }).send(OUTSIDE, synWith(MSS_1460))
    const inner = Uint8Array.from([...new Uint8Array(14), ...openTunnel(sent.frame).packet])
    t.equal(sizeOf(inner), 1460 - overhead)
    t.ok(checksumsAreRight(inner))
  })
}

test('NAT: the server’s answer is lowered too, and a SYN that is sent again', async (t) => {
  const bench = clamping({ insideMtu: 1400 })
  bench.send(OUTSIDE, synWith(MSS_1460))
  const [again] = bench.send(OUTSIDE, synWith(MSS_1460))
  t.equal(sizeOf(again.frame), 1360)
  const [answer] = bench.send(INSIDE, synAckWith(MSS_1460))
  t.equal(sizeOf(answer.frame), 1360)
  t.ok(checksumsAreRight(answer.frame))
})

test('what is no SYN keeps what it says, and so does a SYN of a service that does not ask', async (t) => {
  const bench = clamping({ insideMtu: 1400 })
  bench.send(OUTSIDE, synWith(MSS_1460))
  const [data] = bench.send(OUTSIDE, synWith(MSS_1460, TCP_ACK))
  t.equal(sizeOf(data.frame), 1460)
  const [sent] = scene({ insideMtu: 1400 }).send(OUTSIDE, synWith(MSS_1460))
  t.equal(sizeOf(sent.frame), 1460)
})

test('a service may begin to ask for it, and cease to', async (t) => {
  const bench = scene({ insideMtu: 1400 })
  const server = { address: '10.1.0.1', port: 8000, method: 'nat', weight: 1 } as const
  const spec = { protocol: 'tcp', address: '198.51.100.10', port: 80, scheduler: 'rr', servers: [server] } as const
  for (const [mss, size] of [
    ['clamp', 1360],
    [undefined, 1460],
  ] as const) {
    bench.engine.services.set({ ...spec, mss })
    t.equal(sizeOf(bench.send(OUTSIDE, synWith(MSS_1460))[0].frame), size)
  }
})

test('the option is found behind others, at odd places too, and a smaller one stays', async (t) => {
  for (const [before, after] of [
    [[NO_OPERATION], [0, 0, 0]],
    [
      [4, 2],
      [NO_OPERATION, NO_OPERATION],
    ],
    [[3, 3, 7], [NO_OPERATION]],
    [
      [8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
      [NO_OPERATION, NO_OPERATION],
    ],
  ]) {
    const bench = clamping({ insideMtu: 1400 })
    const [sent] = bench.send(OUTSIDE, synWith([...before, ...MSS_1460, ...after]))
    t.equal(sizeOf(sent.frame, OPTIONS + before.length + 2), 1360)
    t.ok(checksumsAreRight(sent.frame))
  }
  const [small] = clamping({ insideMtu: 1400 }).send(OUTSIDE, synWith([2, 4, 536 >> 8, 536 & 255]))
  t.equal(sizeOf(small.frame), 536)
})

test('a checksum that is still to be finished comes out right', async (t) => {
  const frame = synWith(MSS_1460)
  const [sent] = clamping({ insideMtu: 1400 }).send(OUTSIDE, unfinish(frame), unfinishedHeader(frame))
  t.equal(sizeOf(sent.frame), 1360)
  t.ok(checksumsAreRight(finish(sent.frame, sent.vnetHeader)))
})

test('options that make no sense are left as they are', async (t) => {
  for (const options of [
    [2, 0, 5, 0xb4],
    [2, 1, 5, 0xb4],
    [3, 0, 0, 0, ...MSS_1460],
    [0, 0, 0, 0, ...MSS_1460],
    [3, 60, 1, 1, ...MSS_1460],
    [1, 1, 2, 4],
    [2, 3, 5, 0xb4],
  ]) {
    const [sent] = clamping({ insideMtu: 1400 }).send(OUTSIDE, synWith(options))
    t.equal(hex(sent.frame.subarray(OPTIONS)), hex(Uint8Array.from(options)))
    t.ok(checksumsAreRight(sent.frame))
  }
})

for (const seed of seeds(1)) {
  test(`random options neither loop nor spoil a checksum (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const bench = clamping({ insideMtu: 1400 })
    const spoilt: number[][] = []
    for (let round = 0; round < 3000; round++) {
      const options = Array.from({ length: 4 * random.below(11) }, () => random.below(random.oneIn(2) ? 256 : 6))
      const [sent] = bench.send(OUTSIDE, synWith(options))
      if (!checksumsAreRight(sent.frame)) spoilt.push(options)
    }
    t.same(spoilt, [])
  })
}
