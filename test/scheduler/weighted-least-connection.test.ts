/** Weighted least connection: compliance, agreement with the naive model, and products that doubles cannot tell apart. */
import { test } from 'tap'
import { weightedLeastConnection } from '../../scheduler/weighted-least-connection.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { ModelledService, newServer } from './modelled-service.ts'
import { agreesWithNaiveModel, largeNumbers } from './naive-agreement.ts'
import { NaiveLeastConnection } from './naive-models.ts'

test('weighted least connection is a scheduler', (t) => schedulerCompliance(t, weightedLeastConnection))

test('weighted least connection agrees with its naive model', (t) =>
  agreesWithNaiveModel(t, weightedLeastConnection, () => new NaiveLeastConnection(true)))

test('weighted least connection agrees with its naive model on large numbers', (t) =>
  agreesWithNaiveModel(t, weightedLeastConnection, () => new NaiveLeastConnection(true), largeNumbers))

test('a difference below what a double can hold decides all the same', async (t) => {
  // Loads per weight of x / w and (x - 1) / (w - 1), cross products about 2^62 that differ by less than their spacing.
  const weight = 2 ** 31 - 1
  const load = 2 ** 31 - 101
  t.equal(load * (weight - 1), (load - 1) * weight, 'doubles see no difference')
  for (const loadedFirst of [true, false]) {
    const service = new ModelledService(weightedLeastConnection)
    const more = { ...newServer('more', weight), inactiveConnections: load }
    const less = { ...newServer('less', weight - 1), inactiveConnections: load - 1 }
    for (const server of loadedFirst ? [more, less] : [less, more]) service.add(server)
    t.equal(service.select(), less)
  }
})
