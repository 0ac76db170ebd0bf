/** Weighted overflow: compliance, agreement with its naive model, and the one connection more than the weight. */
import { test } from 'tap'
import { overflow } from '../../scheduler/overflow.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { ModelledService, newServer } from './modelled-service.ts'
import { agreesWithNaiveModel } from './naive-agreement.ts'
import { NaiveOverflow } from './naive-choices.ts'

test('weighted overflow is a scheduler', (t) => schedulerCompliance(t, overflow, { mayRefuse: true }))

test('weighted overflow agrees with its naive model', (t) =>
  agreesWithNaiveModel(t, overflow, () => new NaiveOverflow(), { weight: 40, connections: 40 }))

test('a server takes one connection more than its weight, then the next one is used, and then nobody', async (t) => {
  const service = new ModelledService(overflow)
  const light = newServer('light', 1)
  const heavy = newServer('heavy', 2)
  service.add(heavy)
  service.add(light)
  const picks = Array.from({ length: 6 }, () => {
    const picked = service.select()
    if (picked) picked.activeConnections++
    return picked?.name
  })
  t.strictSame(picks, ['heavy', 'heavy', 'heavy', 'light', 'light', undefined])
})
