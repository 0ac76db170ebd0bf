/** Shortest expected delay: compliance and agreement with its naive model. */
import { test } from 'tap'
import { shortestExpectedDelay } from '../../scheduler/shortest-expected-delay.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { agreesWithNaiveModel, largeNumbers } from './naive-agreement.ts'
import { NaiveShortestExpectedDelay } from './naive-choices.ts'

test('shortest expected delay is a scheduler', (t) => schedulerCompliance(t, shortestExpectedDelay))

for (const limits of [undefined, largeNumbers]) {
  test(`shortest expected delay agrees with its naive model${limits ? ' on large numbers' : ''}`, (t) =>
    agreesWithNaiveModel(t, shortestExpectedDelay, () => new NaiveShortestExpectedDelay(), limits))
}
