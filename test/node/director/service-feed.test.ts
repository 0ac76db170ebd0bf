/** What the forwarder, the health checks and the host are told of the pool's services, and that it is no more than has changed. */
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { serverKey } from '../../../forwarder/service.ts'
import type { PoolService } from '../../../node/director/pool/pool-entry.ts'
import { ServiceFeed } from '../../../node/director/service-feed.ts'
import { VirtualClock } from '../../../node/director/virtual-clock.ts'

function service(port: number, addresses: readonly string[], protocol: PoolService['protocol'] = 'tcp'): PoolService {
  const servers = addresses.map((address) => ({ address, port: 8000, method: 'nat' as const, weight: 1 }))
  return { protocol, address: '10.0.0.100', port, scheduler: 'wlc', servers }
}

function scene() {
  const told: string[] = []
  const checked = new Map<string, number>()
  const asked: string[] = []
  const served: number[][] = []
  const down = new Set<string>()
  const own = new Set(['10.0.0.11'])
  const load = { factor: 1 }
  const clock = new VirtualClock()
  const feed = new ServiceFeed({
    forwarder: {
      setService: ({ port, servers }) =>
        told.push(`${port} ${servers.map(({ weight, down }) => (down ? 'down' : weight))}`),
      removeService: ({ port }) => told.push(`${port} removed`),
    },
    health: {
      use: (server) => void checked.set(serverKey(server), (checked.get(serverKey(server)) ?? 0) + 1),
      release: (server) => void checked.set(serverKey(server), (checked.get(serverKey(server)) ?? 0) - 1),
    },
    agentChecks: {
      use: (address) => void asked.push(address),
      release: (address) => void asked.splice(asked.indexOf(address), 1),
    },
    localServers: {
      setServices: async (services) => void served.push(services.map(({ port }) => port)),
      concerns: (address) => own.has(address),
    },
    conditions: {
      health: (key) => (down.has(key) ? 'down' : 'up'),
      loadFactor: () => load.factor,
      isLocal: (address) => own.has(address),
    },
    clock,
  })
  const uses = () => Object.fromEntries([...checked].filter(([, count]) => count !== 0))
  return { feed, told, uses, asked, served, down, own, load, clock }
}

test('agents are asked of each address that a service has, once', async (t) => {
  const { feed, asked } = scene()
  feed.apply({ kind: 'set', service: service(80, ['10.1.0.1', '10.1.0.2']) })
  feed.apply({ kind: 'set', service: service(53, ['10.1.0.1'], 'udp') })
  t.same(asked, ['10.1.0.1', '10.1.0.2'])
  feed.apply({ kind: 'set', service: service(80, ['10.1.0.3']) })
  t.same(asked, ['10.1.0.1', '10.1.0.3'])
  feed.apply({ kind: 'removed', service: service(53, [], 'udp') })
  t.same(asked, ['10.1.0.3'])
})

test('a changed service is told of at once, and its servers are checked for as long as it names them', async (t) => {
  const { feed, told, uses } = scene()
  feed.apply({ kind: 'set', service: service(80, ['10.1.0.1', '10.1.0.2']) })
  feed.apply({ kind: 'set', service: service(81, ['10.1.0.1']) })
  feed.apply({ kind: 'set', service: service(53, ['10.1.0.1'], 'udp') })
  t.same(told, ['80 1,1', '81 1', '53 1'])
  t.same(uses(), { '10.1.0.1:8000': 2, '10.1.0.2:8000': 1 })
  feed.apply({ kind: 'set', service: service(80, ['10.1.0.2', '10.1.0.3']) })
  t.same(uses(), { '10.1.0.1:8000': 1, '10.1.0.2:8000': 1, '10.1.0.3:8000': 1 })
  feed.apply({ kind: 'removed', service: service(80, []) })
  t.equal(told.at(-1), '80 removed')
  t.same(uses(), { '10.1.0.1:8000': 1 })
})

test('when a server dies, the services that have it are told of again, once and as they are then', async (t) => {
  const { feed, told, down, clock } = scene()
  for (const port of [80, 81]) feed.apply({ kind: 'set', service: service(port, ['10.1.0.1', '10.1.0.2']) })
  feed.apply({ kind: 'set', service: service(82, ['10.1.0.2']) })
  feed.apply({ kind: 'set', service: service(81, ['10.1.0.2']) })
  await clock.advance(100)
  told.length = 0
  down.add('10.1.0.1:8000')
  feed.refreshAt('10.1.0.1', 'health')
  await turn()
  t.same(told, ['80 down,1'], 'no more than one has it now')
  feed.apply({ kind: 'removed', service: service(82, []) })
  await clock.advance(100)
  told.length = 0
  down.add('10.1.0.2:8000')
  feed.refreshAt('10.1.0.2', 'health')
  feed.refreshAt('10.1.0.1', 'health')
  await turn()
  t.same(told.toSorted(), ['80 down,down', '81 down'])
})

test('a service whose health or load changes all the time is told of ten times a second, or once', async (t) => {
  for (const [cause, times] of [
    ['health', 10],
    ['load', 1],
  ] as const) {
    const { feed, told, clock } = scene()
    feed.apply({ kind: 'set', service: service(80, ['10.1.0.1']) })
    await clock.advance(5000)
    told.length = 0
    for (let ms = 0; ms < 2000; ms += 20) {
      feed.refreshAt('10.1.0.1', cause)
      await clock.advance(20)
    }
    await clock.advance(5000)
    t.equal(told.length, 1 + 2 * times, `${cause}: at once, and from then on in step, the last change included`)
  }
})

test('a dead server does not wait until a service has rested from its load', async (t) => {
  const { feed, told, down, load, clock } = scene()
  feed.apply({ kind: 'set', service: service(80, ['10.1.0.1', '10.1.0.2']) })
  await clock.advance(1000)
  for (load.factor of [0.5, 0.4]) {
    feed.refreshAt('10.1.0.1', 'load')
    await turn()
  }
  t.same(told, ['80 1,1', '80 10,10'])
  await clock.advance(100)
  down.add('10.1.0.1:8000')
  feed.refreshAt('10.1.0.1', 'health')
  await turn()
  t.same(told.slice(2), ['80 down,8'])
  await clock.advance(5000)
  t.equal(told.length, 3, 'all has been told')
  down.clear()
  feed.refreshAt('10.1.0.1', 'health')
  await turn()
  load.factor = 1
  feed.refreshAt('10.1.0.1', 'load')
  feed.apply({ kind: 'set', service: service(80, ['10.1.0.2']) })
  t.same(told.slice(3), ['80 8,8', '80 1'], 'an operator waits for nothing')
  feed.refreshAt('10.1.0.2', 'load')
  feed.apply({ kind: 'removed', service: service(80, []) })
  await clock.advance(5000)
  t.same(told.slice(5), ['80 removed'])
})

test('a feed that has been stopped tells of nothing that still rested', async (t) => {
  const { feed, told, clock } = scene()
  feed.apply({ kind: 'set', service: service(80, ['10.1.0.1']) })
  feed.refreshAt('10.1.0.1', 'load')
  feed.stop()
  await clock.advance(5000)
  t.same(told, ['80 1'])
})

test('the host is told of the services that it serves itself, as often as they change', async (t) => {
  const { feed, told, served, own, clock } = scene()
  feed.apply({ kind: 'set', service: service(80, ['10.1.0.1']) })
  await turn()
  t.same(served, [], 'others are none of its business')
  feed.apply({ kind: 'set', service: service(81, ['10.0.0.11']) })
  feed.apply({ kind: 'set', service: service(82, ['10.1.0.1', '10.0.0.11']) })
  await turn()
  t.same(served, [[81, 82]])
  feed.apply({ kind: 'set', service: service(81, ['10.1.0.1']) })
  feed.apply({ kind: 'removed', service: service(82, []) })
  await turn()
  t.same(served.at(-1), [])
  own.add('10.1.0.1')
  await clock.advance(100)
  told.length = 0
  feed.refreshAll()
  await turn()
  t.same(served.at(-1), [80, 81])
  t.same(told.toSorted(), ['80 1', '81 1'])
})
