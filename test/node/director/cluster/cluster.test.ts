/** Two clusters in threads of their own, with real libp2p between them. */
import { test } from 'tap'
import { allocateSharedState } from '../../../../forwarder/shared-state.ts'
import { createEventFd, drain } from '../../../../forwarder/sys/event-fd.ts'
import { closeDescriptor } from '../../../../forwarder/sys/socket.ts'
import { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import { Cluster } from '../../../../node/director/cluster/cluster.ts'
import type { PeerName } from '../../../../node/director/cluster/transport.ts'
import type { ClusterInput } from '../../../../node/director/cluster/worker-messages.ts'
import { RECORD_LENGTH } from '../../../../protocol/wire/connection-record.ts'
import { until } from '../../../until.ts'
import { createMembers, optionsOf } from './libp2p-pool.ts'
import { makeRecord } from './record.ts'

interface Node {
  readonly cluster: Cluster
  readonly outgoing: RecordRing
  readonly incoming: RecordRing
  readonly input: ClusterInput
}

function createNode(options: ReturnType<typeof optionsOf>): Node {
  const { outgoing, incoming, table, directory } = allocateSharedState(1024, 1)
  const input = { ...options, outgoing, incoming, table, directory, wakeDescriptor: createEventFd() }
  return {
    cluster: new Cluster(input),
    outgoing: new RecordRing(outgoing),
    incoming: new RecordRing(incoming),
    input,
  }
}

function write(node: Node, n: number): void {
  const offset = node.outgoing.reserve()
  node.outgoing.bytes.set(makeRecord(n, 1), offset)
  node.outgoing.commit()
  node.outgoing.notify()
}

function take(node: Node): Uint8Array {
  const offset = node.incoming.peek()
  const record = node.incoming.bytes.slice(offset, offset + RECORD_LENGTH)
  node.incoming.advance()
  return record
}

test('two directors with threads of their own', async (t) => {
  const members = await createMembers(['d1', 'd2'])
  const nodes = ['d1', 'd2'].map((name) => createNode(optionsOf(members, name)))
  const [d1, d2] = nodes
  const events: string[] = []
  d1.cluster.onPeer((peer, connected) => events.push(`${peer} ${connected}`))
  const heard: string[] = []
  for (const topic of ['config', 'health'] as const)
    d2.cluster.onMessage(topic, (from, message) => heard.push(`${from} ${topic} ${message.join()}`))
  t.match(d1.cluster.status(), { inSync: false, reason: 'has just started' })
  await Promise.all(nodes.map(({ cluster }) => cluster.start()))
  t.equal(d1.cluster.peerId, members.get('d1')?.id)
  await until(() => nodes.every(({ cluster }) => cluster.status().inSync), 60_000)

  await t.test('what the main thread sends or gossips comes to the other main thread', async (t) => {
    await d1.cluster.send('d2', 'health', Uint8Array.of(1, 2))
    await until(() => heard.length === 1)
    let said = 0
    await until(() => {
      // Gossip knows of a new connection a little later than streams do.
      if (performance.now() - said > 200) {
        d1.cluster.broadcast('config', Uint8Array.of(3))
        said = performance.now()
      }
      return heard.length > 1
    })
    t.same([...new Set(heard)], ['d1 health 1,2', 'd1 config 3'])
    await t.rejects(d1.cluster.send('d3', 'config', Uint8Array.of(1)), /d3 is not connected/)
    await t.rejects(d1.cluster.send('d2', 'config', new Uint8Array(70_000)), RangeError)
    t.equal(d1.cluster.counters.oversizedMessages, 1)
  })

  await t.test("a record in one forwarder's ring comes to the other forwarder, and wakes it", async (t) => {
    write(d1, 7)
    await until(() => d2.incoming.length === 1)
    t.same(take(d2), makeRecord(7, 1))
    // It is told when the record is there to be read, by a thread of its own.
    await until(() => drain(d2.input.wakeDescriptor))
    await until(() => d1.cluster.status().counters.recordsSent === 1)
  })

  await t.test('a director that may have missed something is out of sync until its peer has answered it', async (t) => {
    const states: string[] = []
    d1.cluster.onSync(({ inSync, reason }) => states.push(inSync ? 'in sync' : reason))
    d1.cluster.doubt('a link was down')
    t.match(d1.cluster.status(), { inSync: false, reason: 'a link was down' })
    await until(() => d1.cluster.status().inSync)
    t.same(states, ['a link was down', 'in sync'])
  })

  await t.test('what was written last before an orderly stop arrives', async (t) => {
    write(d1, 8)
    await d1.cluster.stop()
    await until(() => d2.incoming.length === 1)
    t.same(take(d2), makeRecord(8, 1))
    await until(() => d2.cluster.status().peers[0].connected === false)
    t.same(events, ['d2 true', 'd2 false'])
    await t.rejects(d1.cluster.send('d2', 'config', Uint8Array.of(1)), /not connected/)
  })

  await d2.cluster.stop()
  for (const { input } of nodes) closeDescriptor(input.wakeDescriptor)
})

test('who is no peer is a stranger from before the start, and at once when he ceases to be one', async (t) => {
  const members = await createMembers(['d1', 'd2'])
  const nodes = ['d1', 'd2'].map((name) => createNode(optionsOf(members, name)))
  const [d1, d2] = nodes.map(({ cluster }) => cluster)
  const heard: PeerName[] = []
  d1.onMessage('config', (from) => heard.push(from))
  d1.setPeers([])
  await Promise.all([d1.start(), d2.start()])
  await until(() => d1.counters.refusedStrangers > 0)
  t.same(d1.connectedPeers(), [])
  d1.setPeers(nodes[0].input.peers)
  await until(() => d1.connectedPeers().length === 1 && d2.connectedPeers().length === 1)
  await d2.send('d1', 'config', Uint8Array.of(1))
  await until(() => heard.length === 1)
  const sent = d2.send('d1', 'config', Uint8Array.of(2)).catch(() => {})
  d1.setPeers([])
  await sent
  await until(() => d1.connectedPeers().length + d2.connectedPeers().length === 0)
  t.same(heard, ['d2'])
  await Promise.all([d1.stop(), d2.stop()])
  for (const { input } of nodes) closeDescriptor(input.wakeDescriptor)
})

test('an address in use is refused at the start, with its code', async (t) => {
  const members = await createMembers(['d1', 'd2'])
  const d1 = createNode(optionsOf(members, 'd1'))
  await d1.cluster.start()
  const d2 = createNode({ ...optionsOf(members, 'd2'), listen: d1.input.listen })
  await t.rejects(d2.cluster.start(), { code: 'SOCKET_BUSY' })
  await d1.cluster.stop()
  for (const { input } of [d1, d2]) closeDescriptor(input.wakeDescriptor)
})

test('a thread that cannot work is an error of start()', async (t) => {
  const members = await createMembers(['d1'])
  const { input } = createNode(optionsOf(members, 'd1'))
  const cluster = new Cluster({ ...input, outgoing: new SharedArrayBuffer(8) })
  await t.rejects(cluster.start(), RangeError)
  closeDescriptor(input.wakeDescriptor)
})

test('a thread that dies at work is told of once, with its code, to whoever asks later too', async (t) => {
  const members = await createMembers(['d1'])
  const { input } = createNode(optionsOf(members, 'd1'))
  const { byteLength } = RecordRing.allocate(1)
  // A ring that ends in the middle of its only record: fatal as soon as there is one to read.
  const ring = new RecordRing(new SharedArrayBuffer(byteLength - RECORD_LENGTH / 2))
  const cluster = new Cluster({ ...input, outgoing: ring.shared })
  const failures: Error[] = []
  cluster.onFailure((error) => failures.push(error))
  await cluster.start()
  t.ok(cluster.isRunning)
  ring.commit()
  ring.notify()
  await until(() => failures.length > 0)
  t.match(failures, [{ code: 'CLUSTER_FAILED', message: /^the cluster thread has died: / }])
  t.notOk(cluster.isRunning)
  t.equal(await new Promise((resolve) => cluster.onFailure(resolve)), failures[0])
  closeDescriptor(input.wakeDescriptor)
})
