/** Least connection: compliance, agreement with the naive model, and its ties. */
import { test } from 'tap'
import { leastConnection } from '../../scheduler/least-connection.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { ModelledService, newServer } from './modelled-service.ts'
import { agreesWithNaiveModel, largeNumbers } from './naive-agreement.ts'
import { NaiveLeastConnection } from './naive-models.ts'

test('least connection is a scheduler', (t) => schedulerCompliance(t, leastConnection))

test('least connection agrees with its naive model', (t) =>
  agreesWithNaiveModel(t, leastConnection, () => new NaiveLeastConnection(false)))

test('least connection agrees with its naive model on large numbers', (t) =>
  agreesWithNaiveModel(t, leastConnection, () => new NaiveLeastConnection(false), largeNumbers))

test('an active connection weighs as much as 257 inactive ones, and the newest server wins a tie', async (t) => {
  const service = new ModelledService(leastConnection)
  const older = newServer('older', 1)
  const newer = newServer('newer', 100)
  service.add(older)
  service.add(newer)
  older.activeConnections = 1
  newer.inactiveConnections = 257
  t.equal(service.select(), newer)
  newer.inactiveConnections = 258
  t.equal(service.select(), older)
})
