/** Power of two choices: compliance, agreement with its naive model on the same lots, and its shares. */
import { test } from 'tap'
import { powerOfTwoChoices } from '../../scheduler/power-of-two-choices.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { ModelledService, newServer } from './modelled-service.ts'
import { agreesWithNaiveModel } from './naive-agreement.ts'
import { NaivePowerOfTwoChoices } from './naive-choices.ts'

test('power of two choices is a scheduler', (t) => schedulerCompliance(t, powerOfTwoChoices))

test('power of two choices agrees with its naive model, which draws the same lots', (t) =>
  agreesWithNaiveModel(t, powerOfTwoChoices, ({ random }) => new NaivePowerOfTwoChoices(random)))

const lots = [
  ['the lowest lots are the newest server’s, one more than its weight', [0, 0.2], 'new'],
  ['the highest are the oldest’s', [0.9, 0.99], 'old'],
  ['of two different ones the less busy is picked', [0.9, 0], 'new'],
  ['whichever was drawn first', [0, 0.9], 'new'],
] as const
for (const [name, draws, expected] of lots) {
  test(name, async (t) => {
    const left: number[] = [...draws]
    const service = new ModelledService(powerOfTwoChoices, { random: () => left.shift() as number })
    const old = newServer('old', 1)
    service.add(old)
    service.add(newServer('new', 1))
    old.activeConnections = 1
    t.equal(service.select()?.name, expected)
    t.equal(left.length, 0, 'two lots were drawn')
  })
}

test('held connections come out in proportion to the weights', async (t) => {
  const service = new ModelledService(powerOfTwoChoices)
  for (const [name, weight] of [['A', 30] as const, ['B', 20] as const, ['C', 10] as const]) {
    service.add(newServer(name, weight))
  }
  for (let pick = 0; pick < 6000; pick++) {
    const picked = service.select()
    if (picked) picked.activeConnections++
  }
  for (const server of service.servers) {
    const share = server.activeConnections / server.weight
    t.ok(share > 90 && share < 110, `${server.name} has ${server.activeConnections}`)
  }
})
