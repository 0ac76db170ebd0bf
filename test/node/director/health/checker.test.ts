/** When checks are made, on a clock and with a check of the test's own. */
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { serverKey } from '../../../../forwarder/service.ts'
import { Checker } from '../../../../node/director/health/checker.ts'
import type { CheckResult } from '../../../../node/director/health/tcp-check.ts'

const health = { intervalMs: 1000, timeoutMs: 500, rise: 2, fall: 3 }
const success: CheckResult = { outcome: 'success' }
const failure: CheckResult = { outcome: 'failure', reason: 'ECONNREFUSED' }
const unasked: CheckResult = { outcome: 'inconclusive', reason: 'EMFILE' }
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
    onChange: (server, ...change) => changes.push([serverKey(server), ...change]),
  })
  return { checker: made, asked, changes }
}

test('first checks are spread over an interval', async (t) => {
  const draws = [0.2, 0.9]
  const { checker: checks, asked } = checker(() => draws.shift() ?? 0.5)
  for (const server of [first, second]) checks.add(server, 0)
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
    checks.add(first, 0)
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
  checks.add(first, 0)
  checks.tick(1000)
  checks.tick(9000)
  t.equal(asked.length, 1)
})

test('changes of opinion are told once, with the reason of a failure', async (t) => {
  const { checker: checks, asked, changes } = checker()
  checks.add(first, 0)
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

test('checks that could not be made change no opinion, until fall of them in a row leave none', async (t) => {
  const { checker: checks, asked, changes } = checker()
  checks.add(first, 0)
  let now = 0
  const answer = async (...results: CheckResult[]) => {
    for (const result of results) {
      now += 2000
      checks.tick(now)
      asked.at(-1)?.answer(result)
      await turn()
    }
  }
  await answer(unasked, unasked, unasked, unasked)
  t.same(changes, [], 'of a server of which nothing was known, nothing is known')
  await answer(failure, failure, unasked, failure, unasked, unasked, failure)
  t.same(changes, [['10.0.0.1:80', 'down', 'ECONNREFUSED']])
  await answer(unasked, unasked, unasked, unasked)
  t.same(changes.slice(1), [['10.0.0.1:80', 'unknown', 'EMFILE']])
  await answer(success)
  t.same(changes.slice(2), [['10.0.0.1:80', 'up', undefined]])
})

test('a tick starts twenty checks at most, and those longest due go first', async (t) => {
  const { checker: checks, asked } = checker(() => 0)
  const targets = Array.from({ length: 50 }, (_, host) => ({ address: `10.0.1.${host}`, port: 80 }))
  const due = targets.map((_, index) => (index * 7) % 50)
  for (const [index, target] of targets.entries()) checks.add(target, due[index])
  const order = targets.map((_, ms) => `10.0.1.${due.indexOf(ms)}:80`)
  for (const [index, seen] of [20, 40, 50].entries()) {
    checks.tick(100 + 20 * index)
    t.same(
      asked.map(({ key }) => key),
      order.slice(0, seen),
    )
  }
})

test('a thousand checks are started in a second at most, however short the ticks are', async (t) => {
  for (const [tickMs, started] of [
    [5, 200],
    [7.5, 195],
    [20, 200],
    [50, 80],
  ]) {
    const { checker: checks, asked } = checker(() => 0)
    for (let host = 0; host < 400; host++) checks.add({ address: `10.0.${host >> 8}.${host & 255}`, port: 80 }, 0)
    checks.tick(0)
    const first = asked.length
    for (let nowMs = tickMs; nowMs <= 200; nowMs += tickMs) checks.tick(nowMs)
    t.equal(asked.length - first, started, `with ticks of ${tickMs} ms`)
  }
})

test('512 checks run at a time', async (t) => {
  const { checker: checks, asked } = checker(() => 0)
  for (let host = 0; host < 600; host++) checks.add({ address: `10.0.${host >> 8}.${host & 255}`, port: 80 }, 0)
  for (let tick = 0; tick < 40; tick++) checks.tick(20 * tick)
  t.equal(asked.length, 512)
  asked[0].answer(success)
  await turn()
  checks.tick(800)
  t.equal(asked.length, 513)
})

test('a server in doubt is asked before others that are due, and once its interval is over', async (t) => {
  const { checker: checks, asked } = checker(() => 0)
  checks.add(first, 0)
  checks.tick(0)
  asked[0].answer(success)
  await turn()
  checks.tick(900)
  asked[1].answer(failure)
  await turn()
  for (let host = 0; host < 100; host++) checks.add({ address: `10.0.1.${host}`, port: 80 }, 900)
  checks.tick(1799)
  t.notOk(asked.slice(2).some(({ key }) => key === '10.0.0.1:80'))
  checks.tick(1800)
  t.equal(asked[22].key, '10.0.0.1:80')
})

test('a server that is taken off the list is not asked any more, and its late answer counts for nothing', async (t) => {
  const { checker: checks, asked, changes } = checker()
  const removed = checks.add(first, 0)
  checks.add(second, 0)
  checks.tick(1000)
  checks.remove(removed)
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

test('stopping ends the checks that run', async (t) => {
  const { checker: checks, asked } = checker()
  checks.add(first, 0)
  checks.tick(1000)
  checks.stop()
  t.ok(asked[0].signal.aborted)
})
