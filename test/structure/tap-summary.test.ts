/** What `npm test` shows of a run. */
import { test } from 'tap'
import { addCounts, failedCount, TapSummary } from '../tap-summary.ts'

const run = `TAP version 14
# Subtest: test/a.test.ts
    # Subtest: adds
        ok 1 - sum
        not ok 2 - difference
          ---
          diff: |
            -1
            +2
          ...
        1..2
    not ok 1 - adds # time=3ms
      ---
      at: somewhere
      ...
    ok 2 - links # SKIP no kernel support
    1..2
not ok 1 - test/a.test.ts # time=10ms
  ---
  exitCode: 1
  ...
# Subtest: test/b.test.ts
    1..0
not ok 2 - test/b.test.ts # time=10ms
  ---
  exitCode: 7
  ...
ok 3 - test/c.test.ts # time=1ms
1..3
# { total: 5, pass: 2, skip: 1, fail: 2 }
# time=30ms`

test('a run shows its files, its failed assertions in full, what was skipped, and why a file broke off', async (t) => {
  const summary = new TapSummary()
  const shown = run.split('\n').flatMap((line) => summary.read(line)?.trim() ?? [])
  t.strictSame(shown, [
    ...['not ok 2 - difference', '---', 'diff: |', '-1', '+2', '...'],
    'not ok 1 - adds # time=3ms',
    'ok 2 - links # SKIP no kernel support',
    'not ok 1 - test/a.test.ts # time=10ms',
    ...['not ok 2 - test/b.test.ts # time=10ms', '---', 'exitCode: 7', '...'],
    'ok 3 - test/c.test.ts # time=1ms',
  ])
  t.strictSame(summary.counts, { passed: 2, failed: 2, skipped: 1 })
})

test('a run that breaks off counts as a failure, and so does a bad exit status without one', async (t) => {
  t.strictSame(failedCount(undefined, 0), { passed: 0, failed: 1, skipped: 0 })
  t.strictSame(failedCount({ passed: 4, failed: 0, skipped: 0 }, 1), { passed: 4, failed: 1, skipped: 0 })
  t.strictSame(failedCount({ passed: 4, failed: 2, skipped: 1 }, 1), { passed: 4, failed: 2, skipped: 1 })
  t.strictSame(failedCount({ passed: 4, failed: 0, skipped: 0 }, 0), { passed: 4, failed: 0, skipped: 0 })
})

test('counts of two runs add up', async (t) => {
  const counts = addCounts({ passed: 1, failed: 2, skipped: 3 }, { passed: 10, failed: 20, skipped: 30 })
  t.strictSame(counts, { passed: 11, failed: 22, skipped: 33 })
})
