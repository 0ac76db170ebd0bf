/** IPv4 headers: what is written, and what is taken for sound. */
import { test } from 'tap'
import { parseIPv4 } from '../../../protocol/packet/bytes.ts'
import {
  DONT_FRAGMENT,
  IPV4,
  isHostAddress,
  refreshIPv4Checksum,
  soundIPv4HeaderLength,
  writeIPv4,
} from '../../../protocol/packet/ipv4.ts'

/** A packet of 60 bytes, at offset 3, with the bytes at some offsets changed. */
function packet(changes: Record<number, number> = {}, refresh = true): Uint8Array {
  const bytes = new Uint8Array(3 + 60)
  writeIPv4(bytes, 3, {
    tos: 0,
    totalLength: 60,
    identification: 0x1c46,
    fragment: DONT_FRAGMENT,
    ttl: 64,
    protocol: 6,
    source: parseIPv4('172.16.10.99'),
    destination: parseIPv4('172.16.10.12'),
  })
  for (const [at, byte] of Object.entries(changes)) bytes[3 + Number(at)] = byte
  if (refresh) refreshIPv4Checksum(bytes, 3, (bytes[3] & 15) * 4)
  return bytes
}

const VERSION = 0
const LENGTH = IPV4.totalLength + 1

test('a header is written as the textbook example has it', async (t) => {
  const expected = '4500003c 1c464000 4006b1e6 ac100a63 ac100a0c'.replaceAll(' ', '')
  t.equal(Buffer.from(packet().subarray(3, 23)).toString('hex'), expected)
})

const cases: [string, number, Uint8Array, number?][] = [
  ['a plain header is sound', 20, packet()],
  ['a header with options is sound', 28, packet({ [VERSION]: 0x47 })],
  ['a header as long as the packet is sound', 60, packet({ [VERSION]: 0x4f })],
  ['padding behind the packet does not matter', 20, packet({ [LENGTH]: 30 })],
  ['version 6 is not', 0, packet({ [VERSION]: 0x65 })],
  ['a header shorter than 20 bytes is not', 0, packet({ [VERSION]: 0x44 })],
  ['a header longer than the packet is not', 0, packet({ [VERSION]: 0x4f, [LENGTH]: 56 })],
  ['a packet longer than the frame is not', 0, packet({ [LENGTH]: 61 })],
  ['a packet shorter than its header is not', 0, packet({ [LENGTH]: 19 })],
  ['a wrong checksum is not', 0, packet({ [IPV4.ttl]: 63 }, false)],
  ['a truncated header is not', 0, packet(), 19],
  ['no byte at all is not', 0, packet(), 0],
]
for (const [sentence, headerLength, bytes, available] of cases) {
  test(sentence, async (t) => {
    t.equal(soundIPv4HeaderLength(new DataView(bytes.buffer), 3, available ?? 60), headerLength)
  })
}

test('every single flipped bit of a header makes it unsound', async (t) => {
  for (let bit = 0; bit < 160; bit++) {
    const bytes = packet()
    bytes[3 + (bit >> 3)] ^= 1 << (bit & 7)
    t.equal(soundIPv4HeaderLength(new DataView(bytes.buffer), 3, 60), 0, `bit ${bit}`)
  }
})

const hosts: [string, boolean][] = [
  ['0.0.0.0', false],
  ['0.1.2.3', false],
  ['1.0.0.1', true],
  ['126.255.255.254', true],
  ['127.0.0.1', false],
  ['128.0.0.1', true],
  ['223.255.255.254', true],
  ['224.0.0.18', false],
  ['255.255.255.255', false],
]
for (const [address, isHost] of hosts) {
  test(`${address} ${isHost ? 'can' : 'cannot'} be the address of a host`, async (t) => {
    t.equal(isHostAddress(parseIPv4(address)), isHost)
  })
}
