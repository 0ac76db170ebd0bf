/** IPv4 prefixes. */
import { test } from 'tap'
import { parseIPv4 } from '../../../protocol/packet/bytes.ts'
import { canonicalPrefix, parsePrefix } from '../../../protocol/packet/prefix.ts'

const forms: [text: string, canonical: string, inside: string, outside: string | undefined][] = [
  ['10.3.0.0/24', '10.3.0.0/24', '10.3.0.255', '10.3.1.0'],
  ['10.3.0.77/24', '10.3.0.0/24', '10.3.0.1', '10.2.255.255'],
  ['192.0.2.1', '192.0.2.1/32', '192.0.2.1', '192.0.2.2'],
  ['255.255.255.255/1', '128.0.0.0/1', '128.0.0.0', '127.255.255.255'],
  ['1.2.3.4/0', '0.0.0.0/0', '255.255.255.255', undefined],
]

for (const [text, canonical, inside, outside] of forms) {
  test(`${text} is ${canonical}`, async (t) => {
    const { network, mask } = parsePrefix(text)
    t.equal(canonicalPrefix(text), canonical)
    t.equal(parseIPv4(inside) & mask, network, `${inside} is in it`)
    if (outside) t.not(parseIPv4(outside) & mask, network, `${outside} is not`)
  })
}
