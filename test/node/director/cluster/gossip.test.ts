/** What gossipsub refuses by itself is not lost to the counters. */
import { privateKeyFromProtobuf } from '@libp2p/crypto/keys'
import type { GossipSubComponents } from '@libp2p/gossipsub'
import type { PeerId } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { test } from 'tap'
import { systemClock } from '../../../../node/director/clock.ts'
import { createGossipService, Gossip } from '../../../../node/director/cluster/gossip.ts'
import { createIdentity } from '../../../../node/director/cluster/identity.ts'
import { createTransportCounters } from '../../../../node/director/cluster/transport.ts'

/** Of the class behind gossipsub(). */
interface Receiver {
  handleReceivedMessage(from: PeerId, message: object): Promise<void>
}

test('gossip that is not signed as it must be is counted, whatever is wrong with it, and goes no further', async (t) => {
  const [privateKey, other] = [createIdentity(), createIdentity()].map((key) => privateKeyFromProtobuf(key))
  const [self, peer] = [privateKey, other].map((key) => peerIdFromPrivateKey(key))
  const logger = { forComponent: () => Object.assign(() => {}, { error: () => {}, trace: () => {} }) }
  const service = createGossipService()({ privateKey, peerId: self, logger } as unknown as GossipSubComponents)
  const counters = createTransportCounters()
  const heard: Uint8Array[] = []
  new Gossip({
    service,
    clock: systemClock,
    counters,
    self,
    nameOf: () => 'b',
    onMessage: (_topic, _from, message) => heard.push(message),
    onHeard: () => {},
  })
  const forged = {
    topic: 'linux-director/1/config',
    from: peer.toMultihash().bytes,
    data: Uint8Array.of(1),
    seqno: new Uint8Array(8),
    signature: new Uint8Array(64),
  }
  const others = [
    { signature: undefined },
    { seqno: new Uint8Array(7) },
    { key: self.publicKey?.raw },
    { from: undefined },
  ]
  for (const message of [forged, ...others.map((each) => ({ ...forged, ...each }))])
    await (service as unknown as Receiver).handleReceivedMessage(peer, message)
  t.match(counters, { malformedMessages: 5, refusedStrangers: 0 })
  t.same(heard, [])
})
