/** Directors that join a pool by a token: everywhere, for as long as they are not revoked, and by nobody's word but the key's. */
import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { type Test, test } from 'tap'
import { AdmissionReader, admissionEntry, REMEMBERED_MAX } from '../../../../node/director/pool/admissions.ts'
import { encodeEntries, packEntry } from '../../../../node/director/pool/config-message.ts'
import { MemoryStore } from '../../../../node/director/store/memory-store.ts'
import type { JoinToken } from '../../../../protocol/wire/join-token.ts'
import { createTestPoolKey } from '../../../support/join-tokens.ts'
import { PoolOfDirectors, peerIdOf, START_MS } from './pool-of-directors.ts'

const HOUR_MS = 3_600_000
const key = createTestPoolKey()
const tokenFor = (name: string, changes: Partial<JoinToken> = {}): JoinToken => ({
  peer: peerIdOf(name),
  name,
  address: '192.0.2.3:7946',
  issuedMs: START_MS,
  expiresMs: START_MS + HOUR_MS,
  ...changes,
})

async function poolOfTwo() {
  const pool = new PoolOfDirectors(['a', 'b'])
  pool.poolKeys = [key.publicKey]
  const [a, b] = [await pool.start('a'), await pool.start('b')]
  await pool.settle(1)
  return { pool, a, b }
}

test('a newcomer with a token joins all of a pool by one of it, stays after its end, and goes by a revocation', async (t) => {
  const { pool, a, b } = await poolOfTwo()
  const bearer = { token: key.sign(tokenFor('c')), knows: ['a'] }
  pool.network.cut('b', 'c')
  const c = await pool.start('c', undefined, 0, bearer)
  await pool.settle(1)
  t.same([a.transport.connectedPeers(), c.transport.connectedPeers()], [['b', 'c'], ['a']])
  t.ok(
    b.membership.peers.some(({ id }) => id === peerIdOf('c')),
    'b has heard of it',
  )

  await pool.stop('a')
  await pool.advance(2 * HOUR_MS)
  const again = await pool.start('a', a.store)
  await pool.settle()
  t.same(again.transport.connectedPeers(), ['b', 'c'], 'known after a restart, though the token is over')
  t.equal(again.admission.refused.expired, 0)

  await b.configuration.members.setRevoked(peerIdOf('c'), true)
  await pool.settle()
  t.same(again.transport.connectedPeers(), ['b'])
  t.same(c.transport.connectedPeers(), [])
  pool.network.heal('a', 'c')
  await pool.settle(1)
  t.same(again.transport.connectedPeers(), ['b'], 'its token does not help')
  t.ok(again.admission.refused.expired > 0)
})

test('a newcomer with a token and nobody to show it to does not start, but one whose peers are in its store does', async (t) => {
  const { pool } = await poolOfTwo()
  const token = key.sign(tokenFor('c'))
  const alone = { code: 'CONFIG_INVALID', message: /^cluster.token: there is nobody to show it to: name a director/ }
  const store = new MemoryStore()
  await t.rejects(pool.start('c', store, 0, { token, knows: [] }), alone)
  await store.close()
  await pool.start('c', store, 0, { token, knows: ['a'] })
  await pool.start('d', undefined, 0, { token: key.sign(tokenFor('d')), knows: ['a'] })
  await pool.settle()
  await pool.stop('c')
  const again = await pool.start('c', store, 0, { token, knows: [] })
  t.same(
    again.membership.peers.map(({ name }) => name),
    ['d'],
  )
})

test('an admission is the same entry wherever it is made, whatever is known there', async (t) => {
  const { pool, a } = await poolOfTwo()
  await a.configuration.setSettings({ timeoutUdpS: 200 })
  const c = await pool.start('c', undefined, 0, { token: key.sign(tokenFor('c')), knows: ['a'] })
  await pool.settle(1)
  const [atA, atC] = await Promise.all([a, c].map(({ store }) => store.get(`pool/admission/${peerIdOf('c')}`)))
  t.ok(atA)
  t.same(atA, atC)
})

test('directors that joined by tokens hear of each other, and of one in the configuration that has a token too', async (t) => {
  const { pool, a } = await poolOfTwo()
  await pool.stop('b')
  const b = await pool.start('b', undefined, 0, { token: key.sign(tokenFor('b')), knows: ['a'] })
  await pool.settle(1)
  const c = await pool.start('c', undefined, 0, { token: key.sign(tokenFor('c')), knows: ['a'] })
  await pool.settle()
  t.same(
    [a, b, c].map(({ transport }) => transport.connectedPeers().sort()),
    [
      ['b', 'c'],
      ['a', 'c'],
      ['a', 'b'],
    ],
  )
  t.same(
    a.membership.known().map(({ name, knownBy }) => [name, knownBy]),
    [
      ['b', 'configuration'],
      ['c', 'token'],
    ],
  )
})

const refusals: [string, Uint8Array, string][] = [
  ['that another key has signed', createTestPoolKey().sign(tokenFor('c')), 'signature'],
  ['for somebody else', key.sign(tokenFor('d')), 'peer'],
  ['that is over', key.sign(tokenFor('c', { issuedMs: START_MS - 9, expiresMs: START_MS - 1 })), 'expired'],
  ['from the future', key.sign(tokenFor('c', { issuedMs: START_MS + HOUR_MS, expiresMs: START_MS + 9e6 })), 'clock'],
  ['for a name that another has', key.sign(tokenFor('c', { name: 'b' })), 'name'],
  ['that is cut off', key.sign(tokenFor('c')).subarray(0, -8), 'body'],
]
for (const [what, token, reason] of refusals) {
  test(`a token ${what} does not let in, and is counted: ${reason}`, async (t) => {
    const { a } = await poolOfTwo()
    await a.admission.show(token, peerIdOf('c'))
    t.match(a.admission.refused, { [reason]: 1 })
    t.same(
      a.membership.peers.map(({ name }) => name),
      ['b'],
    )
  })
}

test('a token of one who is revoked does not let in, not even a new one', async (t) => {
  const { a } = await poolOfTwo()
  await a.configuration.members.setRevoked(peerIdOf('c'), true)
  await a.admission.show(key.sign(tokenFor('c')), peerIdOf('c'))
  t.match(a.admission.refused, { revoked: 1 })
  t.same(a.configuration.members.current().admitted, [])
})

test('a peer is not believed about a token that the key has not signed, nor about when it was issued', async (t) => {
  const { pool, a, b } = await poolOfTwo()
  const forged = createTestPoolKey().sign(tokenFor('c'))
  const genuine = admissionEntry(tokenFor('d'), key.sign(tokenFor('d')))
  const entries = [
    admissionEntry(tokenFor('c'), forged),
    { ...genuine, stamp: { ...genuine.stamp, wallMs: START_MS + 1 } },
    { ...genuine, peer: peerIdOf('e') },
  ]
  for (const message of encodeEntries(entries.map(packEntry))) await b.transport.send('a', 'config', message)
  await pool.advance(100)
  t.equal(a.configuration.refused.admissions, 3)
  t.same(
    a.membership.peers.map(({ name }) => name),
    ['b'],
  )
})

test('of two directors that were given one name, the one whose token was issued last has it', async (t) => {
  const { a } = await poolOfTwo()
  for (const [peer, issuedMs] of [
    ['c', START_MS],
    ['d', START_MS + 1],
    ['e', START_MS],
  ] as const)
    await a.admission.show(key.sign(tokenFor(peer, { name: 'x', issuedMs })), peerIdOf(peer))
  t.same(
    a.membership.peers.map(({ id }) => id),
    [peerIdOf('b'), peerIdOf('d')],
  )
  t.match(a.admission.refused, { name: 1 })
})

/** @returns how many signatures this process has verified since it was asked last */
function countVerifications(t: Test): () => number {
  const calls = t.capture(crypto, 'verify', crypto.verify)
  syncBuiltinESMExports()
  t.teardown(() => {
    calls.restore()
    syncBuiltinESMExports()
  })
  return () => calls().length
}

test('the signature of an admission is verified once, however often the members change', async (t) => {
  const { pool, a } = await poolOfTwo()
  const verifications = countVerifications(t)
  for (const name of ['c', 'd', 'e']) await a.admission.show(key.sign(tokenFor(name)), peerIdOf(name))
  await pool.settle()
  t.equal(verifications(), 3 * 3, 'where it is shown, where it is kept, and at the peer')
  for (const revoked of [true, false]) await a.configuration.members.setRevoked(peerIdOf('c'), revoked)
  await pool.settle()
  t.equal(a.configuration.members.current().admitted.length, 3)
  t.equal(verifications(), 0)
  await a.admission.show(key.sign(tokenFor('c', { issuedMs: START_MS + 1 })), peerIdOf('c'))
  await pool.settle()
  t.equal(verifications(), 3, 'a new token for the same director is another admission')
})

test('a director that is started with another key of the pool verifies what it has anew, and takes what that key has signed', async (t) => {
  const { pool, a } = await poolOfTwo()
  const newKey = createTestPoolKey()
  await a.admission.show(key.sign(tokenFor('c')), peerIdOf('c'))
  await pool.stop('a')
  pool.poolKeys = [key.publicKey, newKey.publicKey]
  const both = await pool.start('a', a.store)
  await both.admission.show(newKey.sign(tokenFor('d')), peerIdOf('d'))
  t.same(both.configuration.members.current().admitted, [tokenFor('c'), tokenFor('d')])
  await pool.stop('a')
  pool.poolKeys = [newKey.publicKey]
  const again = await pool.start('a', a.store)
  t.same(again.configuration.members.current().admitted, [tokenFor('d')])
})

test('of more admissions than a reader remembers, one is verified again', async (t) => {
  const verifications = countVerifications(t)
  const reader = new AdmissionReader([key.publicKey])
  const read = (issuedMs: number) => {
    const token = tokenFor('c', { issuedMs })
    return reader.tokenOf(admissionEntry(token, key.sign(token)))
  }
  for (let each = 0; each < REMEMBERED_MAX; each++) read(START_MS + each)
  t.same(read(START_MS), tokenFor('c'))
  t.equal(verifications(), REMEMBERED_MAX)
  read(START_MS + REMEMBERED_MAX)
  t.same(read(START_MS), tokenFor('c'))
  t.equal(verifications(), 2)
})
