/** Locality-based least connection, with and without replication: compliance, agreement with naive models, and bounds. */
import { test } from 'tap'
import { DestinationCache, MAX_ENTRIES } from '../../scheduler/destination-cache.ts'
import { localityBasedLeastConnection } from '../../scheduler/locality-based-least-connection.ts'
import {
  localityBasedLeastConnectionWithReplication,
  type ServerSet,
} from '../../scheduler/locality-based-least-connection-with-replication.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { ipv4Words, ModelledService, newServer } from './modelled-service.ts'
import { agreesWithNaiveModel, smallNumbers } from './naive-agreement.ts'
import { NaiveLocality, NaiveReplicatedLocality } from './naive-locality.ts'

/** So short that histories run into it. */
const settings = { lblcExpiration: 3_000, lblcrExpiration: 200 }
/** Enough connections for weights to be exceeded, and few enough for servers to be idle. */
const limits = { ...smallNumbers, connections: 14 }

test('locality-based least connection is a scheduler', (t) =>
  schedulerCompliance(t, localityBasedLeastConnection, { ignoresThresholds: true }))

test('locality-based least connection with replication is a scheduler', (t) =>
  schedulerCompliance(t, localityBasedLeastConnectionWithReplication))

test('locality-based least connection agrees with its naive model', (t) =>
  agreesWithNaiveModel(t, localityBasedLeastConnection, (context) => new NaiveLocality(context), limits, { settings }))

for (const lblcrExpiration of [200, 86_400]) {
  test(`with replication it agrees with its naive model, sets expiring after ${lblcrExpiration} s`, (t) =>
    agreesWithNaiveModel(
      t,
      localityBasedLeastConnectionWithReplication,
      (context) => new NaiveReplicatedLocality(context),
      limits,
      { settings: { ...settings, lblcrExpiration } },
    ))
}

test('a destination stays with its server although another has fewer connections', async (t) => {
  const service = new ModelledService(localityBasedLeastConnection)
  for (const name of ['A', 'B']) service.add(newServer(name, 10))
  const mine = ipv4Words(1)
  const first = service.select({ destination: mine })
  if (first) first.activeConnections = 5
  t.equal(service.select({ destination: mine }), first)
  t.not(service.select({ destination: ipv4Words(2) }), first)
})

test('a change of the expiration time counts from the next check on', async (t) => {
  const settings = { lblcExpiration: 86_400, lblcrExpiration: 86_400 }
  const service = new ModelledService(localityBasedLeastConnection, { settings })
  const [A, B] = [newServer('A', 10), newServer('B', 10)]
  service.add(A)
  service.add(B)
  t.equal(service.select({ nowMs: 0 }), B)
  B.activeConnections = 2
  t.equal(service.select({ nowMs: 1_900_000 }), B)
  settings.lblcExpiration = 60
  t.equal(service.select({ nowMs: 3_600_000 }), A, 'forgotten by the check of every half hour')
})

test('a set forgets servers that have left the list before it is larger than the list', async (t) => {
  const service = new ModelledService(localityBasedLeastConnectionWithReplication)
  const { destinations } = service.memory as { destinations: DestinationCache<ServerSet> }
  for (let round = 0; round < 50; round++) {
    service.add(newServer(`s${round}`, 1))
    service.select()
    const set = destinations.find(ipv4Words(0x0a01_0064), 1_000)
    t.ok(set && set.servers.length <= 1, `round ${round}`)
    service.remove(service.servers[0])
  }
})

test('entries are found again through growth, and in place of the longest idle ones when the table is full', async (t) => {
  const cache = new DestinationCache<number>(0.5)
  for (let number = 0; number < MAX_ENTRIES; number++) cache.set(ipv4Words(number), number, number)
  t.equal(cache.size, MAX_ENTRIES)
  for (let number = 0; number < MAX_ENTRIES; number++) {
    if (cache.find(ipv4Words(number), number) !== number) return t.fail(`${number} is lost`)
  }
  for (let number = MAX_ENTRIES; number < 3 * MAX_ENTRIES; number++) {
    cache.set(ipv4Words(number), number, number)
    if (cache.size > MAX_ENTRIES) return t.fail('it grows beyond its bound')
    if (cache.find(ipv4Words(number), number) !== number) return t.fail(`${number} was not kept`)
  }
  let old = 0
  for (let number = 0; number < MAX_ENTRIES; number++) if (cache.find(ipv4Words(number), 0) !== undefined) old++
  t.ok(old < MAX_ENTRIES / 100, `${old} of the oldest are left`)
})

test('addresses that differ in one word alone are different destinations', async (t) => {
  const cache = new DestinationCache<number>(0.5)
  const addresses = [0, 1, 2, 3].map((word) => Int32Array.from({ length: 4 }, (_, index) => (index === word ? 9 : 0)))
  for (const [index, address] of addresses.entries()) cache.set(address, index, 0)
  t.strictSame(
    addresses.map((address) => cache.find(address, 0)),
    [0, 1, 2, 3],
  )
})

test('a full table gives up what was idle for six minutes, a minute later at most', async (t) => {
  const cache = new DestinationCache<number>(0.5)
  cache.expire(0, 86_400_000)
  const half = MAX_ENTRIES / 2
  for (let number = 0; number < MAX_ENTRIES; number++) cache.set(ipv4Words(number), number, number < half ? 0 : 300_000)
  cache.expire(300_000, 86_400_000)
  t.equal(cache.size, MAX_ENTRIES, 'nobody was idle for so long')
  cache.expire(360_000, 86_400_000)
  t.equal(cache.size, half)
  t.equal(cache.find(ipv4Words(half), 0), half)
  cache.expire(900_000, 86_400_000)
  t.equal(cache.size, half, 'a table that is not full keeps them')
})
