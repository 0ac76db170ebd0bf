/** Weighted round robin: compliance, agreement with the naive model, shares, and weights as far apart as they can be. */
import { test } from 'tap'
import { weightedRoundRobin } from '../../scheduler/weighted-round-robin.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { ModelledService, newServer } from './modelled-service.ts'
import { agreesWithNaiveModel } from './naive-agreement.ts'
import { NaiveWeightedRoundRobin } from './naive-models.ts'

test('weighted round robin is a scheduler', (t) => schedulerCompliance(t, weightedRoundRobin))

test('weighted round robin agrees with its naive model', (t) =>
  agreesWithNaiveModel(t, weightedRoundRobin, () => new NaiveWeightedRoundRobin()))

test('a whole cycle gives every server exactly its weight', async (t) => {
  const service = new ModelledService(weightedRoundRobin)
  const weights = { A: 7, B: 4, C: 2, D: 1 }
  for (const [name, weight] of Object.entries(weights)) service.add(newServer(name, weight))
  const shares: Record<string, number> = { A: 0, B: 0, C: 0, D: 0 }
  for (let pick = 0; pick < 14 * 3; pick++) shares[service.select()?.name ?? 'nobody']++
  t.strictSame(shares, { A: 21, B: 12, C: 6, D: 3 })
})

test('after a time in which every server was overloaded it goes on as its naive model does', async (t) => {
  for (let picksBefore = 0; picksBefore < 12; picksBefore++) {
    const service = new ModelledService(weightedRoundRobin)
    const model = new NaiveWeightedRoundRobin()
    for (const [name, weight] of [['A', 6] as const, ['B', 4] as const, ['C', 2] as const]) {
      const server = newServer(name, weight)
      service.add(server)
      model.added(server)
    }
    for (let pick = 0; pick < 24; pick++) {
      const overloaded = pick >= picksBefore && pick < picksBefore + 3
      for (const server of service.servers) server.overloaded = overloaded
      const expected = model.pick()
      t.equal(service.select(), expected, `pick ${pick}, overloaded after ${picksBefore}`)
    }
  }
})

test('weights with a common divisor are served like the same weights without it', async (t) => {
  const picks = [1, 1000].map((factor) => {
    const service = new ModelledService(weightedRoundRobin)
    for (const [name, weight] of [['A', 3] as const, ['B', 2] as const]) service.add(newServer(name, weight * factor))
    return Array.from({ length: 15 }, () => service.select()?.name)
  })
  t.strictSame(picks[1], picks[0])
})

test('a light server is found at once although 2^31 rounds would pick nobody', async (t) => {
  const service = new ModelledService(weightedRoundRobin)
  const heavy = newServer('heavy', 2 ** 31 - 1)
  const light = newServer('light', 1)
  service.add(light)
  service.add(heavy)
  heavy.overloaded = true
  for (let pick = 0; pick < 100; pick++) t.equal(service.select(), light)
  light.overloaded = true
  for (let pick = 0; pick < 100; pick++) t.equal(service.select(), undefined)
})
