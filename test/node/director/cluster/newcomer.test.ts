/** A director with a token joins two that do not have it in their configurations: cluster threads, real libp2p, real configuration. */
import { type Test, test } from 'tap'
import { allocateSharedState } from '../../../../forwarder/shared-state.ts'
import { createEventFd } from '../../../../forwarder/sys/event-fd.ts'
import { closeDescriptor } from '../../../../forwarder/sys/socket.ts'
import { Cluster } from '../../../../node/director/cluster/cluster.ts'
import { letIn } from '../../../../node/director/pool/admissions.ts'
import { Membership } from '../../../../node/director/pool/membership.ts'
import { PoolConfiguration } from '../../../../node/director/pool/pool-configuration.ts'
import { MemoryStore } from '../../../../node/director/store/memory-store.ts'
import { createTestPoolKey, type TestPoolKey } from '../../../support/join-tokens.ts'
import { until } from '../../../until.ts'
import { createMembers, type Member, optionsOf } from './libp2p-pool.ts'

const ANNOUNCE_INTERVAL_MS = 500
/** Three threads load libp2p at once, on a machine that may be busy. */
const eventually = (isSo: () => boolean) => until(isSo, 60_000)

async function startDirector(
  t: Test,
  members: Map<string, Member>,
  key: TestPoolKey,
  { name, knows, token }: { name: string; knows: readonly string[]; token?: Uint8Array },
) {
  const options = optionsOf(members, name, knows)
  const { outgoing, incoming, table, directory } = allocateSharedState(1024, 1)
  const shared = { outgoing, incoming, table, directory, wakeDescriptor: createEventFd() }
  const cluster = new Cluster({ ...options, ...shared, poolKeys: [key.text], token })
  const membership = new Membership({ name, id: cluster.peerId }, options.peers)
  const store = new MemoryStore()
  await store.open()
  const configuration = new PoolConfiguration({
    store,
    transport: cluster,
    wallClockMs: Date.now,
    isUnicast: () => () => true,
    onChange: () => {},
    onSettings: () => {},
    onMarks: () => {},
    poolKeys: [key.publicKey],
    onMembers: (each) => {
      membership.setMembers(each)
      cluster.setPeers(membership.peers)
    },
    membership,
    onBeside: () => {},
    onOverridden: () => {},
    onStoreFailure: (error) => t.fail(error.message),
    onCorrected: () => {},
  })
  await configuration.load()
  cluster.onNewcomers({
    judge: (shown) => letIn(shown, membership, configuration.members),
    refused: () => {},
  })
  await cluster.start()
  // What gossip loses comes with the whole, as in a director.
  const announcing = setInterval(() => configuration.announce(), ANNOUNCE_INTERVAL_MS)
  const stop = async () => {
    clearInterval(announcing)
    await cluster.stop()
    closeDescriptor(shared.wakeDescriptor)
  }
  return { cluster, configuration, stop }
}

test('a director with a token joins a pool of two that do not know it, and a revocation throws it out', async (t) => {
  const members = await createMembers(['d1', 'd2', 'd3'])
  const { id: peer, address } = members.get('d3') as Member
  const key = createTestPoolKey()
  const issuedMs = Date.now()
  const token = key.sign({ peer, name: 'd3', address, issuedMs, expiresMs: issuedMs + 3_600_000 })
  const all = await Promise.all([
    startDirector(t, members, key, { name: 'd1', knows: ['d2'] }),
    startDirector(t, members, key, { name: 'd2', knows: ['d1'] }),
    startDirector(t, members, key, { name: 'd3', knows: ['d1', 'd2'], token }),
  ])
  t.teardown(() => Promise.all(all.map(({ stop }) => stop())))
  const [d1, d2, d3] = all
  await eventually(() => all.every(({ cluster }) => cluster.connectedPeers().length === 2))
  await eventually(() => all.every(({ cluster }) => cluster.status().inSync && cluster.status().peers.length === 2))
  await d3.configuration.addService({ protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' })
  await eventually(() => all.every(({ configuration }) => configuration.services().length === 1))

  await d2.configuration.members.setRevoked(peer, true)
  await eventually(() => d1.cluster.connectedPeers().join() === 'd2' && d2.cluster.connectedPeers().join() === 'd1')
  await eventually(() => d3.cluster.connectedPeers().length === 0 && d1.cluster.refusedTokens.revoked > 0)
  await eventually(() => d1.cluster.status().peers.length === 1 && d1.cluster.status().inSync)
})
