/** A task that is asked for more often than it may run, on a clock that moves only when told to. */
import { test } from 'tap'
import { type Clock, sleep } from '../../../node/director/clock.ts'
import { SpacedTask } from '../../../node/director/spaced-task.ts'
import { VirtualClock } from '../../../node/director/virtual-clock.ts'

const SPACING = { restMs: 200, retryMs: 1000 }

/** Notes when each run began; each takes so long. */
function noted(clock: Clock, durationMs: number): { task: SpacedTask; began: number[] } {
  const began: number[] = []
  const run = async () => {
    began.push(clock.now())
    await sleep(clock, durationMs)
    return true
  }
  return { task: new SpacedTask(run, SPACING, clock), began }
}

test('it runs at once, and what comes while it runs or rests makes it run once more', async (t) => {
  const clock = new VirtualClock()
  const { task, began } = noted(clock, 50)
  for (let request = 0; request < 3; request++) task.request()
  await clock.advance(20)
  task.request()
  await clock.advance(100)
  task.request()
  await clock.advance(1000)
  t.same(began, [0, 250])
  task.request()
  await clock.advance(0)
  t.same(began, [0, 250, 1120], 'it has rested')
})

test('asked for all the time it runs again and again, and rests between', async (t) => {
  const clock = new VirtualClock()
  const { task, began } = noted(clock, 50)
  for (let ms = 0; ms < 990; ms++) {
    task.request()
    await clock.advance(1)
  }
  t.same(began, [0, 250, 500, 750])
})

test('a run that fails is made up for later, unasked, until one has not failed', async (t) => {
  const clock = new VirtualClock()
  const began: number[] = []
  const run = async () => began.push(clock.now()) === 3
  const task = new SpacedTask(run, SPACING, clock)
  task.request()
  await clock.advance(10_000)
  t.same(began, [0, 1000, 2000])
})

test('after its stop it does not begin again', async (t) => {
  const clock = new VirtualClock()
  const { task, began } = noted(clock, 50)
  task.request()
  await clock.advance(10)
  task.request()
  task.stop()
  task.request()
  await clock.advance(1000)
  t.same(began, [0])
})
