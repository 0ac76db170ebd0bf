/** What becomes of rounds of drills, also of those that are cut short. */
import { test } from 'tap'
import type { DrillResult } from '../../node/drill/drill-report.ts'
import { type Method, type Run, runRounds, tableOf, tooLongPauses } from './rounds.ts'

const seen = (drill: string, method: Method, p99: number): DrillResult => ({
  drill,
  method,
  family: 'ipv4',
  directors: 3,
  servers: 3,
  sessions: { opened: 100, survived: 99, lost: 1 },
  pauseMs: { baseline: 15, baselineP99: 10, p50: 100, p99, max: 300 },
  takeoverMs: 150,
  newConnections: { attempted: 50, failed: 2, setUpMs: { p50: 1, p99: 2 } },
  downloads: { started: 4, intact: 3 },
  missingRecords: 0,
  needless: [],
  excused: [],
})
const ended = (drill: string, method: Method, hasPassed = true, p99 = 200): Run => {
  return { drill, method, hasPassed, result: seen(drill, method, p99) }
}
const never = new AbortController().signal

test('each drill is run by every method in each round, and a round is told when it is over', async (t) => {
  const told: string[] = []
  const run = async (drill: string, method: Method) => ended(drill, method, !(drill === 'flap' && method === 'dr'))
  const runs = await runRounds(2, ['crash', 'flap'], run, never, (line) => told.push(line))
  const round = ['crash nat', 'flap nat', 'crash dr', 'flap dr', 'crash tun', 'flap tun']
  t.strictSame(
    runs.map(({ drill, method }) => `${drill} ${method}`),
    [...round, ...round],
  )
  t.strictSame(told, [
    '1 of 2, nat: passed',
    '1 of 2, dr: failed',
    '1 of 2, tun: passed',
    '2 of 2, nat: passed',
    '2 of 2, dr: failed',
    '2 of 2, tun: passed',
  ])
})

test('nothing is begun after an interruption, and what it cut short does not count', async (t) => {
  for (const [what, wasInTime] of [
    ['cut short', false],
    ['over at the same time', true],
  ] as const) {
    const interruption = new AbortController()
    let begun = 0
    const run = async (drill: string, method: Method): Promise<Run> => {
      if (++begun < 3) return ended(drill, method)
      interruption.abort()
      return wasInTime ? ended(drill, method) : { drill, method, hasPassed: false, result: undefined }
    }
    const runs = await runRounds(10, ['crash', 'flap'], run, interruption.signal, () => {})
    t.equal(begun, 3, what)
    t.equal(runs.length, wasInTime ? 3 : 2, what)
  }
})

test('the table says how many of the drills passed, with those that could not be ended', async (t) => {
  const table = tableOf([
    ended('crash', 'nat', true, 200),
    ended('crash', 'nat', false, 250),
    ended('crash', 'nat', true, 210),
    { drill: 'crash', method: 'nat', hasPassed: false, result: undefined },
    { drill: 'join', method: 'dr', hasPassed: false, result: undefined },
  ])
  t.match(
    table,
    /crash nat +│ 2 of 4 +│ 0 of 3 +│ 3 of 300 +│ 210, 250 ms +│ 10, 10 ms +│ 200, 240 ms +│ 1, 1 ms +│ 6 of 150 +│ 3 of 12 /,
  )
  t.match(table, /join dr +│ 0 of 1 +│ 0 of 0 +│ 0 of 0 +│ none +│ none +│ none /)
})

test('a crash may pause for 300 ms, a handover for 20 ms more than there was before, others for as long as they need', async (t) => {
  const before = 10
  for (const [drill, p99, expected] of [
    ['crash', 300, []],
    ['crash', 300.1, ['crash nat: pause 300.1 ms by its median, more than 300']],
    ['handover', before + 20, []],
    ['handover', before + 20.5, ['handover nat: pause over that before it 20.5 ms by its median, more than 20']],
    ['freeze', 5000, []],
  ] as const) {
    const runs = [ended(drill, 'nat', true, p99)]
    t.same(tooLongPauses(runs), expected, `${drill}: ${p99} ms`)
    t.match(tableOf(runs), new RegExp(`${drill} nat +│ 1 of 1 +│ ${expected.length} of 1 `))
  }
})

test('what the machine does in one round is not what the drill takes: medians count, by method', async (t) => {
  const runs = [ended('crash', 'nat', true, 900), ended('crash', 'nat'), ended('crash', 'nat', true, 290)]
  t.same(tooLongPauses(runs), [])
  t.match(tableOf(runs), /crash nat +│ 3 of 3 +│ 1 of 3 /)
  const byAnother = ended('crash', 'dr', true, 301)
  t.same(tooLongPauses([...runs, byAnother]), ['crash dr: pause 301 ms by its median, more than 300'])
  t.same(tooLongPauses([{ ...byAnother, hasPassed: false, result: undefined }]), [])
})
