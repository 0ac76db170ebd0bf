/** The memory of reports: changes are told once, silence is noticed. */
import { test } from 'tap'
import { LoadBook } from '../../../../node/director/load/load-book.ts'
import type { AgentReport } from '../../../../protocol/wire/agent-report.ts'

function report(cpu: number, addresses = ['10.0.0.1']): AgentReport {
  return {
    addresses,
    runId: '0123456789abcdef',
    sequence: 0,
    timeMs: 0,
    intervalMs: 1000,
    cpu,
    memory: 0,
    loadPerCore: 0,
    establishedConnections: 12,
  }
}

const key = 'the id of a key'

function book() {
  const changes: [string, number][] = []
  return { changes, book: new LoadBook((address, factor) => changes.push([address, factor])) }
}

test('an address that nobody speaks for has factor 1 and no load', async (t) => {
  t.same(book().book.get('10.0.0.1', 0), { load: null, factor: 1, reportAgeMs: null, establishedConnections: null })
})

test('the first report counts in full', async (t) => {
  const { book: loads, changes } = book()
  loads.take(report(1), key, 5000)
  t.same(loads.get('10.0.0.1', 5300), { load: 1, factor: 0.1, reportAgeMs: 300, establishedConnections: 12 })
  t.same(changes, [['10.0.0.1', 0.1]])
})

test('every address of a report gets its load', async (t) => {
  const { book: loads, changes } = book()
  loads.take(report(1, ['10.0.0.1', '10.1.0.1']), key, 0)
  t.same(changes, [
    ['10.0.0.1', 0.1],
    ['10.1.0.1', 0.1],
  ])
})

test('a load that wavers by a few hundredths changes no weight', async (t) => {
  const { book: loads, changes } = book()
  for (let second = 0; second < 60; second++) loads.take(report(0.7 + 0.02 * (second % 2)), key, second * 1000)
  t.equal(changes.length, 1)
})

test('a jump of the load arrives in steps that get the factor to its floor', async (t) => {
  const { book: loads, changes } = book()
  loads.take(report(0), key, 0)
  for (let second = 1; second <= 60; second++) loads.take(report(1), key, second * 1000)
  const factors = changes.map(([, factor]) => factor)
  t.same(
    factors,
    factors.toSorted((a, b) => b - a),
  )
  t.equal(factors.at(-1), 0.1)
  t.ok(factors[0] > 0.5)
})

test('after three intervals of silence, and not before, an address is back at factor 1 and load null', async (t) => {
  const { book: loads, changes } = book()
  loads.take(report(1), key, 0)
  loads.expire(3000)
  t.equal(loads.get('10.0.0.1', 3000).factor, 0.1)
  loads.expire(3001)
  t.same(loads.get('10.0.0.1', 3001), { load: null, factor: 1, reportAgeMs: null, establishedConnections: null })
  t.same(changes, [
    ['10.0.0.1', 0.1],
    ['10.0.0.1', 1],
  ])
})

test('the silence of an idle server changes nothing', async (t) => {
  const { book: loads, changes } = book()
  loads.take(report(0.1), key, 0)
  loads.expire(10_000)
  t.same(changes, [])
})

test('the book does not grow without bound, and those who are in it stay', async (t) => {
  const { book: loads } = book()
  let taken = 0
  for (let host = 0; host < 20_000; host++) {
    if (loads.take(report(0, [`10.0.${host >> 8}.${host & 255}`]), key, 0)) taken++
  }
  t.equal(taken, 16_384)
  t.ok(loads.take(report(0.4), key, 1000))
})

test('what was said under a key that does not speak for the address any more is forgotten', async (t) => {
  const { book: loads, changes } = book()
  loads.take(report(1, ['10.0.0.1', '10.0.0.2', '10.0.0.3']), 'old', 0)
  loads.take(report(1, ['10.0.0.2']), 'new', 1000)
  loads.take(report(0.2, ['10.0.0.4']), 'old', 1000)
  changes.length = 0
  loads.retain((id, address) => id === 'new' || address === '10.0.0.3')
  t.same(changes, [['10.0.0.1', 1]])
  t.same(
    ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'].map((address) => loads.get(address, 1000).load),
    [null, 1, 1, null],
  )
})
