/**
 * A director reduced to its VIP service, as a process of its own: vrrp-peer.ts INTERFACE OPTIONS, with the options of one
 * vip of the configuration as JSON. Prints its status as a line of JSON after each change. SIGTERM stops it in order.
 */
import { readHostNetwork } from '../../../../node/director/host/network.ts'
import { VipService } from '../../../../node/director/vip/vip.ts'
import { openVrrpSocket } from '../../../../node/director/vip/vrrp-socket.ts'
import { vipConfig } from './pool.ts'

const [interfaceName, options] = process.argv.slice(2)
const [{ index, mac, addresses }] = (await readHostNetwork([interfaceName])).interfaces
const sourceAddress = addresses[0].address
const transport = await openVrrpSocket({ interfaceName, interfaceIndex: index, sourceAddress })
const service = new VipService(
  { vips: [vipConfig(JSON.parse(options))], sourceAddress, outside: interfaceName },
  {
    transport,
    isInSync: () => true,
    forwarder: { mac: () => mac, setVirtualAddresses: () => {}, transmit: () => {} },
    note: (message) => process.stderr.write(`${message}\n`),
  },
)
service.onChange(([status]) =>
  process.stdout.write(`${JSON.stringify({ ...status, refusals: service.refusals, counters: transport.counters })}\n`),
)
service.start()
process.once('SIGTERM', () => service.stop())
