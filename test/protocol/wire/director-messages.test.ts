/** Messages between directors: there and back, and whatever else a network may bring. */
import { test } from 'tap'
import { encodePresence, type Presence, parsePresence } from '../../../protocol/wire/presence.ts'
import { BATCH_HEADER_LENGTH, parseBatch, writeBatchHeader } from '../../../protocol/wire/record-batch.ts'
import { RecordBlockWriter } from '../../../protocol/wire/record-block.ts'
import {
  encodeSyncMessage,
  PIECE_HEADER_LENGTH,
  parseSyncMessage,
  writePieceHeader,
} from '../../../protocol/wire/sync-message.ts'
import { seededRandom } from '../../random.ts'
import { LATER_VERSION } from '../../support/accent.ts'

const large = 2 ** 40 + 5
const epoch = '00ff0123456789ab'

const presence: Presence = {
  epoch,
  sequence: large,
  records: large * 3,
  joined: true,
  inSync: false,
  full: true,
  lost: 7,
  sentAtMs: 4_000_000_000,
  applied: [
    { epoch: '0000000000000001', sequence: 0, records: 0, heardMs: 0 },
    { epoch: 'ffffffffffffffff', sequence: large, records: 12, heardMs: 2 ** 32 - 1 },
  ],
}

function record(): DataView {
  const view = new DataView(new ArrayBuffer(72))
  view.setUint8(0, 1)
  return view
}

function batch(): Uint8Array {
  const bytes = new Uint8Array(1000)
  const writer = new RecordBlockWriter(bytes, BATCH_HEADER_LENGTH)
  writer.add(record(), 0)
  writer.finish()
  writeBatchHeader(bytes, { epoch, sequence: large, recordsBefore: 2 ** 52 + 1, sentAtMs: 123_456.7, isAwaited: true })
  return bytes.subarray(0, writer.end)
}

function piece(): Uint8Array {
  const bytes = new Uint8Array(1000)
  const writer = new RecordBlockWriter(bytes, PIECE_HEADER_LENGTH)
  writer.add(record(), 0)
  writer.finish()
  writePieceHeader(bytes, { id: 0xfedcba98, next: 1 << 20, last: true })
  return bytes.subarray(0, writer.end)
}

const syncMessages = [
  {
    kind: 'resend-request',
    epoch,
    ranges: [
      { from: 1, to: 1 },
      { from: large, to: large + 200 },
    ],
  },
  { kind: 'resend-refused', epoch, oldest: large },
  { kind: 'snapshot-request', id: 0xffffffff, from: 5, pieces: 8 },
  { kind: 'snapshot-header', id: 1, slots: 2 ** 20, positions: [{ epoch, sequence: large, records: 3 }] },
  { kind: 'snapshot-header', id: 1, slots: 2 ** 20, positions: [] },
  { kind: 'snapshot-refused', id: 2 },
  { kind: 'confirmation', epoch, sequence: large },
] as const

test('a batch keeps its numbers, beyond 32 bits too', async (t) => {
  t.match(parseBatch(batch()), {
    epoch,
    sequence: large,
    recordsBefore: 2 ** 52 + 1,
    sentAtMs: 123_456,
    block: { count: 1 },
  })
})

test('a presence comes back as it was', async (t) => {
  t.same(parsePresence(encodePresence(presence)), presence)
  t.same(parsePresence(encodePresence({ ...presence, applied: [] })), { ...presence, applied: [] })
})

test('a presence of a later version, with longer entries, is read as far as it is known', async (t) => {
  const bytes = encodePresence(presence)
  const longer = new Uint8Array(40 + 2 * 48)
  longer.set(bytes.subarray(0, 72))
  longer.set(bytes.subarray(72, 104), 40 + 48)
  longer[3] = 48
  t.same(parsePresence(longer), presence)
})

test('every sync message comes back as it was', async (t) => {
  for (const message of syncMessages) t.same(parseSyncMessage(encodeSyncMessage(message)), message, message.kind)
  t.match(parseSyncMessage(piece()), {
    kind: 'snapshot-piece',
    id: 0xfedcba98,
    next: 1 << 20,
    last: true,
    block: { count: 1 },
  })
})

test('a message of another length, or of another series of versions, is not read', async (t) => {
  const all: [Uint8Array, (bytes: Uint8Array) => unknown][] = [
    [batch(), parseBatch],
    [encodePresence(presence), parsePresence],
    [piece(), parseSyncMessage],
    ...syncMessages
      .filter(({ kind }) => kind !== 'snapshot-refused')
      .map((message): [Uint8Array, typeof parseSyncMessage] => [encodeSyncMessage(message), parseSyncMessage]),
  ]
  for (const [bytes, parse] of all) {
    for (let length = 0; length < bytes.length; length++) t.equal(parse(bytes.subarray(0, length)), undefined)
    t.equal(parse(Uint8Array.of(...bytes, 0)), undefined)
    for (const version of [0, 16, 17, 255]) t.equal(parse(bytes.with(0, version)), undefined)
  }
})

test('a message of a later version, with more behind it, is read as far as it is known', async (t) => {
  const later = (bytes: Uint8Array) => Uint8Array.of(LATER_VERSION, ...bytes.subarray(1), 7, 8, 9)
  t.same(parsePresence(later(encodePresence(presence))), presence)
  for (const message of syncMessages) t.same(parseSyncMessage(later(encodeSyncMessage(message))), message, message.kind)
  t.match(parseSyncMessage(later(piece())), { kind: 'snapshot-piece', block: { count: 1 } })
  t.match(parseBatch(later(batch())), { sequence: large, block: { count: 1 } })
  t.equal(parsePresence(later(encodePresence(presence)).subarray(0, -4)), undefined, 'but not less')
})

test('impossible numbers are not believed', async (t) => {
  const zero = batch()
  zero.fill(0, 16, 24)
  t.equal(parseBatch(zero), undefined, 'batch 0')
  const huge = batch()
  huge.fill(0xff, 16, 24)
  t.equal(parseBatch(huge), undefined, 'a sequence beyond exact numbers')
  const backwards = { kind: 'resend-request', epoch, ranges: [{ from: 5, to: 4 }] } as const
  t.equal(parseSyncMessage(encodeSyncMessage(backwards)), undefined, 'a range that ends before it starts')
})

test('whatever comes, no parser throws', async (t) => {
  const { below } = seededRandom(31)
  const samples = [batch(), piece(), encodePresence(presence), ...syncMessages.map(encodeSyncMessage)]
  let [taken, refused] = [0, 0]
  for (let n = 0; n < 20_000; n++) {
    const bytes = Uint8Array.from(samples[below(samples.length)])
    for (let change = below(4); change >= 0; change--) bytes[below(bytes.length)] = below(256)
    for (const parse of [parseBatch, parsePresence, parseSyncMessage]) {
      const parsed = parse(bytes)
      if (parsed) taken++
      else refused++
      if (parsed && 'block' in parsed)
        for (let i = 0; i < parsed.block.count; i++) parsed.block.read(i, new Uint8Array(72), 0)
    }
  }
  t.equal(taken + refused, 60_000)
  t.ok(taken > 0 && refused > 0, `${taken} taken, ${refused} refused`)
})
