/** A peer that is stopped and continued: noticed in time, and complete again afterwards. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'tap'
import { Libp2pTransport } from '../../../../node/director/cluster/libp2p-transport.ts'
import { until } from '../../../until.ts'
import { createMembers, optionsOf } from './libp2p-pool.ts'

test('a peer that freezes is lost without a word from the network, and found when it goes on', async (t) => {
  const members = await createMembers(['d1', 'd2'])
  const d1 = new Libp2pTransport(optionsOf(members, 'd1'))
  const events: boolean[] = []
  d1.onPeer((_, connected) => events.push(connected))
  let answers = 0
  d1.onMessage('sync', () => answers++)
  await d1.start()
  t.teardown(() => d1.stop())

  const child = fork(new URL('./libp2p-child.ts', import.meta.url), { stdio: 'inherit' })
  t.teardown(() => child.kill('SIGKILL'))
  const heard: { topic: string; byte?: number }[] = []
  child.on('message', (message) => heard.push(message as { topic: string }))
  const options = optionsOf(members, 'd2')
  child.send({ ...options, privateKey: Buffer.from(options.privateKey).toString('hex') })
  await until(() => events.length === 1, 60_000)
  // It has its own way to answer: if it gave the connection up for want of one, that would be no silence.
  await d1.send('d2', 'sync', Uint8Array.of(0))
  await until(() => answers === 1, 30_000)

  child.kill('SIGSTOP')
  const sends = Array.from({ length: 200 }, () => d1.send('d2', 'sync', new Uint8Array(60_000).fill(5)))
  const settled = Promise.allSettled(sends)
  await until(() => events.length === 2, 30_000)
  t.same(d1.connectedPeers(), [])
  await t.rejects(d1.send('d2', 'sync', Uint8Array.of(1)))
  t.ok(d1.counters.silentPeers >= 1)
  await until(() => {
    d1.broadcast('config', Uint8Array.of(2))
    return d1.counters.abortedConnections > 0
  }, 30_000)

  const reasons = (await settled).map((result) => (result.status === 'rejected' ? String(result.reason) : 'sent'))
  t.ok(reasons.includes('Error: d2 does not keep up'), 'what waits for it is bounded')
  t.ok(reasons.includes('Error: d2 is no longer connected'), 'what waited is refused when the connection ends')

  child.kill('SIGCONT')
  await until(() => d1.connectedPeers().length === 1, 30_000)
  let said = 0
  await until(() => {
    if (performance.now() - said > 200) {
      // As directors do all the time: by this it is noticed if gossip has given the peer up.
      d1.broadcast('presence', Uint8Array.of(0))
      d1.broadcast('config', Uint8Array.of(3))
      d1.send('d2', 'sync', Uint8Array.of(4)).catch(() => {})
      said = performance.now()
    }
    return heard.some(({ byte }) => byte === 3) && heard.some(({ byte }) => byte === 4)
  }, 30_000)
  t.same(
    heard.filter(({ byte }) => byte === 1),
    [],
    'what was refused did not arrive later',
  )
  child.disconnect()
  await once(child, 'exit')
  await until(() => d1.connectedPeers().length === 0, 30_000)
})
