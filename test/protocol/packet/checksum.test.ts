/** The Internet checksum against the definition in RFC 1071 and the vectors of RFC 1071 and RFC 1624. */
import { test } from 'tap'
import { writeInt32, writeUint16 } from '../../../protocol/packet/bytes.ts'
import {
  addBytes,
  checksum,
  difference16,
  difference32,
  fold,
  pseudoHeaderSum,
  updateChecksum,
} from '../../../protocol/packet/checksum.ts'
import { seededRandom, seeds } from '../../random.ts'

/** RFC 1071 section 1, one word after the other with the end-around carry at once. */
function naiveSum(bytes: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i] * 256 + (bytes[i + 1] ?? 0)
    if (sum > 0xffff) sum -= 0xffff
  }
  return sum
}

test('the example of RFC 1071 section 3 sums up to ddf2', async (t) => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7)
  t.equal(fold(addBytes(0, bytes, 0, 8)), 0xddf2)
  t.equal(checksum(bytes, 0, 8), 0x220d)
})

test('the example of RFC 1624 section 4 comes out as 0, not as ffff', async (t) => {
  t.equal(updateChecksum(0xdd2f, difference16(0x5555, 0x3285)), 0x0000)
})

const lengths = [1, 2, 3, 20, 21, 1500, 65_535]
for (const length of lengths) {
  test(`${length} bytes of ff, the largest sum there is, are summed up right`, async (t) => {
    const bytes = new Uint8Array(length).fill(0xff)
    t.equal(checksum(bytes, 0, length, 5 * 0xffff), ~naiveSum(bytes) & 0xffff)
  })
}

for (const seed of seeds(1)) {
  test(`random blocks have the sum of the definition, and a block with its checksum in it verifies (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const wrong: string[] = []
    for (let round = 0; round < 500; round++) {
      const bytes = Uint8Array.from({ length: 4 + random.below(1500) }, () => random.below(256))
      const at = random.below(4)
      const length = bytes.length - at
      if (checksum(bytes, at, length) !== (~naiveSum(bytes.subarray(at)) & 0xffff)) wrong.push(`round ${round}`)
      const even = bytes.subarray(0, bytes.length & ~1)
      writeUint16(even, 2, 0)
      writeUint16(even, 2, checksum(even, 0, even.length))
      if (checksum(even, 0, even.length) !== 0) wrong.push(`round ${round} does not verify`)
    }
    t.same(wrong, [])
  })

  test(`an updated checksum is the one computed anew (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const wrong: string[] = []
    const word = () => (random.below(3) === 0 ? [0, 0xffff, 1, 0xfffe][random.below(4)] : random.below(0x10000))
    for (let round = 0; round < 20_000; round++) {
      const bytes = new Uint8Array(12)
      for (let at = 0; at < 10; at += 2) writeUint16(bytes, at, word())
      bytes[0] |= 1 // RFC 1624: only a block of nothing but zeros has two checksums
      const before = checksum(bytes, 0, 10)
      const port = word()
      const address = (word() << 16) | word()
      const difference =
        difference16((bytes[2] << 8) | bytes[3], port) +
        difference32((bytes[4] << 24) | (bytes[5] << 16) | (bytes[6] << 8) | bytes[7], address)
      writeUint16(bytes, 2, port)
      writeInt32(bytes, 4, address)
      const [updated, anew] = [updateChecksum(before, difference), checksum(bytes, 0, 10)]
      if (updated !== anew) wrong.push(`round ${round}: ${updated.toString(16)} for ${anew.toString(16)}`)
    }
    t.same(wrong, [])
  })
}

test('a difference is the same for signed and unsigned numbers', async (t) => {
  t.equal(difference32(-1, 0x7fffffff), difference32(0xffffffff, 0x7fffffff))
  t.equal(difference32(0, -2147483648), difference32(0, 0x80000000))
})

test('the pseudo-header is addresses, protocol and length', async (t) => {
  const header = new Uint8Array(20)
  writeInt32(header, 12, 0x0a000001)
  writeInt32(header, 16, 0xc0a80102)
  t.equal(pseudoHeaderSum(header, 0, 6, 40), 0x0a00 + 0x0001 + 0xc0a8 + 0x0102 + 6 + 40)
})
