/** Round robin: compliance, agreement with the naive model, and what happens to its cursor. */
import { test } from 'tap'
import { roundRobin } from '../../scheduler/round-robin.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { ModelledService, newServer } from './modelled-service.ts'
import { agreesWithNaiveModel } from './naive-agreement.ts'
import { NaiveRoundRobin } from './naive-models.ts'

test('round robin is a scheduler', (t) => schedulerCompliance(t, roundRobin))

test('round robin agrees with its naive model', (t) => agreesWithNaiveModel(t, roundRobin, () => new NaiveRoundRobin()))

test('the turn goes on where it was when the server picked last is removed', async (t) => {
  const { service, servers, picks } = startedService()
  t.strictSame(picks(2), ['C', 'B'])
  service.remove(servers.B)
  t.strictSame(picks(3), ['A', 'C', 'A'])
})

test('a server that is added waits until the turn comes round to the head of the list', async (t) => {
  const { service, picks } = startedService()
  t.strictSame(picks(1), ['C'])
  service.add(newServer('D', 1))
  t.strictSame(picks(4), ['B', 'A', 'D', 'C'])
})

test('an edited weight does not move the turn', async (t) => {
  const { service, servers, picks } = startedService()
  t.strictSame(picks(1), ['C'])
  service.edit(servers.A, 100)
  t.strictSame(picks(3), ['B', 'A', 'C'])
})

function startedService() {
  const service = new ModelledService(roundRobin)
  const servers = { A: newServer('A', 1), B: newServer('B', 1), C: newServer('C', 1) }
  for (const server of Object.values(servers)) service.add(server)
  const picks = (count: number) => Array.from({ length: count }, () => service.select()?.name)
  return { service, servers, picks }
}
