/**
 * A director reduced to its VIP service, as a process of its own: vrrp-peer.ts INTERFACE OPTIONS, with the options of one
 * vip of the configuration as JSON. Prints its status as a line of JSON after each change. SIGTERM stops it in order.
 */
import { systemClock } from '../../../../node/director/clock.ts'
import { MemoryNetwork } from '../../../../node/director/cluster/memory-transport.ts'
import { readSettledHostNetwork } from '../../../../node/director/host/network.ts'
import { VipService } from '../../../../node/director/vip/vip.ts'
import { readVrrpKeys } from '../../../../node/director/vip/vrrp-key-files.ts'
import { openVrrpTransports } from '../../../../node/director/vip/vrrp-transports.ts'
import { vipConfig } from './pool.ts'

const [interfaceName, options] = process.argv.slice(2)
const [host] = (await readSettledHostNetwork([interfaceName])).interfaces
const vips = [vipConfig(JSON.parse(options))]
const note = (message: string) => process.stderr.write(`${message}\n`)
const transports = await openVrrpTransports(vips, host, host, note)
const network = new MemoryNetwork({ clock: systemClock, random: () => 0 })
const service = new VipService(
  { vips, outside: interfaceName, keys: readVrrpKeys(vips) },
  {
    transports,
    isInSync: () => true,
    onOvertaken: () => {},
    cluster: network.join('d1', []),
    forwarder: { mac: () => host.mac, setVirtualAddresses: () => {}, transmit: () => {} },
    note,
  },
)
service.onChange(([status]) => {
  const [{ status: socket }] = transports
  process.stdout.write(`${JSON.stringify({ ...status, refusals: service.refusals, socket })}\n`)
})
service.start()
process.once('SIGTERM', () => service.stop())
