/** The director under measurement: the real forwarding thread, in the director's namespace, with the services that are asked for. */
import { startForwarder } from '../../../forwarder/forwarder-thread.ts'
import { BULK_PORT, INSIDE, OUTSIDE, SERVER, SERVER_UDP_PORT, VIP, VIRTUAL_UDP_PORT } from './topology.ts'

const forwarder = await startForwarder({ interfaces: [OUTSIDE, INSIDE], connections: 2 ** 20 })
forwarder.setRoutes([
  { destination: '10.1.0.0', prefixLength: 24, link: OUTSIDE, source: '10.1.0.11' },
  { destination: '10.2.0.0', prefixLength: 24, link: INSIDE, source: '10.2.0.254' },
])
forwarder.setVirtualAddresses([{ address: VIP, link: OUTSIDE, state: 'active' }])
forwarder.setService({
  protocol: 'udp',
  address: VIP,
  port: VIRTUAL_UDP_PORT,
  scheduler: 'wlc',
  servers: [{ address: SERVER, port: SERVER_UDP_PORT, method: 'nat', weight: 1 }],
})
forwarder.setService({
  protocol: 'tcp',
  address: VIP,
  port: BULK_PORT,
  scheduler: 'wlc',
  servers: [{ address: SERVER, port: BULK_PORT, method: 'nat', weight: 1 }],
})
console.log('ready')
