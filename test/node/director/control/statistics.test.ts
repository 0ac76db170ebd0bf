/** Counts since the last zero, for services and their servers. */
import { test } from 'tap'
import type { ServerCounters } from '../../../../forwarder/forwarder.ts'
import { type ServiceAddress, serverKey, serviceKey } from '../../../../forwarder/service.ts'
import { listService } from '../../../../node/director/control/service-listing.ts'
import { TrafficStatisticsBook } from '../../../../node/director/control/statistics.ts'
import type { ServerConditions } from '../../../../node/director/pool/effective-services.ts'

const web = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
const dns = { protocol: 'udp', address: '10.0.0.100', port: 53 } as const
const first = { address: '10.0.0.1', port: 80 }
const second = { address: '10.0.0.2', port: 80 }

function makeCounters() {
  const counters = new Map<string, ServerCounters>()
  const at = (key: string) => {
    const none = {
      activeConnections: 0,
      inactiveConnections: 0,
      persistentConnections: 0,
      connections: 0,
      inPackets: 0,
      outPackets: 0,
      inBytes: 0,
      outBytes: 0,
    }
    if (!counters.has(key)) counters.set(key, none)
    return counters.get(key) as ServerCounters
  }
  const serviceCounters = (service: ServiceAddress) => at(serviceKey(service))
  const serverCounters = (service: ServiceAddress, server: { address: string; port: number }) =>
    at(`${serviceKey(service)} ${serverKey(server)}`)
  return { serviceCounters, serverCounters }
}

function count(counters: ServerCounters, packets: number): void {
  counters.connections += 1
  counters.inPackets += packets
  counters.outPackets += 2 * packets
  counters.inBytes += 100 * packets
  counters.outBytes += 1000 * packets
}

test('counts begin at 0 when a service is set, and again when it is zeroed', async (t) => {
  const counters = makeCounters()
  count(counters.serviceCounters(web), 7)
  const book = new TrafficStatisticsBook(counters)
  book.setService({ ...web, servers: [first] })
  t.equal(book.service(web).inPackets, 0, 'what was counted in the same place before is not its own')
  count(counters.serviceCounters(web), 40)
  count(counters.serverCounters(web, first), 40)
  await book.tick()
  t.same(book.service(web), {
    connections: 1,
    inPackets: 40,
    outPackets: 80,
    inBytes: 4000,
    outBytes: 40_000,
    connectionsPerSecond: 0,
    inPacketsPerSecond: 5,
    outPacketsPerSecond: 10,
    inBytesPerSecond: 500,
    outBytesPerSecond: 5000,
  })
  t.same(book.server(web, first), book.service(web))
  await book.zero(web)
  t.ok(Object.values(book.service(web)).every((value) => value === 0))
  t.ok(Object.values(book.server(web, first)).every((value) => value === 0))
  count(counters.serverCounters(web, first), 3)
  t.equal(book.server(web, first).inPackets, 3)
})

test('a snapshot is what had been counted when the rates were last estimated', async (t) => {
  const counters = makeCounters()
  const book = new TrafficStatisticsBook(counters)
  book.setService({ ...web, servers: [first] })
  count(counters.serviceCounters(web), 40)
  count(counters.serverCounters(web, first), 40)
  t.equal(book.service(web, 'snapshot').inPackets, 0)
  t.equal(book.server(web, first, 'snapshot').inPackets, 0)
  await book.tick()
  t.same(book.service(web, 'snapshot'), book.service(web))
  t.same(book.server(web, first, 'snapshot'), book.server(web, first))
  count(counters.serviceCounters(web), 1)
  t.same([book.service(web, 'snapshot').inPackets, book.service(web).inPackets], [40, 41])
  await book.zero(web)
  t.ok(Object.values(book.service(web, 'snapshot')).every((value) => value === 0))
  await book.tick()
  t.ok(
    Object.values(book.service(web, 'snapshot')).every((value) => value === 0),
    'nothing comes up afterwards',
  )
})

test('zero of one service leaves the others, zero of all leaves none', async (t) => {
  const counters = makeCounters()
  const book = new TrafficStatisticsBook(counters)
  for (const service of [web, dns]) {
    book.setService({ ...service, servers: [] })
    count(counters.serviceCounters(service), 1)
  }
  await book.zero(web)
  t.same([book.service(web).inPackets, book.service(dns).inPackets], [0, 1])
  await book.zero()
  t.equal(book.service(dns).inPackets, 0)
  await book.zero({ ...web, port: 81 })
})

test('a service that is set again keeps what it counted, and forgets servers that are gone', async (t) => {
  const counters = makeCounters()
  const book = new TrafficStatisticsBook(counters)
  book.setService({ ...web, servers: [first, second] })
  count(counters.serviceCounters(web), 1)
  count(counters.serverCounters(web, second), 1)
  book.setService({ ...web, servers: [second] })
  t.same([book.service(web).connections, book.server(web, second).connections], [1, 1])
  t.throws(() => book.server(web, first), /no statistics of 10.0.0.1:80 in tcp/)
  book.removeService(web)
  t.throws(() => book.service(web), /no statistics of tcp/)
})

test('a server that comes back while it has connections goes on with what it had, and afterwards begins anew', async (t) => {
  const counters = makeCounters()
  const book = new TrafficStatisticsBook(counters)
  const whole = { ...web, servers: [first, second] }
  const rest = { ...web, servers: [second] }
  book.setService(whole)
  const counted = counters.serverCounters(web, first)
  count(counted, 5)
  await book.zero()
  count(counted, 7)
  book.setService(rest)
  await book.tick()
  t.throws(() => book.server(web, first), /no statistics/)
  book.setService(whole)
  t.equal(book.server(web, first).inPackets, 7)
  await book.tick()
  book.setService(rest)
  Object.assign(counted, { connections: 0, inPackets: 0, outPackets: 0, inBytes: 0, outBytes: 0 })
  for (const isSoon of [true, false]) {
    if (!isSoon) await book.tick()
    book.setService(whole)
    t.equal(book.server(web, first).inPackets, 0)
    count(counted, 3)
    t.equal(book.server(web, first).inPackets, 3)
    book.setService(rest)
    Object.assign(counted, { connections: 0, inPackets: 0, outPackets: 0, inBytes: 0, outBytes: 0 })
  }
})

test('thousands of servers are counted each for itself, and one that goes makes room for another', async (t) => {
  const counters = makeCounters()
  const book = new TrafficStatisticsBook(counters)
  const servers = Array.from({ length: 3000 }, (_, port) => ({ address: '10.0.0.1', port }))
  book.setService({ ...web, servers })
  for (const server of servers) count(counters.serverCounters(web, server), server.port)
  await book.tick()
  t.ok(servers.every((server) => book.server(web, server, 'snapshot').inPackets === server.port))
  book.setService({ ...web, servers: servers.slice(1) })
  const late = { address: '10.0.0.2', port: 80 }
  count(counters.serverCounters(dns, late), 5)
  book.setService({ ...dns, servers: [late] })
  t.same(book.server(dns, late, 'snapshot'), book.server(dns, late), 'it begins with nothing')
  t.equal(book.server(dns, late).inPackets, 0)
  t.equal(book.server(web, servers[2999]).inPackets, 2999)
})

test('a listing without counters asks for none', async (t) => {
  const counters = makeCounters()
  const statistics = new TrafficStatisticsBook(counters)
  const service = { ...web, scheduler: 'wlc', servers: [{ ...first, method: 'dr' as const, weight: 2 }] }
  const conditions: ServerConditions = { health: () => 'up', loadFactor: () => 1, isLocal: () => false }
  const listing = listService(service, { conditions, load: () => null, counters, statistics }, 'none')
  t.equal(listing.statistics, null)
  t.equal(listing.servers[0].statistics, null)
})

test('a listing shows the configured weight beside the effective one, health, load and traffic', async (t) => {
  const counters = makeCounters()
  const statistics = new TrafficStatisticsBook(counters)
  const servers = [
    { ...first, method: 'dr' as const, weight: 2 },
    { ...second, method: 'nat' as const, weight: 1 },
  ]
  statistics.setService({ ...web, servers })
  Object.assign(counters.serverCounters(web, first), { activeConnections: 3, inactiveConnections: 4, inBytes: 9 })
  const listing = listService(
    { ...web, scheduler: 'wlc', servers },
    {
      conditions: {
        health: (key) => (key === '10.0.0.2:80' ? 'down' : 'up'),
        loadFactor: (address) => (address === '10.0.0.1' ? 0.5 : 1),
        isLocal: (address) => address === '10.0.0.2',
      },
      load: (address) => (address === '10.0.0.1' ? 0.7 : null),
      counters,
      statistics,
    },
  )
  const none = statistics.service(web)
  t.same(listing, {
    ...web,
    scheduler: 'wlc',
    schedulerFlags: [],
    onePacket: false,
    statistics: none,
    servers: [
      {
        ...servers[0],
        effectiveWeight: 20,
        upperThreshold: 0,
        lowerThreshold: 0,
        isLocal: false,
        persistentConnections: 0,
        activeConnections: 3,
        inactiveConnections: 4,
        health: 'up',
        load: 0.7,
        loadFactor: 0.5,
        agentCheck: null,
        statistics: { ...none, inBytes: 9 },
      },
      {
        ...servers[1],
        effectiveWeight: 0,
        upperThreshold: 0,
        lowerThreshold: 0,
        isLocal: true,
        persistentConnections: 0,
        activeConnections: 0,
        inactiveConnections: 0,
        health: 'down',
        load: null,
        loadFactor: 1,
        agentCheck: null,
        statistics: none,
      },
    ],
  })
})
