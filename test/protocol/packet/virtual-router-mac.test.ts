/** Advertisements as whole frames from the virtual router MAC, against bytes set by hand. */
import { test } from 'tap'
import { formatMac } from '../../../protocol/packet/bytes.ts'
import { advertisementFrame, virtualRouterMac } from '../../../protocol/packet/virtual-router-mac.ts'

const hex = (data: Uint8Array) => Buffer.from(data).toString('hex')

const macs: [vrid: number, isIPv6: boolean, mac: string][] = [
  [51, false, '00:00:5e:00:01:33'],
  [255, false, '00:00:5e:00:01:ff'],
  [1, true, '00:00:5e:00:02:01'],
]
for (const [vrid, isIPv6, mac] of macs) {
  test(`virtual router ${vrid} of ${isIPv6 ? 'IPv6' : 'IPv4'} is at ${mac}`, async (t) => {
    t.equal(formatMac(virtualRouterMac(vrid, isIPv6)), mac)
  })
}

const MESSAGE = '313364010032aaaa0a000064'

test('over IPv4 an advertisement goes to the MAC of 224.0.0.18, with TTL 255 and DSCP CS6', async (t) => {
  const frame = advertisementFrame(Buffer.from(MESSAGE, 'hex'), '10.0.0.1', virtualRouterMac(51, false))
  // Header: 45c0 + 0020 + 4000 + ff70 + 0a00 + 0001 + e000 + 0012 = 26f63, folded 6f65; its complement.
  const header = '45c00020' + '00004000' + 'ff70' + '909a' + '0a000001' + 'e0000012'
  t.equal(hex(frame), `01005e000012${'00005e000133'}0800${header}${MESSAGE}`)
})

test('over IPv6 to that of ff02::12, with hop limit 255 and the same class', async (t) => {
  const frame = advertisementFrame(Buffer.from(MESSAGE, 'hex'), 'fe80::1', virtualRouterMac(52, true))
  const addresses = `fe80${'0'.repeat(27)}1${'ff02'}${'0'.repeat(26)}12`
  t.equal(hex(frame), `333300000012${'00005e000234'}86dd6c000000000c70ff${addresses}${MESSAGE}`)
})
