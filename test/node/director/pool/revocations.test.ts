/** Directors that are shut out of the pool: everywhere, for good, and not by their own leave. */
import { deflateRawSync } from 'node:zlib'
import { test } from 'tap'
import { untilDone } from '../../../../node/director/pace.ts'
import { admissionEntry } from '../../../../node/director/pool/admissions.ts'
import { BATCH_BYTES, encodeEntries, packEntry } from '../../../../node/director/pool/config-message.ts'
import { createTestPoolKey } from '../../../support/join-tokens.ts'
import { FullStore, PoolOfDirectors, peerIdOf, START_MS } from './pool-of-directors.ts'

async function poolOf(...names: string[]) {
  const pool = new PoolOfDirectors(names)
  const directors = []
  for (const name of names) directors.push(await pool.start(name))
  await pool.settle(1)
  return { pool, directors }
}

test('a revocation reaches all, who end their connections with that director', async (t) => {
  const { pool, directors } = await poolOf('a', 'b', 'c')
  const [a, b, c] = directors
  await a.configuration.members.setRevoked(peerIdOf('c'), true)
  t.same(a.transport.connectedPeers(), ['b'], 'at once where the operator is')
  await pool.settle(1)
  t.same([...b.revoked.current], [peerIdOf('c')])
  t.same(b.transport.connectedPeers(), ['a'])
  t.same(c.transport.connectedPeers(), [])
  await c.configuration.addService({ protocol: 'tcp', address: '10.0.0.9', port: 80, scheduler: 'rr' })
  await pool.settle(1)
  t.same([a.configuration.services(), b.configuration.services()], [[], []], 'nothing it says counts')
})

test('a revocation is known after a restart, before anybody is met, and to those who were away', async (t) => {
  const { pool, directors } = await poolOf('a', 'b', 'c')
  const [a, b] = directors
  await pool.stop('b')
  await a.configuration.members.setRevoked(peerIdOf('c'), true)
  await pool.stop('a')
  const again = await pool.start('a', a.store)
  t.same([...again.revoked.current], [peerIdOf('c')])
  const away = await pool.start('b', b.store)
  await pool.settle(1)
  t.same([...away.revoked.current], [peerIdOf('c')])
  t.same([again.transport.connectedPeers(), away.transport.connectedPeers()], [['b'], ['a']])
})

test('a revoked director cannot undo it, not even where the news of it has not come', async (t) => {
  const { pool, directors } = await poolOf('a', 'b', 'c')
  const [a, b] = directors
  pool.network.cut('a', 'b')
  await pool.settle(1)
  await a.configuration.members.setRevoked(peerIdOf('c'), true)
  const stamp = { wallMs: START_MS + pool.clock.now() + 60_000, counter: 0, director: 'c' }
  const [undo] = encodeEntries([packEntry({ kind: 'peer', stamp, peer: peerIdOf('c'), revoked: false })])
  pool.network.member('b')?.deliver('config', 'c', undo)
  await pool.settle(1)
  t.equal(b.configuration.refused.revocations, 1)
  pool.network.heal('a', 'b')
  await pool.settle()
  for (const { revoked } of [a, b]) t.same([...revoked.current], [peerIdOf('c')])
  t.same(b.transport.connectedPeers(), ['a'])
})

test('a director that is revoked while something long of it is being read does not undo it at the end of that', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  pool.poolKeys = [createTestPoolKey().publicKey]
  const [a] = [await pool.start('a'), await pool.start('b'), await pool.start('c')]
  await pool.settle(1)
  const wallMs = START_MS + pool.clock.now()
  const times = { issuedMs: wallMs, expiresMs: wallMs + 1 }
  const token = { peer: peerIdOf('d'), name: 'd', address: '192.0.2.3:7946', ...times }
  // Each costs the check of a signature; more do not come in one message.
  const one = packEntry(admissionEntry(token, createTestPoolKey().sign(token)))
  const forged = new Array(Math.floor(1.9 * (BATCH_BYTES / one.length))).fill(one)
  const stamp = { wallMs: wallMs + 9 * 60_000, counter: 0, director: 'b' }
  const undone = ['b', 'c'].map((peer) => packEntry({ kind: 'peer', stamp, peer: peerIdOf(peer), revoked: false }))
  const long = Buffer.concat([Uint8Array.of(1, 1), deflateRawSync(Buffer.concat([...forged, ...undone]))])
  pool.network.member('a')?.deliver('config', 'b', long)
  for (const peer of ['b', 'c']) await a.configuration.members.setRevoked(peerIdOf(peer), true)
  const { admissions } = a.configuration.refused
  t.ok(admissions < forged.length, `${admissions} were read before`)
  await untilDone()
  t.equal(a.configuration.refused.admissions, admissions, 'and no more after it')
  await pool.settle()
  t.same([...a.revoked.current], [peerIdOf('b'), peerIdOf('c')], 'nor does it let in others')
  t.same(a.transport.connectedPeers(), [])
})

test('a revocation waits neither for what is under way nor for the disk, where the operator is and where it is heard', async (t) => {
  const { pool, directors } = await poolOf('a', 'b', 'c')
  const [a, b, c] = directors
  const disk = Promise.withResolvers<void>()
  for (const { store } of [a, b]) {
    const batch = store.batch.bind(store)
    store.batch = (operations) => disk.promise.then(() => batch(operations))
  }
  const stamp = { wallMs: START_MS + pool.clock.now(), counter: 0, director: 'b' }
  const [older] = encodeEntries([packEntry({ kind: 'peer', stamp, peer: peerIdOf('c'), revoked: false })])
  for (const name of ['a', 'b']) pool.network.member(name)?.deliver('config', name === 'a' ? 'b' : 'a', older)
  await c.configuration.addService({ protocol: 'tcp', address: '10.0.0.9', port: 80, scheduler: 'rr' })
  await pool.settle(1)
  const stored = a.configuration.members.setRevoked(peerIdOf('c'), true)
  t.same([...a.revoked.current], [peerIdOf('c')])
  t.same(a.transport.connectedPeers(), ['b'])
  await pool.advance(100)
  t.same([...b.revoked.current], [peerIdOf('c')])
  t.same(b.transport.connectedPeers(), ['a'])
  disk.resolve()
  await stored
  await pool.settle(1)
  t.same(
    [a, b].map(({ configuration }) => configuration.services().length),
    [1, 1],
    'what was under way is done',
  )
  t.same([[...a.revoked.current], [...b.revoked.current]], [[peerIdOf('c')], [peerIdOf('c')]], 'and undoes nothing')
  for (const name of ['a', 'b']) await pool.stop(name)
  for (const { name, store } of [a, b]) t.same([...(await pool.start(name, store)).revoked.current], [peerIdOf('c')])
})

test('a revocation that the disk does not take is in force and told, says so, and is stored later', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const store = new FullStore()
  const a = await pool.start('a', store)
  const [b] = [await pool.start('b'), await pool.start('c')]
  await pool.settle(1)
  store.isFull = true
  await t.rejects(a.configuration.members.setRevoked(peerIdOf('c'), true), {
    code: 'STORE_FAILED',
    message: /is shut out, .* could not be stored, .*: no space left/,
  })
  await pool.settle(1)
  for (const { revoked } of [a, b]) t.same([...revoked.current], [peerIdOf('c')])
  await t.rejects(a.configuration.members.setRevoked(peerIdOf('c'), false), { message: 'no space left' })
  t.same([...a.revoked.current], [peerIdOf('c')], 'nobody is let in by what is not stored')
  store.isFull = false
  await pool.settle(1)
  await pool.stop('b')
  await pool.stop('a')
  t.same([...(await pool.start('a', store)).revoked.current], [peerIdOf('c')])
})

test('any other director lets it in again', async (t) => {
  const { pool, directors } = await poolOf('a', 'b', 'c')
  const [a, b, c] = directors
  await a.configuration.members.setRevoked(peerIdOf('c'), true)
  await pool.settle(1)
  await t.rejects(c.configuration.members.setRevoked(peerIdOf('c'), false), {
    code: 'INPUT_INVALID',
    message: /this director itself/,
  })
  await b.configuration.members.setRevoked(peerIdOf('c'), false)
  await pool.settle()
  for (const { transport } of directors) t.equal(transport.connectedPeers().length, 2, transport.self)
  t.same([...a.revoked.current], [])
})
