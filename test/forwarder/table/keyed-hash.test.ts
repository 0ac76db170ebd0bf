/** The keyed hash: it is lookup3, it spreads what an attacker and what a real network would send, and the key matters. */
import { test } from 'tap'
import { hashWords } from '../../../forwarder/table/keyed-hash.ts'

/** lookup3's final() over three words, as published, with arithmetic modulo 2^32 spelled out. */
function published(first: number, second: number, third: number, key: number): number {
  const word = (value: number) => value >>> 0
  const rotate = (value: number, bits: number) => word((value << bits) | (value >>> (32 - bits)))
  const initial = word(0xdeadbeef + 12 + key)
  let a = word(first + initial)
  let b = word(second + initial)
  let c = word(third + initial)
  c = word((c ^ b) - rotate(b, 14))
  a = word((a ^ c) - rotate(c, 11))
  b = word((b ^ a) - rotate(a, 25))
  c = word((c ^ b) - rotate(b, 16))
  a = word((a ^ c) - rotate(c, 4))
  b = word((b ^ a) - rotate(a, 14))
  return word((c ^ b) - rotate(b, 24))
}

test('it is Bob Jenkins’s lookup3 of three words', async (t) => {
  for (const words of [
    [0, 0, 0, 0],
    [1, 2, 3, 4],
    [-1, -1, -1, -1],
    [0x0a000001, 0xc0a80001, 0x0d800050, 0x5eed],
  ]) {
    const [first, second, third, key] = words
    t.equal(hashWords(first | 0, second | 0, third | 0, key | 0) >>> 0, published(first, second, third, key))
  }
})

const BUCKETS = 1024
const EACH = 16
const tuples: [sentence: string, tuple: (number: number) => [number, number, number]][] = [
  ['one client’s ports', (number) => [0x0a000001, 0xc0a80001, (number << 16) | 80]],
  ['neighbouring clients', (number) => [0x0a000000 + number, 0xc0a80001, (3456 << 16) | 80]],
  ['clients a power of two apart', (number) => [number << 14, 0xc0a80001, (3456 << 16) | 80]],
  [
    'clients and ports that grow together',
    (number) => [0x0a000000 + number, 0xc0a80001, ((number & 0xffff) << 16) | 80],
  ],
]
for (const [sentence, tuple] of tuples) {
  test(`${sentence} spread over the buckets as evenly as chance`, async (t) => {
    const counts = new Int32Array(BUCKETS)
    for (let number = 0; number < BUCKETS * EACH; number++)
      counts[hashWords(...tuple(number), 0x1234567) & (BUCKETS - 1)]++
    const chiSquare = counts.reduce((sum, count) => sum + (count - EACH) ** 2 / EACH, 0)
    // 1023 degrees of freedom: mean 1023, deviation 45; six deviations either way.
    t.ok(chiSquare > 753 && chiSquare < 1293, `chi-square ${chiSquare}`)
  })
}

test('who knows what falls into one bucket under one key knows nothing of another key', async (t) => {
  const chosen: [number, number, number][] = []
  for (let number = 0; chosen.length < 1000; number++) {
    const tuple: [number, number, number] = [number, 0xc0a80001, 80]
    if ((hashWords(...tuple, 1) & (BUCKETS - 1)) === 7) chosen.push(tuple)
  }
  const counts = new Int32Array(BUCKETS)
  for (const tuple of chosen) counts[hashWords(...tuple, 2) & (BUCKETS - 1)]++
  t.ok(Math.max(...counts) <= 10, `${Math.max(...counts)} of 1000 in one bucket`)
})
