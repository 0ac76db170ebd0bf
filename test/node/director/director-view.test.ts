/** What the control socket is told of a director's parts. */
import { type Test, test } from 'tap'
import { type ServiceAddress, serviceKey } from '../../../forwarder/service.ts'
import { DirectorView, type DirectorViewSources } from '../../../node/director/director-view.ts'
import type { PoolService } from '../../../node/director/pool/pool-entry.ts'

/** Of the parts' facts, those that a test is about. */
function viewOf(t: Test, sources: object): DirectorView {
  const view = new DirectorView({ pool: { services: () => [] }, ...sources } as unknown as DirectorViewSources)
  t.teardown(() => view.stop())
  return view
}

test('a director is well while its threads live and no group of virtual addresses is in fault', async (t) => {
  const sources = {
    forwarder: { isRunning: true },
    cluster: { isRunning: true },
    vip: { status: [{ state: 'active' }, { state: 'init' }] },
  }
  const view = viewOf(t, sources)
  t.same(view.health(), { forwarder: true, cluster: true, vip: true })
  sources.vip.status[1].state = 'fault'
  t.same(view.health(), { forwarder: true, cluster: true, vip: false })
  sources.vip.status = []
  sources.cluster.isRunning = false
  t.same(view.health(), { forwarder: true, cluster: false, vip: true })
})

test('the status has what went wrong between directors, as the transport and the opinions on health counted it', async (t) => {
  const counters = {
    oversizedMessages: 1,
    malformedMessages: 2,
    refusedStrangers: 3,
    failedHandshakes: 9,
    failedHandlers: 4,
    silentPeers: 5,
    abortedConnections: 6,
    droppedMessages: 7,
  }
  const view = viewOf(t, {
    config: {},
    cluster: { status: () => ({ inSync: true, peers: [{ name: 'd2' }] }), counters },
    forwarder: { linkStatistics: () => [] },
    vip: {},
    transports: [],
    interference: { found: [] },
    health: { unreadableMessages: 8 },
    readiness: { state: { inSync: false, reason: 'does not know yet' } },
    agreement: { differsMs: () => undefined },
  })
  t.match(view.status(), {
    inSync: false,
    syncReason: 'does not know yet',
    peers: [{ name: 'd2', configurationDiffersMs: null }],
    refusedStrangers: 3,
    failedHandshakes: 9,
    droppedMessages: 7,
    peerTroubles: {
      oversizedMessages: 1,
      malformedMessages: 2,
      failedHandlers: 4,
      silentPeers: 5,
      abortedConnections: 6,
      unreadableOpinions: 8,
    },
  })
})

test('services are listed as they are when their turn comes, without those that are gone by then', async (t) => {
  const server = (address: string) => ({ address, port: 80, method: 'dr', weight: 1 }) as const
  const [first, second, third] = [80, 81, 82].map((port): PoolService => {
    const servers = [server('10.0.0.1'), server('10.0.0.2')]
    return { protocol: 'tcp', address: '10.0.0.100', port, scheduler: 'rr', servers }
  })
  const services = new Map([first, second, third].map((service) => [serviceKey(service), service]))
  const view = viewOf(t, {
    pool: {
      services: () => [...services.values()],
      service: (address: ServiceAddress) => services.get(serviceKey(address)),
    },
    forwarder: { serviceCounters: () => ({}), serverCounters: () => ({}) },
    conditions: { health: () => 'up', loadFactor: () => 1, isLocal: () => false },
  })
  const listing = view.services('now')
  t.match(listing.next().value, { port: 80, servers: { length: 2 } })
  services.delete(serviceKey(second))
  view.changed({ kind: 'removed', service: second })
  const fewer = { ...third, servers: [server('10.0.0.2')] }
  services.set(serviceKey(third), fewer)
  view.changed({ kind: 'set', service: fewer })
  const rest = [...listing].map(({ port, servers }) => [port, servers.map(({ address }) => address)])
  t.strictSame(rest, [[82, ['10.0.0.2']]])
})
