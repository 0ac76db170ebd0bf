/** Identities made without libp2p are what libp2p understands. */
import { privateKeyFromProtobuf } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { test } from 'tap'
import { createIdentity, isPeerId, peerIdOf } from '../../../../node/director/cluster/identity.ts'

test('a new identity is a key that libp2p reads, with the same peer id', async (t) => {
  for (let i = 0; i < 20; i++) {
    const identity = createIdentity()
    const key = privateKeyFromProtobuf(identity)
    t.equal(key.type, 'Ed25519')
    t.equal(peerIdOf(identity), peerIdFromPrivateKey(key).toString())
    t.match(peerIdOf(identity), /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/)
  }
})

test('a peer id is told from other text', async (t) => {
  const id = peerIdOf(createIdentity())
  t.ok(isPeerId(id))
  for (const other of ['', 'd1', id.slice(1), `${id}1`, `1${id}`, `12D3KooW${'1'.repeat(44)}`, 'K'.repeat(50)])
    t.notOk(isPeerId(other), other)
})

test('two identities differ', async (t) => {
  t.not(peerIdOf(createIdentity()), peerIdOf(createIdentity()))
})

test('bytes that are no identity are refused with a code', async (t) => {
  const identity = createIdentity()
  const broken = [new Uint8Array(), identity.subarray(1), identity.map((byte, i) => (i === 67 ? byte ^ 1 : byte))]
  for (const bytes of broken) t.throws(() => peerIdOf(bytes), { code: 'STORE_CORRUPT' })
})
