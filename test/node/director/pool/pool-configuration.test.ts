/** The pool's configuration at one director: changes, what is refused, what is kept. */
import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import type { ServerInput } from '../../../../node/director/control/api.ts'
import { untilDone } from '../../../../node/director/pace.ts'
import { encodeEntries, packEntry } from '../../../../node/director/pool/config-message.ts'
import type { PoolEntry } from '../../../../node/director/pool/pool-entry.ts'
import { TOMBSTONE_LIFE_MS } from '../../../../node/director/pool/replicated-entries.ts'
import { MemoryStore } from '../../../../node/director/store/memory-store.ts'
import { FullStore, PoolOfDirectors, START_MS } from './pool-of-directors.ts'

const web = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
const dns = { protocol: 'udp', address: '10.0.0.100', port: 53 } as const
const server = (address: string, change: Partial<ServerInput> = {}): ServerInput => ({
  service: web,
  address,
  port: 8000,
  method: 'nat',
  weight: 1,
  ...change,
})

const alone = () => new PoolOfDirectors(['a']).start('a')

test('services and servers are added, edited and removed', async (t) => {
  const { configuration, changes } = await alone()
  await configuration.addService({ ...web, scheduler: 'wlc' })
  await configuration.addService({ ...dns, scheduler: 'rr' })
  await configuration.addServer(server('172.16.0.3'))
  await configuration.addServer(server('172.16.0.2', { weight: 2 }))
  await configuration.editServer(server('172.16.0.3', { weight: 0 }))
  await configuration.editService({ ...web, scheduler: 'wrr' })
  const servers = [
    { address: '172.16.0.3', port: 8000, method: 'nat', weight: 0, lastWeight: 1, edits: 1 },
    { address: '172.16.0.2', port: 8000, method: 'nat', weight: 2 },
  ]
  t.same(
    configuration.services(),
    [
      { ...web, scheduler: 'wrr', servers },
      { ...dns, scheduler: 'rr', servers: [] },
    ],
    'an edited service keeps its servers, an edited server its place',
  )
  await configuration.removeServer({ service: web, address: '172.16.0.3', port: 8000 })
  await configuration.removeService(dns)
  t.same(configuration.services(), [{ ...web, scheduler: 'wrr', servers: servers.slice(1) }])
  await configuration.clear()
  t.same(configuration.services(), [])
  t.same(
    changes.map(({ kind, service }) => `${kind} ${service.port}`),
    [...['set 80', 'set 53', 'set 80', 'set 80', 'set 80', 'set 80'], 'set 80', 'removed 53', 'removed 80'],
  )
  t.same(changes[7].service, dns)
})

test('sync established is kept as none, since it is the default', async (t) => {
  const { configuration } = await alone()
  for (const change of [configuration.addService, configuration.editService]) {
    await change.call(configuration, { ...web, scheduler: 'wlc', sync: 'established' })
    t.strictSame(configuration.service(web), { ...web, scheduler: 'wlc', servers: [] })
    await configuration.editService({ ...web, scheduler: 'wlc', sync: 'confirmed' })
    t.equal(configuration.service(web)?.sync, 'confirmed')
  }
})

test('of a server with weight 0 every director knows the last one that was not', async (t) => {
  const { configuration } = await alone()
  await configuration.addService({ ...web, scheduler: 'mh' })
  await configuration.addServer(server('172.16.0.3', { weight: 3 }))
  const lastWeights: (number | undefined)[] = []
  for (const weight of [0, 0, 2, 0]) {
    await configuration.editServer(server('172.16.0.3', { weight }))
    lastWeights.push(configuration.service(web)?.servers[0].lastWeight)
  }
  t.same(lastWeights, [3, 3, undefined, 2])
  await configuration.removeServer({ service: web, address: '172.16.0.3', port: 8000 })
  await configuration.addServer(server('172.16.0.3', { weight: 0 }))
  t.equal(configuration.service(web)?.servers[0].lastWeight, undefined, 'one that is added with it never had another')
})

test('direct routing and tunnels take the port of the service, as ipvsadm -g and -i do', async (t) => {
  const { configuration } = await alone()
  await configuration.addService({ ...web, scheduler: 'wlc' })
  await configuration.addServer(server('10.0.0.1', { method: 'dr' }))
  await configuration.addServer(server('10.0.0.2', { method: 'tun' }))
  await configuration.addServer(server('10.0.0.3', { method: 'nat' }))
  t.same(
    configuration.service(web)?.servers.map(({ port }) => port),
    [80, 80, 8000],
  )
  await t.rejects(configuration.addServer(server('10.0.0.1', { method: 'tun', port: 9 })), { code: 'SERVER_EXISTS' })
  await t.rejects(configuration.editServer(server('10.0.0.3', { method: 'dr' })), { code: 'SERVER_MISSING' })
})

test('what cannot be done is refused in words, and changes nothing', async (t) => {
  const { configuration, changes } = await alone()
  await configuration.addService({ ...web, scheduler: 'wlc' })
  await configuration.addServer(server('10.0.0.1'))
  const before = configuration.services()
  const told = changes.length
  const missing = { ...web, port: 81 }
  const refusals: [string, Promise<void>, RegExp][] = [
    [
      'SERVICE_EXISTS',
      configuration.addService({ ...web, scheduler: 'rr' }),
      /service tcp 10.0.0.100:80 already exists/,
    ],
    ['SERVICE_MISSING', configuration.editService({ ...missing, scheduler: 'rr' }), /no service tcp 10.0.0.100:81/],
    ['SERVICE_MISSING', configuration.removeService(missing), /no service tcp 10.0.0.100:81/],
    ['SERVICE_MISSING', configuration.addServer(server('10.0.0.2', { service: missing })), /no service/],
    ['SERVER_EXISTS', configuration.addServer(server('10.0.0.1')), /10.0.0.1:8000 already is in service tcp/],
    ['SERVER_MISSING', configuration.editServer(server('10.0.0.2')), /no real server 10.0.0.2:8000/],
    ['SERVER_MISSING', configuration.removeServer({ service: web, address: '10.0.0.1', port: 80 }), /10.0.0.1:80/],
    [
      'SCHEDULER_UNKNOWN',
      configuration.addService({ ...dns, scheduler: 'fair' }),
      /no scheduler fair: use one of rr, wrr, lc/,
    ],
    ['SCHEDULER_UNKNOWN', configuration.editService({ ...web, scheduler: 'fair' }), /no scheduler fair/],
    [
      'INPUT_INVALID',
      configuration.editService({ ...web, scheduler: 'sh', schedulerFlags: ['sh-port', 'flag-3', 'sh-port'] }),
      /^schedulerFlags: expected each once, and sh-port is there twice$/,
    ],
    ...(
      [
        [{ type: 'ipip', port: 6080, checksum: 'none' }, /^tunnel.port: expected 0 with type ipip/],
        [{ type: 'gre', port: 6080, checksum: 'plain' }, /^tunnel.port: expected 0 with type gre/],
        [{ type: 'ipip', port: 0, checksum: 'plain' }, /^tunnel.checksum: expected none with type ipip/],
      ] as const
    ).map(([tunnel, message]): [string, Promise<void>, RegExp] => [
      'INPUT_INVALID',
      configuration.addServer(server('10.0.0.2', { method: 'tun', tunnel })),
      message,
    ]),
  ]
  for (const [code, change, message] of refusals) await t.rejects(change, { code, message })
  t.same(configuration.services(), before)
  t.equal(changes.length, told)
})

test('a service is refused when it has grown beyond what a message holds', async (t) => {
  for (const [noteBytes, isTaken] of [
    [60_000, true],
    [80_000, false],
  ] as const) {
    const service = { ...web, scheduler: 'wlc', servers: [], note: randomBytes(noteBytes) }
    const store = new MemoryStore()
    await store.open()
    const stamp = { wallMs: START_MS, counter: 0, director: 'a' }
    await store.put('pool/service/tcp 10.0.0.100:80', packEntry({ kind: 'service', stamp, service }))
    await store.close()
    const { configuration } = await new PoolOfDirectors(['a']).start('a', store)
    const change = configuration.edit([
      { do: 'edit-settings', settings: { drop_entry: 1 } },
      { do: 'add-server', server: server('10.0.0.1') },
      { do: 'add-service', service: { ...dns, scheduler: 'rr' } },
    ])
    if (isTaken) await t.resolves(change)
    else await t.rejects(change, { code: 'INPUT_INVALID', at: 1, message: /more than a pool can share/ })
  }
})

test('a change is kept before it is answered, and is there after a restart', async (t) => {
  const pool = new PoolOfDirectors(['a'])
  const { configuration, store } = await pool.start('a')
  await configuration.addService({ ...web, scheduler: 'wlc' })
  await configuration.addServer(server('10.0.0.1'))
  await configuration.addService({ ...dns, scheduler: 'rr' })
  await configuration.removeService(dns)
  const services = configuration.services()
  await pool.stop('a')
  const again = await pool.start('a', store)
  t.same(again.configuration.services(), services)
  t.same(again.changes, [{ kind: 'set', service: services[0] }], 'what is loaded is told as a change')
})

test('a change that the store refuses is refused whole', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const store = new FullStore()
  const a = await pool.start('a', store)
  const b = await pool.start('b')
  await pool.settle()
  store.isFull = true
  await t.rejects(a.configuration.addService({ ...web, scheduler: 'wlc' }), { code: 'STORE_FAILED' })
  await pool.settle()
  t.same([a.configuration.services(), b.configuration.services(), a.changes], [[], [], []])

  await b.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.settle()
  t.equal(a.configuration.services().length, 1, 'but what peers decide is in force')
  t.ok(a.storeFailures.length > 0)
  store.isFull = false
  await a.configuration.addServer(server('10.0.0.1'))
  t.equal(a.configuration.service(web)?.servers.length, 1, 'and the queue goes on after a failure')
})

test('what peers told while the store failed is stored when it works again', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const store = new FullStore()
  const a = await pool.start('a', store)
  const b = await pool.start('b')
  await pool.settle(1)
  const stored = async () => (await Array.fromAsync(store.iterate('pool/'))).map(([key]) => key.split(':').at(-1))
  await b.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.settle(1)
  store.isFull = true
  await b.configuration.removeService(web)
  await b.configuration.addService({ ...web, port: 81, scheduler: 'wlc' })
  await pool.settle(1)
  t.same(await stored(), ['80'])
  store.isFull = false
  await a.configuration.addService({ ...web, port: 82, scheduler: 'wlc' })
  t.same(await stored(), ['80', '81', '82'], 'with the next change')

  store.isFull = true
  await b.configuration.editService({ ...web, port: 81, scheduler: 'rr' })
  await pool.settle(1)
  store.isFull = false
  await pool.settle(1)
  await pool.stop('b')
  await pool.stop('a')
  const again = await pool.start('a', store)
  t.same(
    again.configuration.services().map(({ port, scheduler }) => [port, scheduler]),
    [
      [81, 'rr'],
      [82, 'wlc'],
    ],
    'or by itself, before long',
  )
})

test('a stored entry that nobody understands is STORE_CORRUPT', async (t) => {
  const store = new MemoryStore()
  await store.open()
  await store.put('pool/service/tcp 10.0.0.100:80', Uint8Array.of(0xc1))
  await store.close()
  await t.rejects(new PoolOfDirectors(['a']).start('a', store), { code: 'STORE_CORRUPT', message: /tcp 10.0.0.100:80/ })
})

test('a configuration that is closed takes no changes', async (t) => {
  const pool = new PoolOfDirectors(['a'])
  const { configuration } = await pool.start('a')
  const underWay = configuration.addService({ ...web, scheduler: 'wlc' })
  await configuration.close()
  await underWay.catch(() => undefined)
  await t.rejects(configuration.clear(), { message: /stopping/ })
})

test('changes reach a connected peer by gossip, and a peer that connects later as a whole', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const a = await pool.start('a')
  const b = await pool.start('b')
  await pool.advance(100)
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.advance(100)
  t.same(b.configuration.services(), a.configuration.services())
  for (let port = 1; port <= 2000; port++) await b.configuration.addService({ ...dns, port, scheduler: 'rr' })
  const c = await pool.start('c')
  await pool.advance(100)
  t.equal(c.configuration.services().length, 2001, 'in several messages')
  t.same(c.configuration.services(), b.configuration.services())
})

test('a lost change is repaired when the digests differ', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  const b = await pool.start('b')
  await pool.advance(100)
  pool.network.loss = 1
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.advance(100)
  t.equal(b.configuration.services().length, 0)
  pool.network.loss = 0
  await pool.settle()
  t.equal(b.configuration.services().length, 1)
})

test('the newest change wins over a director whose clock is behind', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  const b = await pool.start('b', new MemoryStore(), -300_000)
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.settle()
  await b.configuration.editService({ ...web, scheduler: 'rr' })
  await pool.settle()
  t.equal(a.configuration.service(web)?.scheduler, 'rr')
  await a.configuration.removeService(web)
  await pool.settle()
  t.equal(b.configuration.services().length, 0)
})

test('changes stamped too far ahead are refused and counted, and lose where they are in force', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  const b = await pool.start('b', new MemoryStore(), 365 * 24 * 3_600_000)
  await b.configuration.addService({ ...web, scheduler: 'rr' })
  await pool.settle()
  t.equal(a.configuration.services().length, 0)
  t.ok(a.configuration.refused.stamps > 0)
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.settle()
  t.equal(b.configuration.service(web)?.scheduler, 'rr', 'while the clock is ahead, it believes itself')
  b.skewMs = 0
  await pool.settle()
  t.equal(b.configuration.service(web)?.scheduler, 'wlc')
})

test('a tombstone keeps a removed service away for thirty days', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  const b = await pool.start('b')
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await pool.settle()
  await pool.stop('b')
  await a.configuration.removeService(web)
  await pool.advance(TOMBSTONE_LIFE_MS - 60_000)
  a.configuration.announce()
  const again = await pool.start('b', b.store)
  await pool.settle()
  t.same([a.configuration.services(), again.configuration.services()], [[], []], 'b was away and learns of it')

  await pool.advance(120_000)
  a.configuration.announce()
  await pool.settle()
  const kept: string[] = []
  for await (const [key] of a.store.iterate('pool/')) kept.push(key)
  t.same(kept, [], 'then it is forgotten, in the store too')
})

test('a service that is added again while its tombstone is forgotten stays in the store', async (t) => {
  const pool = new PoolOfDirectors(['a'])
  const { configuration, store } = await pool.start('a')
  await configuration.addService({ ...web, scheduler: 'wlc' })
  await configuration.removeService(web)
  await pool.advance(TOMBSTONE_LIFE_MS + 1)
  const adding = configuration.addService({ ...web, scheduler: 'rr' })
  configuration.announce()
  await adding
  await pool.settle(1)
  await pool.stop('a')
  const again = await pool.start('a', store)
  t.equal(again.configuration.service(web)?.scheduler, 'rr')
})

test('a removal is remembered where the service was never known, so that an old copy of it is not taken', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const a = await pool.start('a')
  await a.configuration.addService({ ...web, scheduler: 'wlc' })
  await a.configuration.removeService(web)
  const b = await pool.start('b')
  await pool.advance(100)
  await pool.stop('a')
  const c = pool.network.join('c', pool.names)
  await c.start()
  await pool.advance(100)
  const stamp = { wallMs: START_MS - 1000, counter: 0, director: 'c' }
  const old: PoolEntry = { kind: 'service', stamp, service: { ...web, scheduler: 'rr', servers: [] } }
  for (const message of encodeEntries([packEntry(old)])) c.broadcast('config', message)
  await pool.advance(100)
  t.same(b.configuration.services(), [])
  for (const message of encodeEntries([packEntry({ ...old, stamp: { ...stamp, wallMs: START_MS + 1000 } })]))
    c.broadcast('config', message)
  await pool.advance(100)
  t.equal(b.configuration.services().length, 1, 'while a later one is')
})

test('garbage from a peer is counted and changes nothing', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  const b = pool.network.join('b', pool.names)
  await b.start()
  await pool.advance(100)
  const stamp = { wallMs: START_MS, counter: 0, director: 'b' }
  const entry = { kind: 'service', stamp, service: { ...web, scheduler: 'rr', servers: [] as unknown[] } }
  const twice = { address: '10.0.0.1', port: 80, method: 'nat', weight: 1 }
  const wrong: unknown[] = [
    17,
    null,
    {},
    { ...entry, kind: 'other' },
    { ...entry, stamp: { ...stamp, wallMs: -1 } },
    { ...entry, stamp: { ...stamp, counter: 2 ** 40 } },
    { ...entry, service: { ...entry.service, port: 70_000 } },
    { ...entry, service: { ...entry.service, address: '10.0.0' } },
    { ...entry, service: { ...entry.service, servers: [twice, twice] } },
    { ...entry, service: { ...entry.service, servers: [{ ...twice, weight: -1 }] } },
  ]
  for (const message of encodeEntries((wrong as PoolEntry[]).map(packEntry))) b.broadcast('config', message)
  await pool.advance(100)
  t.equal(a.configuration.refused.invalid, wrong.length)

  const [valid] = encodeEntries([packEntry(entry as PoolEntry)])
  const messages = [new Uint8Array(), Uint8Array.of(1), Uint8Array.of(2, 1, 0), valid.subarray(0, valid.length - 3)]
  for (let i = 0; i < 200; i++) messages.push(Buffer.concat([Uint8Array.of(1, 1 + 2 * (i & 1)), randomBytes(i)]))
  for (const message of messages) b.broadcast('config', message)
  await pool.advance(100)
  t.same([a.configuration.services(), a.changes], [[], []])
  b.broadcast('config', valid)
  await pool.advance(100)
  t.equal(a.configuration.services().length, 1)
})

test('of a document whose teller has died while he told of it nothing is in force', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  await pool.start('b')
  await pool.settle(1)
  const stamp = { wallMs: START_MS, counter: 0, director: 'b' }
  const entries = Array.from({ length: 1000 }, (_, index): PoolEntry => {
    const servers = [{ address: '10.1.0.1', port: 80, method: 'nat' as const, weight: 1 }]
    return { kind: 'service', stamp, service: { ...web, port: 1 + index, scheduler: 'wlc', servers } }
  })
  const messages = [...encodeEntries(entries.map(packEntry), 'change')]
  t.ok(messages.length > 1)
  const hear = async (heard: readonly Uint8Array[]) => {
    for (const message of heard) pool.network.member('a')?.deliver('config', 'b', message)
    await untilDone()
    await pool.advance(0)
    await untilDone()
  }
  await hear(messages.slice(0, -1))
  t.same(a.configuration.services(), [])
  await hear(messages.slice(-1))
  t.equal(a.configuration.services().length, 1000)
  t.equal(a.configuration.revisions().length, 2, 'and it is one change')
})
