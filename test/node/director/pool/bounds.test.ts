/** What a pool's configuration may grow to: by changes made here, and by what a peer tells, a stolen one too. */
import { Packr } from 'msgpackr'
import { test } from 'tap'
import { peerIdOfPublicKey } from '../../../../node/director/cluster/identity.ts'
import type { PoolEdit } from '../../../../node/director/control/api.ts'
import { admissionEntry } from '../../../../node/director/pool/admissions.ts'
import { encodeEntries, packEntry } from '../../../../node/director/pool/config-message.ts'
import {
  CONFIGURED_MAX,
  MEMBERSHIP_WEIGHT_MAX,
  SLOTS_MAX,
  STRANGERS_MAX,
} from '../../../../node/director/pool/counted-entries.ts'
import { weightOf } from '../../../../node/director/pool/entry-weight.ts'
import { type PoolEntry, SEEN_MAX } from '../../../../node/director/pool/pool-entry.ts'
import { MemoryStore } from '../../../../node/director/store/memory-store.ts'
import type { StoreOperation } from '../../../../node/director/store/store.ts'
import { createTestPoolKey } from '../../../support/join-tokens.ts'
import { PoolOfDirectors, peerIdOf, START_MS, type TestDirector } from './pool-of-directors.ts'

const web = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
const stamp = { wallMs: START_MS, counter: 0, director: 'b' }

async function tell(pool: PoolOfDirectors, entries: readonly PoolEntry[]): Promise<void> {
  for (const message of encodeEntries(entries.map(packEntry))) {
    pool.network.member('a')?.deliver('config', 'b', message)
    await pool.advance(0)
  }
}

async function poolOfTwo(): Promise<{ pool: PoolOfDirectors; a: TestDirector; b: TestDirector }> {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const [a, b] = [await pool.start('a'), await pool.start('b')]
  await pool.settle(1)
  return { pool, a, b }
}

/** The id of a director that nobody knows. */
function stranger(index: number): string {
  const digits = [...String(index).padStart(44, '0')].map((digit) => 'abcdefghij'[Number(digit)])
  return `12D3KooW${digits.join('')}`
}

const revocationOf = (peer: string): PoolEntry => ({ kind: 'peer', stamp, peer, revoked: true })

test('revocations of directors that nobody knows are bounded; those of known ones, and services, are taken all the same', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const key = createTestPoolKey()
  pool.poolKeys = [key.publicKey]
  const a = await pool.start('a')
  await pool.start('b')
  await pool.settle(1)
  const issuedMs = START_MS
  const times = { issuedMs, expiresMs: START_MS + 3_600_000 }
  await a.admission.show(
    key.sign({ peer: peerIdOf('d'), name: 'd', address: '192.0.2.3:7946', ...times }),
    peerIdOf('d'),
  )
  await tell(
    pool,
    Array.from({ length: STRANGERS_MAX + 3 }, (_, index) => revocationOf(stranger(index))),
  )
  t.equal(a.configuration.refused.surplus, 3)
  t.equal(a.revoked.current.size, STRANGERS_MAX)
  await tell(pool, [
    revocationOf(peerIdOf('c')),
    revocationOf(peerIdOf('d')),
    { kind: 'service', stamp, service: { ...web, scheduler: 'rr', servers: [] } },
  ])
  t.ok(a.revoked.current.has(peerIdOf('c')), 'configured')
  t.ok(a.revoked.current.has(peerIdOf('d')), 'let in by a token')
  t.equal(a.configuration.services().length, 1)
  await tell(pool, [{ ...revocationOf(stranger(0)), revoked: false, stamp: { ...stamp, counter: 1 } } as PoolEntry])
  t.notOk(a.revoked.current.has(stranger(0)), 'news of what is there already is no surplus')
  t.equal(a.configuration.refused.surplus, 3)
})

test('what is told while what was told before is being stored takes no more room', async (t) => {
  const stored = Promise.withResolvers<void>()
  const store = new (class extends MemoryStore {
    override async batch(operations: readonly StoreOperation[]): Promise<void> {
      await stored.promise
      await super.batch(operations)
    }
  })()
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a', store)
  await pool.start('b')
  await pool.settle(1)
  const revocations = Array.from({ length: STRANGERS_MAX + 3 }, (_, index) => revocationOf(stranger(index)))
  // Some of it twice, since what is being stored is not known yet.
  await tell(pool, revocations.slice(0, 100))
  await tell(pool, revocations.slice(50))
  stored.resolve()
  await pool.advance(0)
  t.equal(a.configuration.refused.surplus, 3)
  t.equal(a.revoked.current.size, STRANGERS_MAX)
})

test('admissions are bounded where no key of the pool can prove them', async (t) => {
  const { pool, a } = await poolOfTwo()
  const key = createTestPoolKey()
  const times = { issuedMs: START_MS, expiresMs: START_MS + 3_600_000 }
  const idOf = (index: number) => peerIdOfPublicKey(Buffer.alloc(32, `${index} `))
  const forged = Array.from({ length: STRANGERS_MAX + 100 }, (_, index) => {
    const token = { peer: idOf(index), name: `d${index}`, address: '192.0.2.3:7946', ...times }
    return admissionEntry(token, key.sign(token))
  })
  await tell(pool, forged)
  t.equal(a.configuration.refused.surplus, forged.length - STRANGERS_MAX)
  const stored = await Array.fromAsync(a.store.iterate('pool/admission/'))
  t.equal(stored.length, STRANGERS_MAX)
  await tell(pool, [revocationOf(peerIdOf('c')), revocationOf(idOf(0))])
  t.same([...a.revoked.current], [peerIdOf('c'), idOf(0)])
})

test('what a peer changes of what is there takes no room from what it adds', async (t) => {
  const { pool, a } = await poolOfTwo()
  const revocations = Array.from({ length: STRANGERS_MAX }, (_, index) => revocationOf(stranger(index)))
  await tell(pool, revocations.slice(1))
  const edits = revocations.slice(1, 100).map((entry) => ({ ...entry, stamp: { ...stamp, counter: 1 } }))
  await tell(pool, [...edits, revocations[0]])
  t.equal(a.configuration.refused.surplus, 0)
  t.equal(a.revoked.current.size, STRANGERS_MAX)
})

test('a pool that holds all entries it can takes no more, from here or from peers, but removals and edits', async (t) => {
  const store = new MemoryStore()
  await store.open()
  for (let index = 0; index < CONFIGURED_MAX - 1; index++) {
    const service = { protocol: 'tcp', address: `10.1.${index >> 8}.${index & 255}`, port: 80 } as const
    const key = `pool/service/tcp ${service.address}:80`
    await store.put(key, packEntry({ kind: 'tombstone', stamp, service }))
  }
  await store.close()
  const pool = new PoolOfDirectors(['a', 'b'])
  const { configuration } = await pool.start('a', store)
  await configuration.addService({ ...web, scheduler: 'rr' })
  const { revision } = configuration
  const message = /a pool holds 65536 services/
  await t.rejects(configuration.setSettings({ drop_entry: 1 }), { code: 'INPUT_INVALID', message })
  await t.rejects(configuration.addService({ ...web, port: 81, scheduler: 'rr' }), { code: 'INPUT_INVALID', message })
  t.equal(configuration.revision, revision)
  await configuration.editService({ ...web, scheduler: 'lc' })
  await configuration.removeService(web)
  await configuration.members.setRevoked(peerIdOf('b'), true)
})

test('the configuration is bounded in memory, whatever a peer needs to tell it, and what is removed makes room', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const serviceWith = (port: number, letters: number, counter = 0) => {
    const service = { ...web, port, scheduler: 'rr', servers: [] }
    return { kind: 'service', stamp: { ...stamp, counter }, service, later: 'a'.repeat(letters) } as PoolEntry
  }
  pool.weightMax = 10 * weightOf(serviceWith(81, 9000))
  const [{ configuration }] = [await pool.start('a'), await pool.start('b')]
  await pool.settle(1)
  await tell(
    pool,
    Array.from({ length: 17 }, (_, index) => serviceWith(81 + index, 9000)),
  )
  t.equal(configuration.services().length, 15, 'half as much again as is added here')
  t.equal(configuration.refused.surplus, 2)
  await t.rejects(configuration.addService({ ...web, scheduler: 'rr' }), { message: /holds 1 MiB: remove some/ })
  await tell(pool, [serviceWith(81, 9001, 1)])
  t.equal(configuration.refused.surplus, 3, 'nor does what is there grow')
  await tell(pool, [serviceWith(82, 0, 1), serviceWith(81, 9002, 2), serviceWith(96, 100)])
  t.equal(configuration.refused.surplus, 3, 'before there is room')
  t.equal(configuration.services().length, 16)
  for (let port = 82; port < 92; port++) await configuration.removeService({ ...web, port })
  await configuration.addService({ ...web, scheduler: 'rr' })
})

test('what a document removes makes room for what it adds', async (t) => {
  const service = (port: number, servers: number) => ({
    ...web,
    port,
    scheduler: 'rr',
    servers: Array.from({ length: servers }, (_, index) => ({
      address: `10.1.0.${index}`,
      port: 80,
      method: 'nat' as const,
      weight: 1,
    })),
  })
  const document = (port: number, servers: number): PoolEdit[] => [
    { do: 'clear' },
    { do: 'replace-service', service: service(port, servers) },
  ]
  const pool = new PoolOfDirectors(['a', 'b'])
  pool.weightMax = 1.5 * weightOf({ kind: 'service', stamp, service: service(80, 100) })
  const [a, b] = [await pool.start('a'), await pool.start('b')]
  await pool.settle(1)
  await a.configuration.edit(document(80, 100))
  await a.configuration.edit(document(81, 100))
  await pool.settle(1)
  t.equal(b.configuration.revision, a.configuration.revision, 'with peers, too')
  t.match(b.configuration.services(), [{ port: 81 }])
  await t.rejects(a.configuration.edit(document(82, 200)), { message: /remove some of it first/ })
  await a.configuration.clear()
})

test('a revocation that takes more than one says is refused, and one of which all directors have known is not', async (t) => {
  const { pool, a } = await poolOfTwo()
  const names = Array.from({ length: SEEN_MAX }, (_, index) => `d${index}`.padEnd(63, '-'))
  const seen = Object.fromEntries(names.map((name) => [name, [START_MS, 1]]))
  await tell(pool, [
    { ...revocationOf(stranger(1)), later: 'a'.repeat(MEMBERSHIP_WEIGHT_MAX) } as PoolEntry,
    { ...revocationOf(stranger(2)), later: Array(MEMBERSHIP_WEIGHT_MAX / 16).fill([]) } as PoolEntry,
    { ...revocationOf(stranger(3)), seen, knew: seen } as PoolEntry,
  ])
  t.same([...a.revoked.current], [stranger(3)])
  t.equal(a.configuration.refused.surplus, 2)
})

test('services and real servers are refused beyond what the forwarder has places for', async (t) => {
  const store = new MemoryStore()
  await store.open()
  for (const port of [80, 81]) {
    const servers = Array.from({ length: (SLOTS_MAX - 1) / 2 - 1 }, (_, index) => ({
      address: `10.${1 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`,
      port: 80,
      method: 'nat' as const,
      weight: 1,
    }))
    const service = { ...web, port, scheduler: 'rr', servers }
    await store.put(`pool/service/tcp 10.0.0.100:${port}`, packEntry({ kind: 'service', stamp, service }))
  }
  await store.close()
  const { configuration } = await new PoolOfDirectors(['a']).start('a', store)
  await configuration.addService({ ...web, port: 82, scheduler: 'rr' })
  const server = { service: { ...web, port: 82 }, address: '10.9.0.1', port: 80, method: 'nat', weight: 1 } as const
  await t.rejects(configuration.addServer(server), {
    code: 'INPUT_INVALID',
    message: /would be 131072 .* room for 131071/,
  })
  await configuration.removeService({ ...web, port: 81 })
  await configuration.addServer(server)
})

test('what could not be told to others is not taken from a peer, and what they tell besides is', async (t) => {
  const { pool, a, b } = await poolOfTwo()
  const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)])
  const service = { ...web, scheduler: 'rr', servers: [] }
  const serviceWith = (port: number, more: object) =>
    ({ kind: 'service', stamp, service: { ...service, port, ...more } }) as PoolEntry
  await tell(pool, [
    serviceWith(81, { later: nested(20) }),
    serviceWith(82, { later: nested(60) }),
    serviceWith(83, {}),
    serviceWith(88, { later: new Uint8Array(256) }),
    // A schema would walk over them as over so many fields.
    serviceWith(89, { later: new Uint8Array(2 ** 19) }),
  ])
  const withSet = new Packr({ useRecords: false, structuredClone: true }).pack(serviceWith(84, { later: new Set([1]) }))
  const extensions = new Packr({
    useRecords: false,
    largeBigIntToFloat: false,
    useBigIntExtension: true,
    moreTypes: true,
  })
  const strange = [2n ** 80n, new BigInt64Array(1), new Float64Array(1)].map((later, index) =>
    extensions.pack(serviceWith(85 + index, { later })),
  )
  for (const message of encodeEntries([withSet, ...strange])) {
    pool.network.member('a')?.deliver('config', 'b', message)
  }
  await pool.advance(0)
  t.same(
    a.configuration.services().map(({ port }) => port),
    [81, 83, 88],
  )
  t.equal(a.configuration.refused.invalid, 3)
  await pool.settle()
  t.same(b.configuration.services(), a.configuration.services(), 'all of it is told')
})
