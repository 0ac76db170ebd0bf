/** VRRP messages as whole packets to a named peer; those to the group are in virtual-router-mac.test.ts. */
import { test } from 'tap'
import { vrrpPacket } from '../../../protocol/packet/vrrp-packet.ts'

const hex = (data: Uint8Array) => Buffer.from(data).toString('hex')
const MESSAGE = '313364010032aaaa0a000064'

test('over IPv4 a packet has the addresses that it was given, TTL 255 and DSCP CS6', async (t) => {
  const packet = vrrpPacket(Buffer.from(MESSAGE, 'hex'), '10.0.0.1', '10.0.0.2')
  // Header: 45c0 + 0020 + 4000 + ff70 + 0a00 + 0001 + 0a00 + 0002 = 19953, folded 9954; its complement.
  t.equal(hex(packet), `45c00020${'00004000'}ff70${'66ab'}0a000001${'0a000002'}${MESSAGE}`)
})

test('over IPv6 as well', async (t) => {
  const packet = vrrpPacket(Buffer.from(MESSAGE, 'hex'), '2001:db8::1', '2001:db8::2')
  const [source, destination] = ['1', '2'].map((last) => `20010db8${'0'.repeat(23)}${last}`)
  t.equal(hex(packet), `6c000000000c70ff${source}${destination}${MESSAGE}`)
})
