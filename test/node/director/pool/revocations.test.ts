/** Directors that are shut out of the pool: everywhere, for good, and not by their own leave. */
import { test } from 'tap'
import { encodeEntries, packEntry } from '../../../../node/director/pool/config-message.ts'
import { PoolOfDirectors, peerIdOf, START_MS } from './pool-of-directors.ts'

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
