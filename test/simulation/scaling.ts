/**
 * npm run scaling: what a pool costs each of its directors as it grows, on a virtual network and clock, with the real replication and
 * configuration. Messages and bytes are exact; CPU is this process's time, shared out. And what checkpoints cost, on the real disk. docs/scaling.md has
 * its numbers.
 */
import Table from 'cli-table3'
import type { Topic } from '../../node/director/cluster/transport.ts'
import { Pool } from '../node/director/cluster/replication-pool.ts'
import { PoolOfDirectors } from '../node/director/pool/pool-of-directors.ts'
import { CHECKPOINT_COLUMNS, checkpointOf } from './checkpoint-scaling.ts'

const POOLS = [2, 3, 5, 10, 20, 50]
const SERVICES = [10, 100, 1000, 10_000]
const CHECKPOINTS = [10_000, 100_000, 1_000_000]
const SERVERS = 2
const SECONDS = 10
/** Connections at one director, each told of when it is established, when it is closing and when it is over. */
const CONNECTIONS_PER_SECOND = 1000
const RECORDS = 3
const ANNOUNCE_INTERVAL_S = 5

interface Traffic {
  messages: number
  bytes: number
  cpuMs: number
}

/** Counts what the members of a network are given, while `work` is done. */
async function metered(
  network: Pool['network'],
  names: readonly string[],
  work: () => Promise<void>,
): Promise<Traffic & { to: Map<string, number> }> {
  const to = new Map<string, number>()
  let messages = 0
  let bytes = 0
  const restored = names.map((name) => {
    const member = network.member(name)
    if (!member) throw new Error(`${name} is not there`)
    const deliver = member.deliver.bind(member)
    member.deliver = (topic: Topic, from: string, message: Uint8Array) => {
      messages++
      bytes += message.length
      to.set(name, (to.get(name) ?? 0) + message.length)
      deliver(topic, from, message)
    }
    return () => {
      member.deliver = deliver
    }
  })
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  for (const restore of restored) restore()
  return { messages, bytes, cpuMs: (user + system) / 1000, to }
}

async function poolOf(size: number): Promise<(string | number)[]> {
  const names = Array.from({ length: size }, (_, index) => `d${index + 1}`)
  const pool = new Pool(names)
  const [first] = await pool.startAll()
  // The counting of messages, the comparing of tables: everything has begun.
  await pool.clock.advance(2000)
  const idle = await metered(pool.network, names, () => pool.clock.advance(SECONDS * 1000))
  let next = 0
  const busy = await metered(pool.network, names, async () => {
    for (let ms = 0; ms < SECONDS * 1000; ms++) {
      for (let record = 0; record < (CONNECTIONS_PER_SECOND * RECORDS) / 1000; record++) first.write(next++ % 50_000, 1)
      first.flush()
      await pool.clock.advance(1)
    }
  })
  pool.stop()
  const each = (value: number) => value / SECONDS / size
  const sentKiB = ((busy.bytes - idle.bytes) / SECONDS / 1024).toFixed(0)
  return [
    size,
    Math.round(each(idle.messages)),
    (each(idle.bytes) / 1024).toFixed(1),
    each(idle.cpuMs).toFixed(1),
    sentKiB,
    Math.round(Number(sentKiB) / (size - 1)),
    each(busy.cpuMs).toFixed(1),
  ]
}

async function servicesOf(count: number): Promise<(string | number)[]> {
  const names = ['a', 'b', 'c']
  const pool = new PoolOfDirectors(names)
  const a = await pool.start('a')
  const b = await pool.start('b')
  await pool.clock.advance(100)
  const edits = Array.from({ length: count }, (_, index) => {
    const service = {
      protocol: 'tcp',
      address: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
      port: 80,
    } as const
    const servers = Array.from({ length: SERVERS }, (_, server) => ({
      do: 'add-server' as const,
      server: {
        service,
        address: `172.16.${server}.${1 + (index % 250)}`,
        port: 8000,
        method: 'nat' as const,
        weight: 1,
      },
    }))
    return [{ do: 'add-service' as const, service: { ...service, scheduler: 'wlc' } }, ...servers]
  }).flat()
  await a.configuration.edit(edits)
  const told = await metered(pool.network, ['a', 'b'], () =>
    settle(pool, () => b.configuration.services().length === count),
  )
  const web = a.configuration.services()[0]
  const change = await metered(pool.network, ['a', 'b'], async () => {
    await a.configuration.editService({ ...addressOf(web), scheduler: 'wrr' })
    await settle(pool, () => b.configuration.services().some(({ scheduler }) => scheduler === 'wrr'))
  })
  const c = await pool.start('c')
  const join = await metered(pool.network, names, async () => {
    a.configuration.announce()
    b.configuration.announce()
    await settle(pool, () => c.configuration.services().length === count)
  })
  const idle = await metered(pool.network, names, async () => {
    for (const { configuration } of [a, b, c]) configuration.announce()
    await pool.clock.advance(500)
  })
  const kiB = (bytes: number) => (bytes / 1024).toFixed(1)
  return [
    count,
    kiB(told.bytes),
    kiB(change.bytes),
    change.messages,
    kiB(join.bytes),
    join.cpuMs.toFixed(0),
    kiB(idle.bytes / names.length / ANNOUNCE_INTERVAL_S),
  ]
}

function addressOf({ protocol, address, port }: { protocol: string; address: string; port: number }) {
  return { protocol, address, port } as { protocol: 'tcp'; address: string; port: number }
}

async function settle(pool: PoolOfDirectors, isDone: () => boolean): Promise<void> {
  await pool.clock.until(isDone, 120_000, 20)
}

const pools = new Table({
  style: { head: [], border: [] },
  head: ['directors', 'messages/s', 'KiB/s', 'CPU ms/s', 'sent KiB/s', 'received KiB/s', 'CPU ms/s, busy'],
})
for (const size of POOLS) pools.push(await poolOf(size))
process.stdout.write(
  `Each director of an idle pool receives; then one sends ${CONNECTIONS_PER_SECOND} connections a second, in all and to each:\n${pools}\n\n`,
)
const configurations = new Table({
  head: [
    'services',
    'first told KiB',
    'one change KiB',
    'its messages',
    'newcomer KiB',
    'newcomer CPU ms',
    'idle KiB/s',
  ],
})
for (const count of SERVICES) configurations.push(await servicesOf(count))
process.stdout.write(`Three directors, ${SERVERS} real servers a service:\n${configurations}\n`)
const checkpoints = new Table({ head: CHECKPOINT_COLUMNS })
for (const connections of CHECKPOINTS) checkpoints.push(await checkpointOf(connections))
process.stdout.write(`Checkpoints of the connection table:\n${checkpoints}\n`)
