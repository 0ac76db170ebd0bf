/** Never queue: compliance, agreement with its naive model, and what tells it from shortest expected delay. */
import { test } from 'tap'
import { neverQueue } from '../../scheduler/never-queue.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { ModelledService, newServer } from './modelled-service.ts'
import { agreesWithNaiveModel, largeNumbers } from './naive-agreement.ts'
import { NaiveNeverQueue } from './naive-choices.ts'

test('never queue is a scheduler', (t) => schedulerCompliance(t, neverQueue))

for (const limits of [undefined, largeNumbers]) {
  test(`never queue agrees with its naive model${limits ? ' on large numbers' : ''}`, (t) =>
    agreesWithNaiveModel(t, neverQueue, () => new NaiveNeverQueue(), limits))
}

test('an idle server comes first although a busy one would be quicker', async (t) => {
  const service = new ModelledService(neverQueue)
  const slow = newServer('slow', 1)
  const quick = newServer('quick', 100)
  service.add(slow)
  service.add(quick)
  quick.activeConnections = 1
  t.equal(service.select(), slow)
  slow.activeConnections = 1
  t.equal(service.select(), quick)
})
