/** Which reports are new. */
import { test } from 'tap'
import { CLOCK_WINDOW_MS, ReplayGuard } from '../../../../node/director/load/replay-guard.ts'
import { seededRandom } from '../../../random.ts'

const now = 1_760_000_000_000
const first = { runId: '0000000000000001', sequence: 5, timeMs: now }

test('a report is taken once', async (t) => {
  const guard = new ReplayGuard(3)
  t.equal(guard.check(first, now), undefined)
  t.equal(guard.check(first, now), 'replay')
})

test('numbers may be missing but not come again', async (t) => {
  const guard = new ReplayGuard(3)
  guard.check(first, now)
  t.equal(guard.check({ ...first, sequence: 9 }, now), undefined)
  t.equal(guard.check({ ...first, sequence: 8 }, now), 'replay')
})

test('an agent that starts again may count from 0', async (t) => {
  const guard = new ReplayGuard(3)
  guard.check(first, now)
  t.equal(guard.check({ ...first, runId: '0000000000000002', sequence: 0 }, now), undefined)
})

test('a clock may be off by the window in either direction, and not by more', async (t) => {
  const guard = new ReplayGuard(3)
  for (const [off, expected] of [
    [-CLOCK_WINDOW_MS - 1, 'clock'],
    [CLOCK_WINDOW_MS + 1, 'clock'],
    [-CLOCK_WINDOW_MS, undefined],
    [CLOCK_WINDOW_MS, undefined],
  ] as const) {
    t.equal(guard.check({ ...first, sequence: first.sequence + 1, runId: `${off}`, timeMs: now + off }, now), expected)
  }
})

test('when all remembered runs are live a further one waits, and nothing that was taken is taken again later', async (t) => {
  const guard = new ReplayGuard(3)
  for (let run = 0; run < 3; run++) guard.check({ ...first, runId: `run ${run}` }, now)
  t.equal(guard.check({ ...first, runId: 'one more' }, now), 'capacity')
  t.equal(guard.check({ ...first, runId: 'run 0', sequence: 6 }, now), undefined, 'a known run goes on')
  const later = now + 2 * CLOCK_WINDOW_MS + 1
  t.equal(guard.check({ ...first, runId: 'one more', timeMs: later }, later), undefined)
  t.equal(guard.check({ ...first, runId: 'run 1' }, later), 'clock', 'a forgotten run cannot be replayed')
})

test('an agent that counts from an earlier number again is heard when all that was taken of it is too old', async (t) => {
  const guard = new ReplayGuard(3)
  for (let second = 0; second < 10; second++) {
    guard.check({ ...first, sequence: 100 + second, timeMs: now + second * 1000 }, now + second * 1000)
  }
  const at = (ms: number, sequence: number, timeMs = ms) =>
    guard.check({ ...first, sequence, timeMs: now + timeMs }, now + ms)
  t.equal(at(39_000, 50), 'replay')
  t.equal(at(39_001, 50), undefined)
  t.equal(at(39_002, 50), 'replay')
  t.equal(at(39_003, 109, 9000), 'clock', 'what it said before cannot be said again')
  t.equal(at(40_000, 51), undefined)
})

test('whatever clocks do, nothing is taken twice', async (t) => {
  const random = seededRandom(3)
  const guard = new ReplayGuard(3)
  const sent: (typeof first)[] = []
  const taken = new Set<typeof first>()
  let twice = 0
  let [director, agent, sequence] = [now, now, 0]
  const check = (report: typeof first) => {
    if (guard.check(report, director) !== undefined) return
    if (taken.has(report)) twice++
    taken.add(report)
  }
  for (let step = 0; step < 20_000; step++) {
    const elapsed = random.below(2000)
    director += elapsed
    agent += elapsed
    if (random.oneIn(200)) director += random.below(200_000) - 100_000
    if (random.oneIn(100)) agent = director + random.below(80_000) - 40_000
    if (random.oneIn(50)) sequence = Math.max(0, sequence - random.below(60))
    const isSilent = step % 300 > 200
    if (!isSilent) sent.push({ ...first, sequence: sequence++, timeMs: agent })
    if (!isSilent && !random.oneIn(5)) check(sent.at(-1) as typeof first)
    check(sent[Math.max(0, sent.length - 1 - random.below(100))])
  }
  t.equal(twice, 0)
  t.ok(taken.size > 3000, `${taken.size} of ${sent.length} were taken`)
})
