/** Weighted failover: compliance and agreement with its naive model. */
import { test } from 'tap'
import { failover } from '../../scheduler/failover.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { agreesWithNaiveModel, largeNumbers } from './naive-agreement.ts'
import { NaiveFailover } from './naive-choices.ts'

test('weighted failover is a scheduler', (t) => schedulerCompliance(t, failover))

for (const limits of [undefined, largeNumbers]) {
  test(`weighted failover agrees with its naive model${limits ? ' on large numbers' : ''}`, (t) =>
    agreesWithNaiveModel(t, failover, () => new NaiveFailover(), limits))
}
