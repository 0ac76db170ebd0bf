/** VRRP in memory: the compliance suite. */
import { MemoryNetwork } from '../../../../node/director/vip/memory-network.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'
import { vrrpTransportCompliance } from '../../../compliance/vrrp-transport.ts'

const LIMIT_MS = 1000

for (const [family, here, there] of [
  ['IPv4', '10.0.0.1', '10.0.0.2'],
  ['IPv6', 'fe80::1', 'fe80::2'],
]) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork(clock)
  vrrpTransportCompliance(`in memory, ${family}`, async () => ({
    first: network.join(here),
    second: network.join(there),
    until: (isSo) => clock.until(isSo, LIMIT_MS),
    async withoutTurn(send) {
      network.freeze(there, true)
      send()
      await clock.advance(LIMIT_MS)
    },
  }))
}
