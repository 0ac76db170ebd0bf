/** IPv6 addresses as words and as text of RFC 5952. */
import { test } from 'tap'
import {
  canonicalAddress,
  compareAddresses,
  formatEndpoint,
  formatIPv6,
  isHostIPv6,
  parseEndpoint,
  parseIPv6,
  readIPv6Text,
  writeIPv6Words,
} from '../../../protocol/packet/ipv6-address.ts'
import { seededRandom } from '../../random.ts'

const forms: [text: string, recommended: string][] = [
  ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1'],
  ['2001:DB8::ABCD', '2001:db8::abcd'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['::', '::'],
  ['::1', '::1'],
  ['1::', '1::'],
  ['fe80:0:0:0:0:0:0:0', 'fe80::'],
  ['0:0:0:0:0:ffff:192.0.2.1', '::ffff:192.0.2.1'],
  ['::ffff:c000:201', '::ffff:192.0.2.1'],
  ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
]

test('any form of an address is written in the one of RFC 5952', async (t) => {
  for (const [text, recommended] of forms) {
    t.equal(formatIPv6(parseIPv6(text)), recommended, text)
    t.equal(canonicalAddress(text), recommended)
    t.equal(formatIPv6(parseIPv6(recommended)), recommended)
  }
  t.equal(canonicalAddress('10.0.0.1'), '10.0.0.1')
})

test('every address survives text, bytes and words', async (t) => {
  const random = seededRandom(7)
  for (let round = 0; round < 2000; round++) {
    const words = Int32Array.from({ length: 4 }, () => (random.oneIn(3) ? 0 : random.below(2 ** 32)) | 0)
    t.same(parseIPv6(formatIPv6(words)), words, formatIPv6(words))
    const bytes = new Uint8Array(20)
    writeIPv6Words(bytes, 2, words)
    t.equal(readIPv6Text(bytes, 2), formatIPv6(words))
    t.equal(
      new URL(`http://[${formatIPv6(words)}]/`).hostname.slice(1, -1).replace(/^::ffff:.*/, ''),
      formatIPv6(words).replace(/^::ffff:.*/, ''),
    )
  }
})

test('an address and a port are told apart by brackets', async (t) => {
  for (const [address, port, text] of [
    ['2001:db8::1', 80, '[2001:db8::1]:80'],
    ['::ffff:10.0.0.1', 1, '[::ffff:10.0.0.1]:1'],
    ['10.0.0.1', 65_535, '10.0.0.1:65535'],
  ] as const) {
    t.equal(formatEndpoint(address, port), text)
    t.same(parseEndpoint(text), { address, port })
  }
  t.same(parseEndpoint('[2001:DB8:0::1]:080'), { address: '2001:db8::1', port: 80 })
  for (const text of [
    '2001:db8::1:80',
    '[10.0.0.1]:80',
    '[2001:db8::1]',
    '[2001:db8::1%eth0]:80',
    '10.0.0:80',
    '10.0.0.1:65536',
    '10.0.0.1:',
    '10.0.0.1:80 ',
    ':80',
    '',
  ]) {
    t.equal(parseEndpoint(text), undefined, text)
  }
})

test('addresses of one family have the order of numbers', async (t) => {
  const sorted = ['fe80::9', 'fe80::10', 'fe80::8000:0', 'fe80:1::', 'ff02::1']
  t.same([...sorted].reverse().sort(compareAddresses), sorted)
  t.same(['200.0.0.1', '10.0.0.10', '10.0.0.9'].sort(compareAddresses), ['10.0.0.9', '10.0.0.10', '200.0.0.1'])
  t.equal(compareAddresses('fe80:0::1', 'fe80::1'), 0)
})

test('no host that is further away has the unspecified, loopback, link-local, mapped or a multicast address', async (t) => {
  const isHost = (text: string) => {
    const [first, second, third, fourth] = parseIPv6(text)
    return isHostIPv6(first, second, third, fourth)
  }
  for (const text of ['2001:db8::1', 'fd00::1', '::2', '64:ff9b::1', 'fec0::1']) t.ok(isHost(text), text)
  for (const text of ['::', '::1', 'fe80::1', 'febf::1', 'ff02::1', '::ffff:10.0.0.1']) t.notOk(isHost(text), text)
})
