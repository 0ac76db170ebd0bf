/** Messages of a comparison: there and back, and damaged. */
import { test } from 'tap'
import { RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'
import {
  type DigestMessage,
  encodeDigestMessage,
  parseDigestMessage,
  partsOf,
  RANGE_PIECE_HEADER_LENGTH,
  writeRangePieceHeader,
} from '../../../protocol/wire/digest-message.ts'
import { RecordBlockWriter } from '../../../protocol/wire/record-block.ts'
import { DIGEST_RANGES, MOST_DIGEST_RANGES } from '../../../protocol/wire/table-digest.ts'
import { LATER_VERSION } from '../../support/accent.ts'

const words = Uint32Array.from({ length: DIGEST_RANGES * 2 }, (_, index) => Math.imul(index + 1, 0x9e3779b9) >>> 0)
const messages: Exclude<DigestMessage, { kind: 'piece' }>[] = [
  { kind: 'digest', id: 0xfedcba98, asOf: 0xfffe, words },
  { kind: 'answer', id: 1, asOf: 3, words: words.toReversed() },
  { kind: 'wanted', id: 2, ranges: [0, 7, 8, DIGEST_RANGES - 1] },
  { kind: 'wanted', id: 3, ranges: Array.from({ length: DIGEST_RANGES }, (_, range) => range) },
  { kind: 'finer-wanted', id: 4, asOf: 77, ranges: 4096 },
  { kind: 'finer-wanted', id: 5, asOf: 0xffff, ranges: MOST_DIGEST_RANGES },
  ...partsOf(
    6,
    5,
    Uint32Array.from({ length: 2 * 8192 }, (_, index) => Math.imul(index + 1, 0x85ebca6b) >>> 0),
  ),
]

for (const message of messages) {
  test(`${message.kind} ${message.id} comes back as it was`, async (t) => {
    t.same(parseDigestMessage(encodeDigestMessage(message)), message)
  })
  test(`${message.kind} ${message.id} is not understood when it is cut, longer or of another series of versions`, async (t) => {
    const bytes = encodeDigestMessage(message)
    const isRead = (length: number) => parseDigestMessage(bytes.subarray(0, length)) !== undefined
    t.notOk(Array.from(bytes.keys()).some(isRead))
    t.equal(parseDigestMessage(Uint8Array.of(...bytes, 0)), undefined)
    t.equal(parseDigestMessage(bytes.with(0, 16)), undefined)
    t.equal(parseDigestMessage(bytes.with(1, 9)), undefined)
  })
  test(`${message.kind} ${message.id} of a later version is read as far as it is known`, async (t) => {
    t.same(parseDigestMessage(Uint8Array.of(LATER_VERSION, ...encodeDigestMessage(message).subarray(1), 5, 5)), message)
  })
}

test('a finer digest comes in as many parts as it takes, and a part of none that there is is not understood', async (t) => {
  const [first, second, ...others] = messages.filter(({ kind }) => kind === 'finer-part')
  t.match([first, second, others], [{ ranges: 8192, at: 0 }, { ranges: 8192, at: 8192 }, []])
  const bytes = encodeDigestMessage(second)
  for (const [power, part] of [
    [11, 0],
    [12, 1],
    [13, 2],
    [17, 0],
    [255, 0],
  ])
    t.equal(parseDigestMessage(bytes.with(8, power).with(11, part)), undefined, `part ${part} of 2^${power}`)
})

test('a piece comes back with its records', async (t) => {
  const bytes = new Uint8Array(1024)
  const writer = new RecordBlockWriter(bytes, RANGE_PIECE_HEADER_LENGTH)
  const record = new Uint8Array(RECORD_LENGTH)
  record[0] = 1
  t.ok(writer.add(new DataView(record.buffer), 0))
  writer.finish()
  writeRangePieceHeader(bytes, 77)
  const message = parseDigestMessage(bytes.subarray(0, writer.end))
  if (message?.kind !== 'piece') return t.fail('no piece')
  const read = new Uint8Array(RECORD_LENGTH)
  message.block.read(0, read, 0)
  t.same({ id: message.id, count: message.block.count, read }, { id: 77, count: 1, read: record })
  t.equal(parseDigestMessage(bytes.subarray(0, writer.end - 1)), undefined)
})
