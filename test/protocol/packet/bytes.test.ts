/** Fields in network byte order, and addresses as text. */
import { test } from 'tap'
import {
  formatIPv4,
  formatMac,
  parseIPv4,
  parseMac,
  readInt32,
  readUint16,
  writeInt32,
  writeUint16,
} from '../../../protocol/packet/bytes.ts'

test('16-bit fields are big endian, and written modulo 2^16', async (t) => {
  const bytes = new Uint8Array(4)
  for (const value of [0, 1, 0x1234, 0x8000, 0xffff]) {
    writeUint16(bytes, 1, value)
    t.equal(readUint16(bytes, 1), value)
    t.equal(readUint16(bytes, 1), new DataView(bytes.buffer).getUint16(1))
  }
  writeUint16(bytes, 1, 0x12345)
  t.equal(readUint16(bytes, 1), 0x2345)
  t.same([bytes[0], bytes[3]], [0, 0], 'nothing beside the field was written')
})

test('32-bit fields are big endian and read as signed', async (t) => {
  const bytes = new Uint8Array(6)
  for (const value of [0, 1, 0x12345678, 0x7fffffff, 0x80000000, 0xffffffff]) {
    writeInt32(bytes, 1, value)
    t.equal(readInt32(bytes, 1), value | 0)
    t.equal(readInt32(bytes, 1), new DataView(bytes.buffer).getInt32(1))
  }
  t.same([bytes[0], bytes[5]], [0, 0], 'nothing beside the field was written')
})

const addresses: [string, number][] = [
  ['0.0.0.0', 0],
  ['10.0.0.1', 0x0a000001],
  ['127.255.255.255', 0x7fffffff],
  ['128.0.0.0', -2147483648],
  ['202.103.106.5', 0xca676a05 | 0],
  ['255.255.255.255', -1],
]
for (const [text, number] of addresses) {
  test(`${text} is the number ${number}, there and back`, async (t) => {
    t.equal(parseIPv4(text), number)
    t.equal(formatIPv4(number), text)
    t.equal(formatIPv4(number >>> 0), text)
  })
}

test('a MAC is text and six bytes, there and back', async (t) => {
  t.same(parseMac('02:00:5e:10:fF:0a'), Uint8Array.of(2, 0, 0x5e, 0x10, 0xff, 10))
  t.equal(formatMac(Uint8Array.of(9, 2, 0, 0x5e, 0x10, 0xff, 10), 1), '02:00:5e:10:ff:0a')
})
