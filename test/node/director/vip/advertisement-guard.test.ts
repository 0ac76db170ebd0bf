/** Which advertisements of directors with authentication are new, whatever becomes of clocks and runs. */
import { test } from 'tap'
import { AdvertisementGuard } from '../../../../node/director/vip/advertisement-guard.ts'

const NOON_MS = 1_700_000_000_000
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

interface Heard {
  readonly run?: string
  /** Since the sender's run began. */
  readonly sentMs: number
  /** Of the receiver's clock that never jumps. */
  readonly atMs: number
  /** How far the wall clocks of both are from the truth, which is NOON at 0 of the receiver's clock. */
  readonly senderAheadMs?: number
  readonly receiverAheadMs?: number
  /** When it was sent in truth; when it is heard, unless given. */
  readonly trulySentMs?: number
}

function hear(guard: AdvertisementGuard, heard: Heard): string {
  const { run = 'a', sentMs, atMs, senderAheadMs = 0, receiverAheadMs = 0, trulySentMs = atMs } = heard
  const stamp = { run, sequence: sentMs * 10, sentAtMs: NOON_MS + trulySentMs + senderAheadMs }
  return guard.check(stamp, atMs, NOON_MS + atMs + receiverAheadMs) ?? 'believed'
}

const cases: readonly [sentence: string, heard: readonly (readonly [Heard, outcome: string])[]][] = [
  [
    'of an unknown run, what is of the last 30 s by the wall clock is believed',
    [
      [{ run: 'a', sentMs: 5, atMs: DAY_MS }, 'believed'],
      [{ run: 'b', sentMs: 5, atMs: DAY_MS, senderAheadMs: 30_000 }, 'believed'],
      [{ run: 'c', sentMs: 5, atMs: DAY_MS, senderAheadMs: -30_000 }, 'believed'],
      [{ run: 'd', sentMs: 5, atMs: DAY_MS, senderAheadMs: 30_001 }, 'clock'],
      [{ run: 'e', sentMs: 5, atMs: DAY_MS, senderAheadMs: -30_001 }, 'clock'],
    ],
  ],
  [
    'what was heard is not believed again, nor what was sent before it',
    [
      [{ sentMs: 5, atMs: 100 }, 'believed'],
      [{ sentMs: 5, atMs: 101 }, 'replay'],
      [{ sentMs: 4.9, atMs: 102 }, 'replay'],
      [{ sentMs: 5.1, atMs: 103 }, 'believed'],
    ],
  ],
  [
    'after a restart of the sender, what its run before had sent is still known',
    [
      [{ run: 'before', sentMs: 1000, atMs: 1000 }, 'believed'],
      [{ run: 'after', sentMs: 1, atMs: 2000 }, 'believed'],
      [{ run: 'before', sentMs: 1000, atMs: 3000, trulySentMs: 1000 }, 'replay'],
      [{ run: 'after', sentMs: 50, atMs: 3001 }, 'believed'],
    ],
  ],
  [
    'a sender whose wall clock was wrong before its restart is believed as soon as it is right',
    [
      [{ run: 'before', sentMs: 1000, atMs: 1000, senderAheadMs: 29_000 }, 'believed'],
      [{ run: 'after', sentMs: 1, atMs: 2000, senderAheadMs: -DAY_MS }, 'clock'],
      [{ run: 'after', sentMs: 51, atMs: 2050 }, 'believed'],
    ],
  ],
  [
    'a step of either wall clock changes nothing between two that know each other',
    [
      [{ sentMs: 5, atMs: 1000 }, 'believed'],
      [{ sentMs: 55, atMs: 1050, receiverAheadMs: DAY_MS }, 'believed'],
      [{ sentMs: 105, atMs: 1100, senderAheadMs: -DAY_MS }, 'believed'],
      [{ sentMs: 155 + HOUR_MS, atMs: 1150 + HOUR_MS, senderAheadMs: DAY_MS, receiverAheadMs: -DAY_MS }, 'believed'],
    ],
  ],
  [
    'what was held back for more than 30 s is not believed, and what comes after it in time is',
    [
      [{ sentMs: 5, atMs: 1000 }, 'believed'],
      [{ sentMs: 55, atMs: 31_100, trulySentMs: 1050 }, 'clock'],
      [{ sentMs: 156, atMs: 31_100, trulySentMs: 1151 }, 'believed'],
      [{ sentMs: 40_000, atMs: 40_995 }, 'believed'],
    ],
  ],
  [
    'what was heard stays known when the receiver’s wall clock is stepped back to the time of its sending',
    [
      [{ sentMs: HOUR_MS, atMs: HOUR_MS }, 'believed'],
      [{ sentMs: HOUR_MS, atMs: 2 * HOUR_MS, receiverAheadMs: -HOUR_MS, trulySentMs: HOUR_MS }, 'replay'],
    ],
  ],
  [
    'a sender that was suspended, its clock with it, is believed by the wall clock, and measured anew',
    [
      [{ sentMs: 5, atMs: 5 }, 'believed'],
      [{ sentMs: 10, atMs: HOUR_MS, receiverAheadMs: DAY_MS }, 'clock'],
      [{ sentMs: 11, atMs: HOUR_MS }, 'believed'],
      [{ sentMs: 61, atMs: HOUR_MS + 50, receiverAheadMs: DAY_MS }, 'believed'],
    ],
  ],
  [
    'a receiver that was suspended believes what comes in time from then on',
    [
      [{ sentMs: 5, atMs: 5 }, 'believed'],
      [{ sentMs: 55 + HOUR_MS, atMs: 55, receiverAheadMs: DAY_MS }, 'believed'],
      [{ sentMs: 105 + HOUR_MS, atMs: 105, receiverAheadMs: DAY_MS }, 'believed'],
      [{ sentMs: 106 + HOUR_MS, atMs: 30_200, receiverAheadMs: DAY_MS }, 'clock'],
    ],
  ],
]
for (const [sentence, heard] of cases) {
  test(sentence, async (t) => {
    const guard = new AdvertisementGuard()
    for (const [index, [one, outcome]] of heard.entries()) t.equal(hear(guard, one), outcome, `number ${index + 1}`)
  })
}

test('two clocks may drift apart as NTP lets them, for as long as they like', async (t) => {
  for (const drift of [1.001, 0.999]) {
    const guard = new AdvertisementGuard()
    hear(guard, { sentMs: 1, atMs: 1 })
    for (let atMs = HOUR_MS; atMs < 30 * DAY_MS; atMs += HOUR_MS) {
      const outcome = hear(guard, { sentMs: Math.round(atMs * drift), atMs, receiverAheadMs: DAY_MS })
      if (outcome !== 'believed') t.fail(`${outcome} after ${atMs / DAY_MS} days at ${drift}`)
    }
  }
})

test('who delays each advertisement a little more than the last gets no further than 30 s either', async (t) => {
  const guard = new AdvertisementGuard()
  hear(guard, { sentMs: 1, atMs: 1 })
  let atMs = 1
  for (let sentMs = 51; sentMs < 100_000; sentMs += 50) {
    atMs += 100
    if (hear(guard, { sentMs, atMs, trulySentMs: sentMs }) === 'clock') break
  }
  t.ok(atMs > 60_000 && atMs < 61_000, `${atMs}`)
})

test('runs are remembered in bounded number: the one that was silent longest makes room', async (t) => {
  const guard = new AdvertisementGuard()
  for (const run of ['first', 'second']) hear(guard, { run, sentMs: 1, atMs: 1 })
  for (let number = 0; number < 255; number++) {
    hear(guard, { run: 'first', sentMs: 2 + number, atMs: 2 + number })
    hear(guard, { run: `${number}`, sentMs: 1, atMs: 2 })
  }
  const late = { sentMs: 1, atMs: HOUR_MS, trulySentMs: 1 }
  t.equal(hear(guard, { ...late, run: 'first' }), 'replay')
  t.equal(hear(guard, { ...late, run: 'second' }), 'clock', 'by its time, since it is forgotten')
})
