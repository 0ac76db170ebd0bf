/** Started by multicast.test.ts inside a network namespace of its own. */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { test } from 'tap'
import { openMulticastReceiver, openMulticastSender } from '../../../forwarder/sys/multicast.ts'
import { adoptSocket } from '../../../node/director/sync-daemon/multicast-socket.ts'
import { addressBytes } from '../../../node/director/sync-daemon/sync-daemon.ts'
import { createVethPair, ip } from '../namespace.ts'

createVethPair('one', 'other')
ip('link set lo up\naddress add 10.0.0.1/24 dev one\naddress add 10.0.0.2/24 dev other')
// Both ends are on this host: without these the kernel takes what comes in for a forgery.
for (const name of ['all', 'other']) {
  writeFileSync(`/proc/sys/net/ipv4/conf/${name}/accept_local`, '1')
  writeFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, '0')
}
ip('address add fe80::1/64 dev one nodad\naddress add fe80::2/64 dev other nodad')

const PORT = 8848

for (const text of ['224.0.0.81', 'ff02::81']) {
  const group = addressBytes(text)
  const family = group.length === 4 ? 4 : 6

  test(`a datagram to ${text} arrives at whoever listens on the interface, and at nobody else`, async (t) => {
    const receive = async (interfaceName: string) => {
      const socket = await adoptSocket(openMulticastReceiver({ interfaceName, group, port: PORT }), family)
      t.teardown(() => socket.close())
      const received: string[] = []
      socket.on('message', (datagram) => received.push(datagram.toString()))
      return { socket, received }
    }
    const other = await receive('other')
    const sameSide = await receive('one')
    const sender = await adoptSocket(openMulticastSender({ interfaceName: 'one', group, port: PORT }, 1), family)
    t.teardown(() => sender.close())
    const arrived = once(other.socket, 'message')
    sender.send('first', PORT, text)
    sender.send('last', PORT, text)
    await arrived
    while (other.received.length < 2) await once(other.socket, 'message')
    t.same(other.received, ['first', 'last'])
    t.same(sameSide.received, [], 'nothing comes back on the interface that it left by')
  })

  test(`two may listen to ${text} on one interface`, async (t) => {
    const descriptors = [1, 2].map(() => openMulticastReceiver({ interfaceName: 'other', group, port: PORT }))
    for (const descriptor of descriptors) {
      const socket = await adoptSocket(descriptor, family)
      t.teardown(() => socket.close())
    }
  })
}

test('an interface that there is not is named in the error', async (t) => {
  const target = { interfaceName: 'nosuch0', group: addressBytes('224.0.0.81'), port: PORT }
  t.throws(() => openMulticastSender(target, 1), { code: 'INTERFACE_MISSING', message: /nosuch0/ })
  t.throws(() => openMulticastReceiver(target), { code: 'INTERFACE_MISSING', message: /nosuch0/ })
  t.throws(() => openMulticastReceiver({ ...target, interfaceName: '' }), { code: 'INTERFACE_MISSING' })
})
