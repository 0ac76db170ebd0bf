/** The connection table against a Map, over long random histories; its memory; its limits. */
import { test } from 'tap'
import { ConnectionKey } from '../../../forwarder/table/connection-key.ts'
import {
  type ConnectionIndex,
  ConnectionMemory,
  FLAG_ONE_WAY,
  NO_CONNECTION,
} from '../../../forwarder/table/connection-layout.ts'
import { ConnectionTable } from '../../../forwarder/table/connection-table.ts'
import { ServerDirectory } from '../../../forwarder/table/server-directory.ts'
import { seededRandom, seeds } from '../../random.ts'
import { keyOf } from '../../support/connection-keys.ts'

const TCP = 6
const UDP = 17
const SERVERS = 5
const STEPS = 30_000

function newTable(capacity: number, secret = 0x5eed): { table: ConnectionTable; servers: number[] } {
  const directory = new ServerDirectory(ServerDirectory.allocate(64))
  const servers = Array.from({ length: SERVERS }, (_, number) =>
    directory.addServer(
      { protocol: TCP, virtualAddress: 1, virtualPort: 80, address: 0x0a010000 + number, port: 8000 },
      0,
    ),
  )
  return { table: new ConnectionTable(ConnectionMemory.allocate(capacity), directory, secret, 1000), servers }
}

interface Entry {
  protocol: number
  isIPv6: boolean
  /** The last word of an IPv6 address. */
  client: number
  virtual: number
  ports: number
  server: number
  serverPort: number
  isOneWay: boolean
}

const keyOfEntry = ({ protocol, isIPv6, client, virtual, ports }: Entry): ConnectionKey => {
  const key = keyOf(protocol, client, virtual, ports)
  // As an address number of IPv6 the virtual address is one that the book knows.
  if (isIPv6) key.setIPv6(protocol, 0x20010db8, 0, 0, client, 1 + (virtual & 1), ports)
  return key
}
const clientKey = (entry: Entry) => [entry.protocol, entry.isIPv6, entry.client, entry.virtual, entry.ports].join()

for (const seed of seeds(3)) {
  test(`${STEPS} random insertions, removals and lookups agree with a Map (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const capacity = 256
    const { table, servers } = newTable(capacity, random.below(2 ** 32))
    const model = new Map<string, { entry: Entry; index: ConnectionIndex }>()
    // Few clients and ports, so that keys collide and come again; addresses on both sides of 2^31.
    const anyEntry = (): Entry => ({
      protocol: random.oneIn(4) ? UDP : TCP,
      isIPv6: random.oneIn(2),
      client: (0x7ffffffe + random.below(4)) | 0,
      virtual: (0xc0a80000 + random.below(2)) | 0,
      ports: ((0x7ffe + random.below(40)) << 16) | (80 + random.below(2)),
      server: random.below(SERVERS),
      serverPort: 65_530 + random.below(2),
      isOneWay: random.oneIn(3),
    })
    const findByClient = (entry: Entry) => table.find(keyOfEntry(entry))
    const belongs = (index: ConnectionIndex, entry: Entry) =>
      table.protocol(index) === entry.protocol &&
      table.server(index) === servers[entry.server] &&
      table.serverPort(index) === entry.serverPort

    for (let step = 0; step < STEPS; step++) {
      const entry = anyEntry()
      const known = model.get(clientKey(entry))
      if (findByClient(entry) !== (known?.index ?? NO_CONNECTION)) return t.fail(`step ${step}: lookup by client`)
      if (known && random.oneIn(2)) {
        table.remove(known.index)
        model.delete(clientKey(entry))
      } else if (!known) {
        const flags = entry.isOneWay ? FLAG_ONE_WAY : 0
        const index = table.insert(keyOfEntry(entry), servers[entry.server], entry.serverPort, flags)
        if (index === NO_CONNECTION) {
          if (model.size !== capacity - 1) return t.fail(`step ${step}: full at ${model.size}`)
          const [victim] = model.values()
          table.remove(victim.index)
          model.delete(clientKey(victim.entry))
        } else {
          table.setExpires(index, 2000)
          table.file(index)
          model.set(clientKey(entry), { entry, index })
        }
      }
      if (table.memory.used !== model.size) return t.fail(`step ${step}: ${table.memory.used} used for ${model.size}`)
      if (step % 500 !== 0) continue
      const byServer = new Map<string, Entry[]>()
      for (const { entry, index } of model.values()) {
        if (findByClient(entry) !== index || !belongs(index, entry)) return t.fail(`step ${step}: ${clientKey(entry)}`)
        const read = new ConnectionKey()
        table.readKey(index, read)
        if (JSON.stringify(read) !== JSON.stringify(keyOfEntry(entry))) return t.fail(`step ${step}: key of ${index}`)
        const { protocol, isIPv6, server, serverPort, client, ports } = entry
        const key = [protocol, isIPv6, server, serverPort, client, ports >>> 16].join()
        byServer.set(key, [...(byServer.get(key) ?? []), entry])
      }
      for (const entries of byServer.values()) {
        const { server, serverPort } = entries[0]
        const found = table.findReply(keyOfEntry(entries[0]), 0x0a010000 + server, serverPort)
        const candidates = entries.filter((candidate) => !candidate.isOneWay)
        if (
          candidates.length === 0 ? found !== NO_CONNECTION : !candidates.some((candidate) => belongs(found, candidate))
        )
          return t.fail(`step ${step}: lookup by server`)
      }
    }
    for (const { index } of model.values()) table.remove(index)
    t.equal(table.memory.used, 0)
    t.equal(table.memory.fresh, capacity, 'places were used again before new ones')
  })
}

test('a connection costs at most 64 bytes, both directions’ index included', async (t) => {
  const bytes = (capacity: number) => ConnectionMemory.allocate(capacity).byteLength
  t.equal((bytes(2 ** 17) - bytes(2 ** 16)) / 2 ** 16, ConnectionMemory.bytesPerConnection)
  t.ok(ConnectionMemory.bytesPerConnection <= 64)
})

test('a table of another size than a power of two is refused', async (t) => {
  for (const capacity of [0, 1, 2, 3, 1000]) t.throws(() => ConnectionMemory.allocate(capacity), RangeError)
})

test('an empty table finds nothing, and place 0 is nobody’s', async (t) => {
  const { table, servers } = newTable(4)
  t.equal(table.findByClient(TCP, 0, 0, 0), NO_CONNECTION)
  t.equal(table.findByServer(TCP, 0, 0, 0, 0), NO_CONNECTION)
  const inserted = [1, 2, 3, 4].map((ports) => table.insert(keyOf(TCP, 0, 0, ports), servers[0], 80, 0))
  t.same(inserted, [1, 2, 3, 0])
})

test('two services with the same server tell their connections apart by the client’s side only', async (t) => {
  const { table, servers } = newTable(16)
  const one = table.insert(keyOf(TCP, 7, 100, (5 << 16) | 80), servers[0], 8000, 0)
  const other = table.insert(keyOf(TCP, 7, 101, (5 << 16) | 80), servers[0], 8000, 0)
  t.equal(table.findByClient(TCP, 7, 100, (5 << 16) | 80), one)
  t.equal(table.findByClient(TCP, 7, 101, (5 << 16) | 80), other)
  t.equal(table.findByServer(TCP, 0x0a010000, 8000, 7, 5), other, 'as in IPVS the newer one gets the reply')
})

test('flags and return path, state and port lie side by side and do not disturb each other', async (t) => {
  const { table, servers } = newTable(16)
  const index = table.insert(keyOf(TCP, 7, 100, 5), servers[0], 0xffff, FLAG_ONE_WAY)
  table.setState(index, 10)
  table.setFlags(index, 0xffff)
  t.same(
    [table.state(index), table.serverPort(index), table.protocol(index), table.flags(index)],
    [10, 0xffff, TCP, 0xffff],
  )
  table.setFlags(index, FLAG_ONE_WAY)
  table.setState(index, 1)
  t.same(
    [table.state(index), table.serverPort(index), table.protocol(index), table.flags(index)],
    [1, 0xffff, TCP, FLAG_ONE_WAY],
  )
})
