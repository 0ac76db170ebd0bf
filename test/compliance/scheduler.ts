/**
 * What every scheduler must do, whichever server it prefers. Hand it any scheduler; see scheduler/scheduler.ts for the
 * contract that it checks.
 */
import { serialize } from 'node:v8'
import type { Test } from 'tap'
import { isAvailable, type Scheduler } from '../../scheduler/scheduler.ts'
import { seededRandom, seeds } from '../random.ts'
import { disturb, ipv4Words, ModelledService, newServer, someContext } from '../scheduler/modelled-service.ts'

const limits = { weight: 6, connections: 20 }

export function schedulerCompliance(t: Test, scheduler: Scheduler): void {
  t.test('without servers it picks nobody', async (t) => {
    t.equal(new ModelledService(scheduler).select(), undefined)
  })

  t.test('it picks nobody when every server is quiesced or overloaded, and somebody once one is back', async (t) => {
    const service = serviceOfThree(scheduler)
    const [newest, middle, oldest] = service.servers
    service.edit(newest, 0)
    service.edit(middle, 0)
    oldest.overloaded = true
    for (let pick = 0; pick < 10; pick++) t.equal(service.select({ sourcePort: pick }), undefined)
    service.edit(middle, 2)
    t.equal(service.select(), middle)
    service.edit(middle, 0)
    oldest.overloaded = false
    t.equal(service.select(), oldest)
  })

  t.test('it follows additions and removals down to the last server', async (t) => {
    const service = serviceOfThree(scheduler)
    service.select()
    for (const server of [...service.servers]) {
      service.remove(server)
      const picked = service.select()
      if (service.servers.length > 0) t.ok(picked && service.servers.includes(picked), `without ${server.name}`)
      else t.equal(picked, undefined)
    }
    const returned = newServer('returned', 1)
    service.add(returned)
    t.equal(service.select(), returned)
  })

  for (const seed of seeds(20)) {
    t.test(`through a random history it picks an available server whenever there is one, SEED=${seed}`, async (t) => {
      const random = seededRandom(seed)
      const service = new ModelledService(scheduler)
      const wrong: string[] = []
      for (let step = 0; step < 400; step++) {
        disturb(service, random, limits, step)
        for (let pick = random.below(4); pick > 0; pick--) {
          const picked = service.select({ sourcePort: random.below(65_536), source: ipv4Words(random.below(2 ** 32)) })
          const allowed = service.servers.filter(isAvailable)
          const right = picked ? allowed.includes(picked) : allowed.length === 0
          if (!right) wrong.push(`step ${step}: ${picked?.name} of ${allowed.map(({ name }) => name)}`)
        }
      }
      t.strictSame(wrong, [])
    })
  }

  t.test('it changes neither the list nor the servers', async (t) => {
    const servers = Object.freeze(serviceOfThree(scheduler).servers.map((server) => Object.freeze(server)))
    const memory = scheduler.begin?.(servers, someContext())
    const flow = Object.freeze({
      nowMs: 0,
      source: ipv4Words(1),
      destination: ipv4Words(3),
      sourcePort: 2,
      destinationPort: 4,
    })
    for (let pick = 0; pick < 10; pick++) {
      const picked = scheduler.select(servers, memory, flow)
      t.ok(picked && servers.includes(picked))
    }
  })

  t.test('two services do not disturb each other', async (t) => {
    const picksOf = (service: ModelledService, picks: number) =>
      Array.from({ length: picks }, (_, sourcePort) => service.select({ sourcePort })?.name)
    const alone = picksOf(serviceOfThree(scheduler), 20)
    const [one, other] = [serviceOfThree(scheduler), serviceOfThree(scheduler)]
    const interleaved: (string | undefined)[] = []
    for (let sourcePort = 0; sourcePort < 20; sourcePort++) {
      interleaved.push(one.select({ sourcePort })?.name)
      picksOf(other, 1 + (sourcePort % 3))
    }
    t.strictSame(interleaved, alone)
  })

  t.test('its memory does not grow with the connections', async (t) => {
    const service = serviceOfThree(scheduler)
    const bytesAfter = (picks: number) => {
      for (let pick = 0; pick < picks; pick++) service.select({ sourcePort: pick })
      return serialize(service.memory).byteLength
    }
    const early = bytesAfter(100)
    t.ok(bytesAfter(10_000) <= early + 16)
  })

  t.end()
}

function serviceOfThree(scheduler: Scheduler): ModelledService {
  const service = new ModelledService(scheduler)
  for (const [name, weight] of [
    ['A', 3],
    ['B', 2],
    ['C', 1],
  ] as const) {
    service.add(newServer(name, weight))
  }
  return service
}
