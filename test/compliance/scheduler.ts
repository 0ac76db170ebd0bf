/**
 * What every scheduler must do, whichever server it prefers. Hand it any scheduler; see scheduler/scheduler.ts for the
 * contract that it checks.
 */
import type { Test } from 'tap'
import { type Flow, isAvailable, type Scheduler, type SchedulerContext } from '../../scheduler/scheduler.ts'
import { seededRandom, seeds } from '../random.ts'
import {
  disturb,
  ipv4Words,
  type ModelledServer,
  ModelledService,
  newServer,
  someContext,
  someFlowOf,
} from '../scheduler/modelled-service.ts'

const limits = { weight: 6, connections: 20 }

const clients: readonly Partial<Flow>[] = Array.from({ length: 2000 }, (_, number) => {
  const address = ipv4Words(Math.imul(number, 0x9e37_79b1))
  return { source: address, destination: address, sourcePort: number }
})

export interface SchedulerTraits extends Partial<SchedulerContext> {
  /** It has one server for a connection and picks nobody when that one is not available, though others are. */
  readonly mayRefuse?: boolean
  /** It goes on giving connections to a server that has reached its threshold. */
  readonly ignoresThresholds?: boolean
}

export function schedulerCompliance(t: Test, scheduler: Scheduler, traits: SchedulerTraits = {}): void {
  const { mayRefuse = false, ignoresThresholds = false, ...context } = traits
  const serviceOfThree = () => newServiceOfThree(scheduler, context)

  /** Whom connections of many kinds get: these servers and nobody else, each of them somebody. */
  function checkPicks(t: Test, service: ModelledService, allowed: readonly ModelledServer[], message: string): void {
    const random = seededRandom(7)
    const picks = Array.from({ length: 100 }, () => service.select(someFlowOf(random, 1_000)))
    const picked = picks.filter((server) => server !== undefined)
    t.ok(
      picked.every((server) => allowed.includes(server)),
      `${message}: nobody else`,
    )
    t.equal(picked.length > 0, allowed.length > 0, `${message}: somebody`)
    if (!mayRefuse) t.ok(picked.length === picks.length || allowed.length === 0, `${message}: everybody is served`)
  }

  t.test('without servers it picks nobody', async (t) => {
    checkPicks(t, new ModelledService(scheduler, context), [], 'no servers')
  })

  t.test('it picks nobody when every server is quiesced or overloaded, and somebody once one is back', async (t) => {
    const service = serviceOfThree()
    const [newest, middle, oldest] = service.servers
    service.edit(newest, 0)
    service.edit(middle, 0)
    oldest.overloaded = true
    checkPicks(t, service, [], 'no server is available')
    service.edit(middle, 2)
    checkPicks(t, service, [middle], 'one is back')
    service.edit(middle, 0)
    oldest.overloaded = false
    checkPicks(t, service, [oldest], 'another one is back')
  })

  t.test('it follows additions and removals down to the last server', async (t) => {
    const service = serviceOfThree()
    checkPicks(t, service, service.servers, 'with three')
    for (const server of [...service.servers]) {
      service.remove(server)
      checkPicks(t, service, service.servers, `without ${server.name}`)
    }
    const returned = newServer('returned', 1)
    service.add(returned)
    checkPicks(t, service, [returned], 'with one')
  })

  // Of one that was quiesced before its clients are known by being refused.
  for (const weight of scheduler.isHash ? (mayRefuse ? [2, 0] : [2]) : []) {
    t.test(
      `when a server of weight ${weight} is down its clients are spread until it is back, and nobody else’s move`,
      async (t) => {
        const service = serviceOfThree()
        for (const name of ['D', 'E']) service.add(newServer(name, 2))
        const dead = service.servers[3]
        service.edit(dead, weight)
        const picks = () => clients.map((client) => service.select(client))
        const before = picks()
        const isTheirs = (_: unknown, client: number) => [dead, undefined].includes(before[client])
        const isOthers = (_: unknown, client: number) => !isTheirs(_, client)
        service.setDown(dead, true)
        const meanwhile = picks()
        t.same(meanwhile.filter(isOthers), before.filter(isOthers), 'nobody else’s move')
        const theirs = meanwhile.filter(isTheirs)
        for (const server of service.servers) {
          const count = theirs.filter((picked) => picked === server).length
          if (server === dead) t.equal(count, 0, 'it gets nobody')
          else t.ok(count > 0 && count < theirs.length / 2, `${server.name} gets ${count} of ${theirs.length}`)
        }
        t.notOk(theirs.includes(undefined), 'all are served')
        service.setDown(dead, false)
        t.same(picks(), before, 'all come back')
        for (const server of service.servers) service.setDown(server, true)
        checkPicks(t, service, [], 'all are down')
      },
    )
  }

  for (const seed of seeds(20)) {
    t.test(
      `through a random history it picks available servers, and nobody only when it must, SEED=${seed}`,
      async (t) => {
        const random = seededRandom(seed)
        const service = new ModelledService(scheduler, context)
        const wrong: string[] = []
        for (let step = 0; step < 400; step++) {
          disturb(service, random, limits, step)
          for (let pick = random.below(4); pick > 0; pick--) {
            const picked = service.select(someFlowOf(random, step * 1_000))
            const allowed = service.servers.filter(
              (server) => isAvailable(server) || (ignoresThresholds && server.weight > 0),
            )
            const mustPick = !mayRefuse && service.servers.some(isAvailable)
            const right = picked ? allowed.includes(picked) : !mustPick
            if (!right) wrong.push(`step ${step}: ${picked?.name} of ${allowed.map(({ name }) => name)}`)
          }
        }
        t.strictSame(wrong, [])
      },
    )
  }

  t.test('it changes neither the list nor the servers', async (t) => {
    const servers = Object.freeze(serviceOfThree().servers.map((server) => Object.freeze(server)))
    const memory = scheduler.begin?.(servers, someContext(context))
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
    const alone = picksOf(serviceOfThree(), 20)
    const [one, other] = [serviceOfThree(), serviceOfThree()]
    const interleaved: (string | undefined)[] = []
    for (let sourcePort = 0; sourcePort < 20; sourcePort++) {
      interleaved.push(one.select({ sourcePort })?.name)
      picksOf(other, 1 + (sourcePort % 3))
    }
    t.strictSame(interleaved, alone)
  })

  t.test('its memory does not grow with the connections', async (t) => {
    const service = serviceOfThree()
    const bytesAfter = (picks: number) => {
      for (let pick = 0; pick < picks; pick++) service.select({ sourcePort: pick })
      return JSON.stringify(service.memory ?? null).length
    }
    const early = bytesAfter(100)
    t.ok(bytesAfter(10_000) <= early + 16)
  })

  t.end()
}

function newServiceOfThree(scheduler: Scheduler, context: Partial<SchedulerContext>): ModelledService {
  const service = new ModelledService(scheduler, context)
  for (const [name, weight] of [
    ['A', 3],
    ['B', 2],
    ['C', 1],
  ] as const) {
    service.add(newServer(name, weight))
  }
  return service
}
