/** Services are changed by difference: what stays the same keeps its memory, its counters, its place. */
import { test } from 'tap'
import type { Neighbour } from '../../../forwarder/engine/neighbours.ts'
import type { RealServerSpec, ServiceSpec } from '../../../forwarder/service.ts'
import { METHOD_DR, METHOD_NAT, METHOD_TUN } from '../../../forwarder/table/real-server.ts'
import { COUNTER, COUNTERS, NO_SLOT, ServerDirectory } from '../../../forwarder/table/server-directory.ts'
import { ServiceTable } from '../../../forwarder/table/service-table.ts'
import type { Service } from '../../../forwarder/table/virtual-service.ts'
import { formatIPv4, parseIPv4 } from '../../../protocol/packet/bytes.ts'
import { seededRandom } from '../../random.ts'

const flow = {
  nowMs: 0,
  source: Int32Array.of(0, 0, 0, 1),
  destination: Int32Array.of(0, 0, 0, 3),
  sourcePort: 2,
  destinationPort: 4,
}

function spec(numbers: readonly number[], changes: Partial<ServiceSpec> = {}): ServiceSpec {
  const servers = numbers.map(
    (number): RealServerSpec => ({ address: `10.1.0.${number}`, port: 8000, method: 'nat', weight: 1 }),
  )
  return { protocol: 'tcp', address: '10.0.0.100', port: 80, scheduler: 'rr', servers, ...changes }
}

function newTable(slots = 64): ServiceTable {
  return new ServiceTable(new ServerDirectory(ServerDirectory.allocate(slots)))
}

const find = (table: ServiceTable, port = 80) => table.find(6, parseIPv4('10.0.0.100'), port) as Service
const listed = (table: ServiceTable) =>
  find(table).servers.map((server) => Number(formatIPv4(server.address).split('.')[3]))
const picks = (table: ServiceTable, count: number) =>
  Array.from({ length: count }, () => {
    const { scheduler, servers, memory } = find(table)
    const picked = scheduler.select(servers, memory, flow)
    return picked && Number(formatIPv4(picked.address).split('.')[3])
  })

test('a service is found by protocol, address and port together', async (t) => {
  const table = newTable()
  table.set(spec([1]))
  t.ok(find(table))
  t.equal(table.find(17, parseIPv4('10.0.0.100'), 80), undefined)
  t.equal(table.find(6, parseIPv4('10.0.0.101'), 80), undefined)
  t.equal(table.find(6, parseIPv4('10.0.0.100'), 81), undefined)
  table.set(spec([1], { protocol: 'udp' }))
  t.not(table.find(17, parseIPv4('10.0.0.100'), 80), find(table))
  t.equal([...table.values()].length, 2)
})

test('services on high addresses and ports do not get in each other’s way', async (t) => {
  const table = newTable()
  const places = [
    ['255.255.255.255', 65535],
    ['255.255.255.255', 65534],
    ['255.255.255.254', 65535],
    ['127.255.255.255', 65535],
  ] as const
  for (const [address, port] of places) table.set(spec([], { address, port }))
  const found = places.map(([address, port]) => table.find(6, parseIPv4(address), port))
  t.equal(new Set(found).size, 4)
  t.notOk(found.includes(undefined))
})

test('servers stand in IPVS’s order, the one added last first', async (t) => {
  const table = newTable()
  table.set(spec([1, 2, 3]))
  t.same(listed(table), [3, 2, 1])
  table.set(spec([1, 2, 3, 4]))
  t.same(listed(table), [4, 3, 2, 1])
  table.set(spec([1, 3, 4]))
  t.same(listed(table), [4, 3, 1])
})

/** By a few dozen clients and destinations. */
const lookups = (table: ServiceTable) =>
  Array.from({ length: 60 }, (_, number) => {
    const { scheduler, servers, memory } = find(table)
    const source = Int32Array.of(number * 7919, 0, 0, 0)
    const destination = Int32Array.of(number * 104_729, 0, 0, 0)
    return scheduler.select(servers, memory, { ...flow, source, destination })?.address
  })

for (const scheduler of ['sh', 'mh', 'dh']) {
  test(`whatever was changed before, ${scheduler} leads clients as at a director that has just read the configuration`, async (t) => {
    const random = seededRandom(5)
    for (let history = 0; history < 20; history++) {
      const table = newTable()
      for (let change = 0; change < 10; change++) {
        const numbers = [1, 2, 3, 4, 5, 6, 7, 8].filter(() => !random.oneIn(3))
        for (let place = numbers.length - 1; place > 0; place--) {
          const other = random.oneIn(2) ? place : random.below(place + 1)
          ;[numbers[place], numbers[other]] = [numbers[other], numbers[place]]
        }
        const { servers } = spec(numbers)
        const weighed = servers.map((each) => {
          return { ...each, weight: random.below(4), lastWeight: 1 + random.below(3), down: random.oneIn(4) }
        })
        const now = spec([], { scheduler, servers: weighed })
        table.set(now)
        lookups(table)
        const fresh = newTable()
        fresh.set(now)
        t.same(listed(table), listed(fresh))
        t.same(lookups(table), lookups(fresh))
      }
    }
  })
}

test('another order of the same servers takes effect, and begins the scheduler anew', async (t) => {
  const table = newTable()
  table.set(spec([1, 2, 3]))
  t.same(picks(table, 1), [3])
  const [third] = find(table).servers
  table.set(spec([3, 1, 2]))
  t.same(listed(table), [2, 1, 3])
  t.same(picks(table, 3), [2, 1, 3])
  t.equal(find(table).servers[2], third, 'the same server, with all that counts for it')
  table.set(spec([3, 4, 1, 2]))
  t.same(listed(table), [2, 1, 4, 3], 'one that comes back into the middle has its place there')
})

test('telling the same again changes nothing, the scheduler’s turn included', async (t) => {
  const table = newTable()
  table.set(spec([1, 2, 3]))
  t.same(picks(table, 2), [3, 2])
  const before = [...find(table).servers]
  table.set(spec([1, 2, 3]))
  t.ok(find(table).servers.every((server, index) => server === before[index]))
  t.same(picks(table, 2), [1, 3])
})

test('a changed weight leaves the turn where it is; another scheduler starts anew', async (t) => {
  const table = newTable()
  table.set(spec([1, 2, 3]))
  t.same(picks(table, 1), [3])
  const heavier = spec([1, 2, 3])
  table.set({ ...heavier, servers: heavier.servers.map((server) => ({ ...server, weight: 5 })) })
  t.same(picks(table, 1), [2])
  t.equal(find(table).servers[0].weight, 5)
  table.set({ ...heavier, scheduler: 'wlc' })
  t.equal(find(table).scheduler.name, 'wlc')
  table.set(heavier)
  t.same(picks(table, 1), [3])
})

test('an edit that changes nothing is passed on to the scheduler: wrr begins its round again', async (t) => {
  const table = newTable()
  const before = spec([1, 2, 3], { scheduler: 'wrr' })
  table.set(before)
  t.same(picks(table, 1), [3])
  table.set({ ...before, servers: before.servers.map((server, index) => (index ? server : { ...server, edits: 1 })) })
  t.same(picks(table, 2), [3, 2])
  table.set({ ...before, servers: before.servers.map((server, index) => (index ? server : { ...server, edits: 1 })) })
  t.same(picks(table, 1), [1], 'the same edit once more is none')
})

test('other flags of the scheduler start it anew, the same in another order do not', async (t) => {
  const table = newTable()
  table.set(spec([1, 2, 3], { schedulerFlags: ['flag-1', 'flag-3'] }))
  t.same(picks(table, 1), [3])
  table.set(spec([1, 2, 3], { schedulerFlags: ['flag-3', 'flag-1'] }))
  t.same(picks(table, 1), [2])
  table.set(spec([1, 2, 3], { schedulerFlags: ['flag-3'] }))
  t.same(picks(table, 1), [3])
  table.set(spec([1, 2, 3], { schedulerFlags: ['flag-3', 'flag-3'] }))
  t.same(picks(table, 1), [2], 'nor does one that is there twice')
  table.set(spec([1, 2, 3], { schedulerFlags: ['flag-3', 'flag-1'] }))
  t.same(picks(table, 1), [3])
  t.same(find(table).schedulerFlags, ['flag-3', 'flag-1'], 'which another takes the place of')
})

test('the last weight that was not 0 is the one in force, or what the configuration says', async (t) => {
  const table = newTable()
  const [server] = spec([1]).servers
  const lastWeightOf = (changes: Partial<RealServerSpec>) => {
    table.set(spec([], { servers: [{ ...server, ...changes }] }))
    return find(table).servers[0].lastWeight
  }
  t.equal(lastWeightOf({ weight: 5 }), 5)
  t.equal(lastWeightOf({ weight: 0, lastWeight: 3 }), 3)
  t.equal(lastWeightOf({ weight: 7, down: true }), 7)
  t.equal(lastWeightOf({ weight: 0 }), 0, 'what was before is nothing that another director would know')
})

test('weights that load changes all the time leave wrr’s round where it is, and every server its share', async (t) => {
  const table = newTable()
  const numbers = Array.from({ length: 30 }, (_, index) => index + 1)
  const before = spec(numbers, { scheduler: 'wrr' })
  const shares = new Map(numbers.map((number) => [number, 0]))
  for (let change = 0; change < 300; change++) {
    const loaded = change % 30
    const servers = before.servers.map((server, index) => ({ ...server, weight: index === loaded ? 19 : 20 }))
    table.set({ ...before, servers })
    for (const number of picks(table, 10)) shares.set(number as number, (shares.get(number as number) ?? 0) + 1)
  }
  const counts = [...shares.values()]
  t.ok(Math.min(...counts) >= 90 && Math.max(...counts) <= 110, counts.join(' '))
})

test('methods are told apart, and an edited one counts from now on', async (t) => {
  const table = newTable()
  const [server] = spec([1]).servers
  for (const [method, number] of [
    ['nat', METHOD_NAT],
    ['tun', METHOD_TUN],
    ['dr', METHOD_DR],
  ] as const) {
    table.set(spec([], { servers: [{ ...server, method }] }))
    t.equal(find(table).servers[0].method, number)
  }
})

test('an unknown scheduler is refused before anything is changed', async (t) => {
  const table = newTable()
  t.throws(() => table.set(spec([1], { scheduler: 'nope' })), RangeError)
  t.equal(find(table), undefined)
})

test('servers of one address and two ports are two servers', async (t) => {
  const table = newTable()
  const [server] = spec([1]).servers
  table.set(spec([], { servers: [server, { ...server, port: 8001 }] }))
  t.same(
    find(table).servers.map((each) => each.port),
    [8001, 8000],
  )
})

test('a removed server without connections is gone; its totals stay with the service', async (t) => {
  const table = newTable()
  table.set(spec([1, 2]))
  const { counters } = table.directory
  const server = find(table).servers[0]
  counters[server.slot * COUNTERS + COUNTER.inPackets] = 5
  counters[server.slot * COUNTERS + COUNTER.connections] = 2
  table.set(spec([1]))
  t.ok(server.removed)
  t.equal(table.directory.serverAt(server.slot), undefined)
  const at = find(table).slot * COUNTERS
  t.same(
    [counters[at + COUNTER.inPackets], counters[at + COUNTER.connections], counters[at + COUNTER.active]],
    [5, 2, 0],
  )
})

test('a removed server with connections stays, counts for its service, and is revived when it is added back', async (t) => {
  const table = newTable()
  table.set(spec([1, 2]))
  const { counters } = table.directory
  const server = find(table).servers[0]
  counters[server.slot * COUNTERS + COUNTER.active] = 1
  table.set(spec([1]))
  t.ok(server.removed)
  t.equal(server.weight, 0)
  t.ok(table.directory.slotsOf(find(table).slot).includes(server.slot))
  table.set(spec([1, 2]))
  t.equal(find(table).servers[0], server)
  t.notOk(server.removed)
  t.equal(server.weight, 1)
})

test('a service that is deleted and made again begins to count at 0, whichever of its servers still have connections', async (t) => {
  const table = newTable()
  const { counters } = table.directory
  const count = () => {
    const slots = table.directory.slotsOf(find(table).slot)
    return slots.reduce((sum, slot) => sum + counters[slot * COUNTERS + COUNTER.inPackets], 0)
  }
  table.set(spec([1, 2]))
  const [second, first] = find(table).servers
  for (const server of [first, second]) {
    counters[server.slot * COUNTERS + COUNTER.active] = 1
    counters[server.slot * COUNTERS + COUNTER.inPackets] = 5
  }
  table.remove(spec([]))
  table.set(spec([1]))
  t.equal(find(table).servers[0], first)
  t.equal(count(), 0)
  counters[first.slot * COUNTERS + COUNTER.inPackets] += 3
  t.equal(count(), 3)
  counters[second.slot * COUNTERS + COUNTER.active] = 0
  table.release(second)
  t.equal(count(), 3, 'nor is it that of a server which the new one does not have')
  table.set(spec([]))
  counters[first.slot * COUNTERS + COUNTER.active] = 0
  table.release(first)
  t.equal(count(), 3)
  table.set(spec([1]))
  t.equal(count(), 3)
})

test('connections left over from a removed service never count for the one that gets its slot', async (t) => {
  const table = newTable()
  table.set(spec([1, 2]))
  const { counters } = table.directory
  const slot = find(table).slot
  const [second, first] = find(table).servers
  for (const server of [first, second]) counters[server.slot * COUNTERS + COUNTER.active] = 1
  table.set(spec([1])) // one removed before the service, one with it
  table.remove(spec([]))
  table.set(spec([9], { port: 81 }))
  t.equal(find(table, 81).slot, slot, 'the slot is used again')
  t.same(table.directory.slotsOf(slot), [slot, find(table, 81).servers[0].slot])
})

test('a server that only a peer’s connection names waits until it is configured', async (t) => {
  const table = newTable()
  const identity = {
    protocol: 6,
    virtualAddress: parseIPv4('10.0.0.100'),
    virtualPort: 80,
    address: parseIPv4('10.1.0.1'),
    port: 8000,
  }
  const server = table.serverFor(identity)
  t.ok(server?.removed)
  t.equal(table.serverFor(identity), server)
  table.set(spec([1]))
  t.equal(find(table).servers[0], server)
  t.notOk(server?.removed)
})

test('with no slot left a server is passed over, and the others work', async (t) => {
  const table = newTable(4)
  table.set(spec([1, 2, 3, 4]))
  t.same(listed(table), [2, 1])
  t.equal(table.serverFor({ protocol: 6, virtualAddress: 1, virtualPort: 2, address: 3, port: 4 }), undefined)
  table.set(spec([]))
  table.set(spec([7, 8]))
  t.same(listed(table), [8, 7])
  t.not(find(table).slot, NO_SLOT)
})

test('removing a service that there is not does nothing', async (t) => {
  const table = newTable()
  table.set(spec([1]))
  table.remove(spec([], { port: 81 }))
  t.same(listed(table), [1])
})

test('a neighbour counts the servers whose next hop it is, until they are removed or routes change', async (t) => {
  const table = newTable()
  table.set(spec([1, 2]))
  table.set(spec([1], { port: 81 }))
  const hop = { servers: 0 } as Neighbour
  const [second, first] = find(table).servers
  for (const server of [first, second, first, find(table, 81).servers[0]]) server.leadTo(hop)
  t.equal(hop.servers, 3)
  table.set(spec([2]))
  t.same([hop.servers, second.nextHop], [2, hop], 'the others keep it')
  second.leadTo(undefined)
  table.remove(spec([], { port: 81 }))
  t.equal(hop.servers, 0)
})
