/** The timer wheel against a naive model: every connection ends in its time, whatever was done to its timeout before. */
import { test } from 'tap'
import { type ConnectionIndex, STATE, STATE_WORDS } from '../../../forwarder/table/connection-layout.ts'
import { TimerWheel } from '../../../forwarder/table/timer-wheel.ts'
import { seededRandom, seeds } from '../../random.ts'

const HORIZON = 8192
const NO_LIMIT = 1_000_000

class Bench {
  readonly states: Int32Array
  readonly wheel: TimerWheel
  readonly ended: number[] = []
  #tick: number

  constructor(count: number, tick: number) {
    this.states = new Int32Array((count + 1) * STATE_WORDS)
    this.wheel = new TimerWheel(this.states, tick)
    this.#tick = tick
  }

  setExpires(index: number, tick: number): void {
    this.states[index * STATE_WORDS + STATE.expires] = tick
  }

  file(index: number, expires: number): void {
    this.setExpires(index, expires)
    this.wheel.file(index as ConnectionIndex)
  }

  fileHalfOpen(index: number, expires: number, queue = 0): void {
    this.setExpires(index, expires)
    this.wheel.fileHalfOpen(index as ConnectionIndex, queue)
  }

  unfile(index: number): void {
    this.wheel.unfile(index as ConnectionIndex)
  }

  /** What ends when the time becomes `tick`. */
  advance(tick: number, budget = NO_LIMIT): number[] {
    const ended: number[] = []
    this.#tick = tick
    this.wheel.advance(this.#tick, budget, (index) => {
      this.unfile(index)
      ended.push(index)
    })
    return ended
  }
}

const ends: [sentence: string, ahead: number][] = [
  ['at once', 0],
  ['at the next tick', 1],
  ['in two ticks', 2],
  ['just before the horizon', HORIZON - 1],
  ['at the horizon', HORIZON],
  ['just behind the horizon', HORIZON + 1],
  ['far behind the horizon', 5 * HORIZON + 17],
]
for (const start of [0, 8191, 123_456]) {
  for (const [sentence, ahead] of ends) {
    test(`what expires ${sentence} ends at its tick, not before (from tick ${start})`, async (t) => {
      const bench = new Bench(1, start)
      const due = (start + Math.max(1, ahead)) | 0
      bench.file(1, (start + ahead) | 0)
      for (let tick = start | 0; tick !== due; tick = (tick + 1) | 0) {
        const ended = bench.advance(tick)
        if (ended.length > 0) return t.fail(`ended ${(due - tick) | 0} ticks too early`)
      }
      t.same(bench.advance(due), [1])
    })
  }
}

for (const seed of seeds(3)) {
  test(`random histories of a thousand timers agree with a list (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const count = 1000
    let tick = random.below(100_000)
    const bench = new Bench(count, tick)
    const expires = new Map<number, number>()
    const timeouts = [1, 2, 16, 79, 235, 469, 938, 2344, 7032, HORIZON, 3 * HORIZON]
    for (let step = 0; step < 20_000; step++) {
      const index = 1 + random.below(count)
      const until = tick + timeouts[random.below(timeouts.length)]
      const known = expires.get(index)
      if (known === undefined) bench.file(index, until)
      else if (random.oneIn(10)) {
        bench.unfile(index)
        expires.delete(index)
        continue
      } else if (until >= known) {
        bench.setExpires(index, until) // longer: written only
      } else {
        bench.unfile(index) // shorter: moved
        bench.file(index, until)
      }
      expires.set(index, until)
      if (!random.oneIn(20)) continue
      tick += random.oneIn(50) ? 2 * HORIZON + random.below(HORIZON) : random.below(200)
      const due = [...expires].filter(([, at]) => at <= tick).map(([index]) => index)
      for (const index of due) expires.delete(index)
      const ended = bench.advance(tick)
      // A plain comparison first: an assertion a step would be thousands.
      if (String(ended.sort(byNumber)) !== String(due.sort(byNumber))) return t.same(ended, due, `step ${step}`)
    }
    t.equal(bench.advance(Math.max(tick, ...expires.values())).length, expires.size, 'and the rest ends with its time')
  })
}

test('a crowd that ends together ends over several calls, each within its budget', async (t) => {
  const bench = new Bench(1000, 0)
  for (let index = 1; index <= 1000; index++) bench.file(index, 10)
  const ended: number[][] = []
  for (let call = 0; call < 11; call++) ended.push(bench.advance(10, 100))
  t.same(
    ended.map((each) => each.length),
    [100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 0],
  )
  t.equal(new Set(ended.flat()).size, 1000)
})

test('the budget also covers connections that only have to be filed again', async (t) => {
  const bench = new Bench(1000, 0)
  for (let index = 1; index <= 1000; index++) {
    bench.file(index, 10)
    bench.setExpires(index, 500)
  }
  bench.file(999, 500)
  let calls = 0
  for (let tick = 10; bench.advance(tick, 100).length === 0; tick = Math.min(500, tick + 1)) calls++
  t.ok(calls >= 10)
})

test('what was left over by a budget is not lost when more is filed meanwhile', async (t) => {
  const bench = new Bench(100, 0)
  for (let index = 1; index <= 50; index++) bench.file(index, 5)
  const ended = bench.advance(50, 10)
  for (let index = 51; index <= 100; index++) bench.file(index, 40)
  while (ended.length < 100) {
    const more = bench.advance(50, 10)
    if (more.length === 0) break
    ended.push(...more)
  }
  t.same(
    ended.sort(byNumber),
    Array.from({ length: 100 }, (_, index) => index + 1),
  )
})

test('half-open connections end in the order in which they came', async (t) => {
  const bench = new Bench(10, 0)
  for (let index = 1; index <= 10; index++) bench.fileHalfOpen(index, 100 + index)
  t.equal(bench.wheel.oldestHalfOpen, 1)
  t.same(bench.advance(100), [])
  t.same(bench.advance(103), [1, 2, 3])
  t.equal(bench.wheel.oldestHalfOpen, 4)
  t.same(bench.advance(1000, 2), [4, 5])
  t.same(bench.advance(1000), [6, 7, 8, 9, 10])
  t.equal(bench.wheel.oldestHalfOpen, 0)
})

test('a half-open connection can leave its queue from the head, the middle and the tail', async (t) => {
  for (const leaving of [1, 2, 3]) {
    const bench = new Bench(4, 0)
    for (const index of [1, 2, 3]) bench.fileHalfOpen(index, 100 + index)
    bench.unfile(leaving)
    bench.fileHalfOpen(4, 104)
    t.same(
      bench.advance(200),
      [1, 2, 3, 4].filter((index) => index !== leaving),
    )
    bench.fileHalfOpen(leaving, 300)
    t.same(bench.advance(300), [leaving], 'and the queue can be used again')
  }
})

test('half-open connections with different timeouts end in the order of their expiry', async (t) => {
  const bench = new Bench(6, 0)
  bench.fileHalfOpen(1, 160, 0)
  bench.fileHalfOpen(2, 220, 1)
  bench.fileHalfOpen(3, 104, 2)
  bench.fileHalfOpen(4, 161, 0)
  bench.fileHalfOpen(5, 105, 2)
  t.equal(bench.wheel.oldestHalfOpen, 3)
  t.same(bench.advance(104), [3])
  bench.unfile(5)
  bench.fileHalfOpen(6, 108, 2)
  t.same(bench.advance(160), [6, 1])
  t.same(bench.advance(220), [4, 2])
})

function byNumber(a: number, b: number): number {
  return a - b
}
