/** When tracked scripts are run, and for whom, on a clock that moves only when told to. */
import { test } from 'tap'
import { sleep } from '../../../../node/director/clock.ts'
import { ScriptChecks } from '../../../../node/director/vip/script-checks.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'

/** Checks whose scripts take so long, fail by their second word, and are noted with the time of their start. */
function createChecks(durationMs = 0, outlivesMs = 0) {
  const clock = new VirtualClock()
  const started: [atMs: number, program: string][] = []
  const killed: string[] = []
  const checks = new ScriptChecks(clock, ([program, failure]) => {
    started.push([clock.now(), program])
    const ended = sleep(clock, durationMs).then(() => failure)
    const gone = ended.then(() => sleep(clock, outlivesMs))
    return { ended, gone, kill: () => killed.push(program) }
  })
  const script = (command: string[], intervalMs = 300) => ({ command, intervalMs, timeoutMs: 1000 })
  return { clock, checks, started, killed, script }
}

test('scripts are spread over their interval from the first time on', async (t) => {
  const { clock, checks, started, script } = createChecks()
  for (const program of ['/a', '/b', '/c']) checks.add(script([program]), () => {})
  checks.start()
  await clock.advance(500)
  t.same(started, [
    [0, '/a'],
    [100, '/b'],
    [200, '/c'],
    [300, '/a'],
    [400, '/b'],
    [500, '/c'],
  ])
})

test('those with a long interval are first run within a second', async (t) => {
  const { clock, checks, started, script } = createChecks()
  for (const program of ['/a', '/b']) checks.add(script([program], 3_600_000), () => {})
  checks.start()
  await clock.advance(3_600_000)
  t.same(started, [
    [0, '/a'],
    [500, '/b'],
    [3_600_000, '/a'],
  ])
})

test('what several groups track in the same way is run once, and each of them is told', async (t) => {
  const { clock, checks, started, script } = createChecks()
  const told: string[] = []
  const groups = [script(['/a', 'no link']), script(['/a', 'no link']), script(['/a', 'no link'], 400), script(['/a'])]
  for (const [index, each] of groups.entries()) checks.add(each, (failure) => told.push(`${index}: ${failure}`))
  checks.start()
  await clock.advance(299)
  t.equal(started.length, 3)
  t.same(told, ['0: no link', '1: no link', '2: no link', '3: undefined'])
})

test('a script that takes longer than its interval is not run twice at once, and a stop kills it', async (t) => {
  const { clock, checks, started, killed, script } = createChecks(1000)
  const told: unknown[] = []
  checks.add(script(['/slow']), (failure) => told.push(failure))
  checks.start()
  await clock.advance(1500)
  t.same(started, [
    [0, '/slow'],
    [1000, '/slow'],
  ])
  checks.stop()
  t.same(killed, ['/slow'])
  await clock.advance(5000)
  t.same([started.length, told], [2, [undefined]])
})

test('one that hangs although it was killed is told as failed, and not run again before it is gone', async (t) => {
  const { clock, checks, started, script } = createChecks(100, 10_000)
  const told: [atMs: number, failure: unknown][] = []
  checks.add(script(['/hung', 'late']), (failure) => told.push([clock.now(), failure]))
  checks.start()
  await clock.advance(10_050)
  t.same(told, [[100, 'late']])
  t.equal(started.length, 1)
  await clock.advance(100)
  t.same(started[1], [10_100, '/hung'])
})
