/** When checks are made, on a clock and with a check of the test's own. */
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { Checker } from '../../../../node/director/health/checker.ts'
import type { CheckResult } from '../../../../node/director/health/tcp-check.ts'

const health = { intervalMs: 1000, timeoutMs: 500, rise: 2, fall: 3 }
const success: CheckResult = { outcome: 'success' }
const failure: CheckResult = { outcome: 'failure', reason: 'ECONNREFUSED' }
const [first, second] = [
  { address: '10.0.0.1', port: 80 },
  { address: '10.0.0.2', port: 80 },
]

interface Asked {
  key: string
  signal: AbortSignal
  answer: (result: CheckResult) => void
}

function checker(random = () => 0.5) {
  const asked: Asked[] = []
  const changes: unknown[][] = []
  const made = new Checker({
    health,
    random,
    check: (address, port, _timeoutMs, signal) =>
      new Promise((answer) => asked.push({ key: `${address}:${port}`, signal, answer })),
    onChange: (...change) => changes.push(change),
  })
  return { checker: made, asked, changes }
}

test('first checks are spread over an interval', async (t) => {
  const draws = [0.2, 0.9]
  const { checker: checks, asked } = checker(() => draws.shift() ?? 0.5)
  checks.setTargets([first, second], 0)
  checks.tick(199)
  t.equal(asked.length, 0)
  checks.tick(200)
  t.same(
    asked.map(({ key }) => key),
    ['10.0.0.1:80'],
  )
  checks.tick(900)
  t.same(
    asked.map(({ key }) => key),
    ['10.0.0.1:80', '10.0.0.2:80'],
  )
})

test('the next check comes an interval after the last one began, give or take a tenth', async (t) => {
  for (const [random, dueMs] of [
    [0, 900],
    [0.5, 1000],
    [1, 1100],
  ]) {
    const draws = [0]
    const { checker: checks, asked } = checker(() => draws.shift() ?? random)
    checks.setTargets([first], 0)
    checks.tick(0)
    asked[0].answer(success)
    await turn()
    checks.tick(dueMs - 1)
    t.equal(asked.length, 1)
    checks.tick(dueMs)
    t.equal(asked.length, 2)
  }
})

test('a server is not asked again while its answer is awaited', async (t) => {
  const { checker: checks, asked } = checker()
  checks.setTargets([first], 0)
  checks.tick(1000)
  checks.tick(9000)
  t.equal(asked.length, 1)
})

test('changes of opinion are told once, with the reason of a failure', async (t) => {
  const { checker: checks, asked, changes } = checker()
  checks.setTargets([first], 0)
  let now = 0
  for (const result of [success, success, failure, failure, failure, failure, success, success]) {
    now += 2000
    checks.tick(now)
    asked.at(-1)?.answer(result)
    await turn()
  }
  t.same(changes, [
    ['10.0.0.1:80', 'up', undefined],
    ['10.0.0.1:80', 'down', 'ECONNREFUSED'],
    ['10.0.0.1:80', 'up', undefined],
  ])
})

test('a check that could not be made changes no opinion', async (t) => {
  const { checker: checks, asked, changes } = checker()
  checks.setTargets([first], 0)
  for (let now = 2000; now < 20_000; now += 2000) {
    checks.tick(now)
    asked.at(-1)?.answer({ outcome: 'inconclusive', reason: 'EMFILE' })
    await turn()
  }
  t.same(changes, [])
  t.same([...checks.opinions()], [['10.0.0.1:80', 'unknown']])
})

test('64 checks run at a time, and those longest due go first', async (t) => {
  const { checker: checks, asked } = checker(() => 0)
  const targets = Array.from({ length: 100 }, (_, host) => ({ address: `10.0.1.${host}`, port: 80 }))
  checks.setTargets(targets.slice(50), 0)
  checks.setTargets(targets, 10)
  checks.tick(100)
  t.equal(asked.length, 64)
  t.same(
    asked
      .slice(0, 50)
      .map(({ key }) => key)
      .toSorted(),
    targets
      .slice(50)
      .map(({ address }) => `${address}:80`)
      .toSorted(),
  )
  asked[0].answer(success)
  await turn()
  checks.tick(101)
  t.equal(asked.length, 65)
})

test('a target that is taken off the list is not asked any more, and its late answer counts for nothing', async (t) => {
  const { checker: checks, asked, changes } = checker()
  checks.setTargets([first, second], 0)
  checks.tick(1000)
  checks.setTargets([second], 1000)
  t.ok(asked[0].signal.aborted)
  t.notOk(asked[1].signal.aborted)
  asked[0].answer(success)
  asked[1].answer(success)
  await turn()
  checks.tick(5000)
  t.same(changes, [['10.0.0.2:80', 'up', undefined]])
  t.same(
    asked.map(({ key }) => key),
    ['10.0.0.1:80', '10.0.0.2:80', '10.0.0.2:80'],
  )
})

test('a target that comes back is new', async (t) => {
  const { checker: checks, asked } = checker()
  checks.setTargets([first], 0)
  checks.tick(1000)
  asked[0].answer(success)
  await turn()
  checks.setTargets([], 1000)
  checks.setTargets([first], 1000)
  t.same([...checks.opinions()], [['10.0.0.1:80', 'unknown']])
})

test('stopping ends the checks that run', async (t) => {
  const { checker: checks, asked } = checker()
  checks.setTargets([first], 0)
  checks.tick(1000)
  checks.stop()
  t.ok(asked[0].signal.aborted)
})
