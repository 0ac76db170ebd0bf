/** Prefixes of both families. */
import { test } from 'tap'
import { parseIPv4 } from '../../../protocol/packet/bytes.ts'
import { isIPv6Text, parseIPv6 } from '../../../protocol/packet/ipv6-address.ts'
import { canonicalPrefix, isCovered, isPrefix, parsePrefix } from '../../../protocol/packet/prefix.ts'

const forms: [text: string, canonical: string, inside: string, outside: string | undefined][] = [
  ['10.3.0.0/24', '10.3.0.0/24', '10.3.0.255', '10.3.1.0'],
  ['10.3.0.77/24', '10.3.0.0/24', '10.3.0.1', '10.2.255.255'],
  ['192.0.2.1', '192.0.2.1/32', '192.0.2.1', '192.0.2.2'],
  ['255.255.255.255/1', '128.0.0.0/1', '128.0.0.0', '127.255.255.255'],
  ['1.2.3.4/0', '0.0.0.0/0', '255.255.255.255', undefined],
  ['2001:DB8:0:0:9::1/64', '2001:db8::/64', '2001:db8::ffff:1:2:3', '2001:db8:0:1::'],
  ['2001:db8::1', '2001:db8::1/128', '2001:db8::1', '2001:db8::2'],
  ['2001:db8:ffff::/33', '2001:db8:8000::/33', '2001:db8:8000::1', '2001:db8:7fff::1'],
  ['fe80::1/0', '::/0', 'ffff::', undefined],
]

for (const [text, canonical, inside, outside] of forms) {
  test(`${text} is ${canonical}`, async (t) => {
    const { isIPv6, network, mask } = parsePrefix(text)
    t.ok(isPrefix(text))
    t.equal(canonicalPrefix(text), canonical)
    t.equal(isIPv6, isIPv6Text(text))
    const contains = (address: string) => {
      const words = isIPv6 ? parseIPv6(address) : Int32Array.of(parseIPv4(address), 0, 0, 0)
      return words.every((word, index) => (word & mask[index]) === network[index])
    }
    t.ok(contains(inside), `${inside} is in it`)
    if (outside) t.notOk(contains(outside), `${outside} is not`)
  })
}

test('what is no prefix is told from one', async (t) => {
  for (const text of [
    '',
    '/',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0/8',
    '10.0.0.0/-1',
    '::/129',
    '::1%lo/64',
    '::/6 4',
  ]) {
    t.notOk(isPrefix(text), text)
  }
})

test('a network covers the addresses of its own family that begin as it does', async (t) => {
  for (const [address, prefix, covered] of [
    ['10.0.0.1', '10.0.0.0/24', true],
    ['10.0.1.1', '10.0.0.0/24', false],
    ['192.0.2.1', '0.0.0.0/0', true],
    ['2001:db8:1::100', '2001:db8:1::/64', true],
    ['2001:db8:1:0:8000::', '2001:db8:1::/65', false],
    ['2001:db8:1::100', '2001:db8:1::100/128', true],
    ['2001:db8:1::101', '2001:db8:1::100/128', false],
    ['febf::1', 'fe80::/10', true],
    ['fec0::1', 'fe80::/10', false],
    ['2001:db8::1', '::/0', true],
    ['2001:db8::1', '0.0.0.0/0', false],
    ['10.0.0.1', '::/0', false],
  ] as const) {
    t.equal(isCovered(address, prefix), covered, `${address} in ${prefix}`)
  }
})
