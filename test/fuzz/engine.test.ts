/** 200,000 random and mutated frames; `npm run fuzz` takes 10 million. */
import { test } from 'tap'
import { seeds } from '../random.ts'
import { icmpFrame, tcpFrame, udpFrame } from '../support/frames.ts'
import { unfinish, unfinishedHeader } from '../support/scene.ts'
import { fuzz } from './fuzzer.ts'
import { fault, transportIsRight } from './judge.ts'

const FRAMES = 200_000
/** They take a flood, a setting or rare luck, and have tests of their own. */
const RARE_DROPS = [
  'icmp-limited',
  'outbox-full',
  'fragment-limit',
  'ftp-incomplete',
  'extension-headers',
  'drop-packet',
  'table-full',
  'unproved',
]
const noOffload = new Uint8Array(10)

for (const seed of seeds(1)) {
  test(`${FRAMES} frames neither throw nor leak nor come out malformed (SEED=${seed})`, async (t) => {
    const { sent, drops, evicted } = fuzz(seed, FRAMES)
    t.ok(sent > FRAMES / 20, `${sent} frames were sent`)
    t.ok(evicted > 0, 'the table was full at times')
    // The frames got everywhere: of nearly every reason to drop one there was one.
    const never = Object.keys(drops).filter((reason) => drops[reason] === 0)
    t.same(
      never.filter((reason) => !RARE_DROPS.includes(reason)),
      [],
    )
  })
}

test('the same seed gives the same run', async (t) => {
  t.same(fuzz(4711, 3000), fuzz(4711, 3000))
})

const good = [
  tcpFrame({ from: '1.2.3.4:5', to: '6.7.8.9:10', payload: 'odd' }),
  udpFrame({ from: '1.2.3.4:5', to: '6.7.8.9:10', payload: 'even' }),
  icmpFrame({ from: '1.2.3.4', to: '6.7.8.9', type: 8, payload: 'ping' }),
]
test('the judge finds nothing wrong with good frames, and something with each flipped bit behind the addresses', async (t) => {
  for (const frame of good) {
    t.equal(fault(noOffload, frame, 1500), undefined)
    t.ok(transportIsRight(noOffload, frame))
    for (let bit = 14 * 8; bit < frame.length * 8; bit++) {
      const bad = frame.slice()
      bad[bit >> 3] ^= 1 << (bit & 7)
      if (fault(noOffload, bad, 1500) === undefined && transportIsRight(noOffload, bad)) t.fail(`bit ${bit}`)
    }
  }
})

test('the judge knows unfinished checksums', async (t) => {
  for (const frame of good.slice(0, 2)) {
    t.ok(transportIsRight(unfinishedHeader(frame), unfinish(frame)))
    t.notOk(transportIsRight(unfinishedHeader(frame), frame))
    t.notOk(transportIsRight(noOffload, unfinish(frame)))
  }
})

test('the judge sees a frame that is too long, cut off, or from a group of machines', async (t) => {
  const [frame] = good
  t.equal(fault(noOffload, frame, frame.length - 15), 'longer than the MTU')
  t.match(fault(noOffload, frame.subarray(0, 50), 1500), /IP length/)
  t.match(
    fault(
      noOffload,
      frame.map((byte, index) => (index === 6 ? 1 : byte)),
      1500,
    ),
    /group/,
  )
})
