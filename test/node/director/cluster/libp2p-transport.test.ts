/** The libp2p transport: the compliance suite, and strangers refused. */
import { connect } from 'node:net'
import { test } from 'tap'
import { Libp2pTransport } from '../../../../node/director/cluster/libp2p-transport.ts'
import { type TransportPool, transportCompliance } from '../../../compliance/transport.ts'
import { needsIPv6Loopback } from '../../../support/ipv6-loopback.ts'
import { until } from '../../../until.ts'
import { createMembers, optionsOf } from './libp2p-pool.ts'

transportCompliance('libp2p', async () => {
  const members = await createMembers(['d1', 'd2', 'd3', 'stranger'])
  const create: TransportPool['create'] = (name, peers, admittance) =>
    new Libp2pTransport(optionsOf(members, name, peers), admittance)
  return { create, recreate: create, peers: (names) => optionsOf(members, 'd1', names).peers }
})

test('directors speak to each other over IPv6 as well', { skip: needsIPv6Loopback }, async (t) => {
  const members = await createMembers(['d1', 'd2'], '::1')
  const [d1, d2] = ['d1', 'd2'].map((name) => new Libp2pTransport(optionsOf(members, name)))
  t.teardown(() => Promise.all([d1.stop(), d2.stop()]))
  await Promise.all([d1.start(), d2.start()])
  await until(() => d1.connectedPeers().includes('d2') && d2.connectedPeers().includes('d1'))
})

test('an address in use is refused by its name', async (t) => {
  const members = await createMembers(['d1', 'd2'])
  const first = new Libp2pTransport(optionsOf(members, 'd1'))
  await first.start()
  const second = new Libp2pTransport({ ...optionsOf(members, 'd2'), listen: members.get('d1')?.address ?? '' })
  await t.rejects(second.start(), { code: 'SOCKET_BUSY', message: /cluster\.listen: 127\.0\.0\.1:\d+ is in use/ })
  await first.stop()
})

test('an address that is not of this host is refused by its name', async (t) => {
  const members = await createMembers(['d1'])
  const transport = new Libp2pTransport({ ...optionsOf(members, 'd1'), listen: '192.0.2.77:7946' })
  await t.rejects(transport.start(), { code: 'CONFIG_INVALID', message: /192\.0\.2\.77/ })
})

test('a peer id that is none is refused by the name of the peer', async (t) => {
  const members = await createMembers(['d1'])
  const peers = [{ name: 'd2', id: '1'.repeat(50), address: '127.0.0.1:1' }]
  t.throws(() => new Libp2pTransport({ ...optionsOf(members, 'd1'), peers }), { code: 'CONFIG_INVALID', message: /d2/ })
})

test('connections that say nothing, or nonsense, do not keep peers out', async (t) => {
  const members = await createMembers(['d1', 'd2'])
  const d1 = new Libp2pTransport(optionsOf(members, 'd1'))
  await d1.start()
  const [host, port] = (members.get('d1')?.address ?? '').split(':')
  const sockets = Array.from({ length: 20 }, (_, i) => {
    const socket = connect(Number(port), host)
    socket.on('error', () => {})
    if (i % 2) socket.write('GET / HTTP/1.0\r\n\r\n')
    return socket
  })
  const d2 = new Libp2pTransport(optionsOf(members, 'd2'))
  await d2.start()
  await until(() => d1.connectedPeers().length === 1)
  t.same(d1.connectedPeers(), ['d2'])
  for (const socket of sockets) socket.destroy()
  await Promise.all([d1.stop(), d2.stop()])
})
