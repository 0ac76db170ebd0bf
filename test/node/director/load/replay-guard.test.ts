/** Which reports are new. */
import { test } from 'tap'
import { CLOCK_WINDOW_MS, ReplayGuard } from '../../../../node/director/load/replay-guard.ts'

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
