/** CRC32c against its published vectors and its definition; which chunk an SCTP packet is about. */
import { test } from 'tap'
import { advanceCrc32c, crc32cField } from '../../../protocol/packet/crc32c.ts'
import { rewriteSctpPort, SCTP, SCTP_CHUNK, sctpChecksum, sctpChunkType } from '../../../protocol/packet/sctp.ts'
import { seededRandom } from '../../random.ts'
import { crc32cBitByBit, packetOf, sctpFrame } from '../../support/frames.ts'

const crc = (bytes: Uint8Array) =>
  ~advanceCrc32c(-1, new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length) >>> 0

// RFC 3720 appendix B.4.
const vectors: [what: string, bytes: Uint8Array, crc: number][] = [
  ['32 bytes of zeros', new Uint8Array(32), 0x8a91_36aa],
  ['32 bytes of ones', new Uint8Array(32).fill(0xff), 0x62a8_ab43],
  ['32 bytes that count up', Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd_794e],
  ['32 bytes that count down', Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113f_db5c],
  ['the check value of the catalogues', new TextEncoder().encode('123456789'), 0xe306_9283],
]
for (const [what, bytes, expected] of vectors) {
  test(`CRC32c of ${what} is the published one`, async (t) => {
    t.equal(crc(bytes), expected)
    t.equal(crc32cBitByBit(bytes), expected, 'by the bit, too')
  })
}

test('a checksum is written with its least significant byte first', async (t) => {
  t.equal(crc32cField(0x0102_0304) >>> 0, 0x0403_0201)
})

test('the checksum of a packet is the one of its bytes with a checksum field of zeros', async (t) => {
  const random = seededRandom(7)
  for (let length = 0; length < 70; length++) {
    const value = Uint8Array.from({ length }, () => random.below(256))
    const sctp = packetOf(sctpFrame({ from: '10.0.0.1:1', to: '10.0.0.2:2', chunks: [{ type: 0, value }] })).subarray(
      20,
    )
    const view = new DataView(sctp.buffer, sctp.byteOffset, sctp.length)
    t.equal(sctpChecksum(view, 0, sctp.length), view.getInt32(SCTP.checksum))
  }
})

test('a port is rewritten with the checksum that a new computation gives', async (t) => {
  const random = seededRandom(8)
  for (let round = 0; round < 200; round++) {
    const value = Uint8Array.from({ length: random.below(100) }, () => random.below(256))
    const port = random.below(65536)
    const chunks = [{ type: 0, value }]
    const frame = sctpFrame({ from: '10.0.0.1:77', to: '10.0.0.2:99', chunks })
    rewriteSctpPort(new DataView(frame.buffer), 34, SCTP.destinationPort, port, frame.length - 34)
    t.same(frame, sctpFrame({ from: '10.0.0.1:77', to: `10.0.0.2:${port}`, chunks }))
    rewriteSctpPort(new DataView(frame.buffer), 34, SCTP.sourcePort, port, frame.length - 34)
    t.same(frame, sctpFrame({ from: `10.0.0.1:${port}`, to: `10.0.0.2:${port}`, chunks }))
  }
})

const { ABORT, COOKIE_ACK, COOKIE_ECHO, DATA, SACK } = SCTP_CHUNK
const cookie = new Uint8Array(5)
const abouts: [sentence: string, chunks: { type: number; value?: Uint8Array }[], expected: number][] = [
  ['its only chunk', [{ type: SACK }], SACK],
  ['its first chunk', [{ type: SACK }, { type: ABORT }], SACK],
  ['an ABORT behind a padded COOKIE ECHO', [{ type: COOKIE_ECHO, value: cookie }, { type: ABORT }], ABORT],
  ['an ABORT behind a COOKIE ACK', [{ type: COOKIE_ACK }, { type: ABORT }], ABORT],
  ['a COOKIE ECHO with data behind it', [{ type: COOKIE_ECHO, value: cookie }, { type: DATA }], COOKIE_ECHO],
  ['a lone COOKIE ECHO', [{ type: COOKIE_ECHO, value: cookie }], COOKIE_ECHO],
]
for (const [sentence, chunks, expected] of abouts) {
  test(`a packet is about ${sentence}`, async (t) => {
    const frame = sctpFrame({ from: '10.0.0.1:1', to: '10.0.0.2:2', chunks })
    t.equal(sctpChunkType(new DataView(frame.buffer), 34, frame.length - 34), expected)
  })
}

test('a COOKIE ECHO that lies about its length is not followed out of the packet', async (t) => {
  const frame = sctpFrame({ from: '10.0.0.1:1', to: '10.0.0.2:2', chunks: [{ type: COOKIE_ECHO }, { type: ABORT }] })
  for (const length of [0, 3, 9, 65_535]) {
    new DataView(frame.buffer).setUint16(34 + 12 + 2, length)
    t.equal(sctpChunkType(new DataView(frame.buffer), 34, frame.length - 34), COOKIE_ECHO)
  }
})
