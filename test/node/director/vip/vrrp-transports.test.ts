/** What is refused before a socket is opened for VRRP. */
import { test } from 'tap'
import type { HostInterface } from '../../../../node/director/host/network.ts'
import { openVrrpTransports } from '../../../../node/director/vip/vrrp-transports.ts'

const outside: HostInterface = {
  name: 'eth0',
  index: 2,
  mac: new Uint8Array(6),
  mtu: 1500,
  addresses: ['10.0.0.1', '2001:db8::1', 'fe80::1'].map((address) => ({ address, prefixLength: 64 })),
  isTentative: false,
}

for (const [family, vip, own] of [
  ['IPv4', '10.0.0.100', '10.0.0.1'],
  ['IPv6, by its global address', '2001:db8::100', '2001:db8::1'],
  ['IPv6, by its link-local address', '2001:db8::100', 'fe80::1'],
]) {
  test(`a group of ${family} whose peers are this director alone has nobody to speak to`, async (t) => {
    const groups = [{ addresses: [vip], unicastPeers: [own] }]
    await t.rejects(
      openVrrpTransports(groups, outside, outside, () => {}),
      {
        code: 'CONFIG_INVALID',
        message: `vips: the group of ${vip} has unicastPeers with nobody but this director (${own}): name the others, by the addresses that they speak from`,
      },
    )
  })
}
