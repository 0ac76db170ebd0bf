/** A connection that has ended stays so, whoever speaks of it late. */
import { test } from 'tap'
import { EndedConnections } from '../../../../node/director/cluster/replication/ended-connections.ts'
import { RECORD_LENGTH, RECORD_REMOVE } from '../../../../protocol/wire/connection-record.ts'
import { blockOf } from '../../../../protocol/wire/record-block.ts'
import { makeRecord } from './record.ts'

const block = (...records: readonly Uint8Array[]) => blockOf(Buffer.concat(records))

function createEnded() {
  const time = { ms: 0 }
  return { ended: new EndedConnections(() => time.ms), time }
}

const end = (n: number, version: number) => makeRecord(n, version, RECORD_REMOVE)

test('what is said of a connection as it was before its end does not bring it back', async (t) => {
  const { ended } = createEnded()
  ended.note(end(1, 5), 0)
  t.equal(ended.takePiece(block(makeRecord(1, 4))).count, 0)
  t.equal(ended.takePiece(block(makeRecord(1, 5))).count, 1, 'of two changes under one version, what lives counts')
  t.equal(
    ended.takePiece(block(makeRecord(1, 4), makeRecord(2, 4), makeRecord(1, 3))).count,
    1,
    'others are not touched',
  )
})

test('a new connection with the same addresses and ports begins', async (t) => {
  const { ended } = createEnded()
  ended.note(end(1, 5), 0)
  t.equal(ended.takePiece(block(makeRecord(1, 6))).count, 1)
})

test('ends of peers count as well', async (t) => {
  const { ended } = createEnded()
  ended.noteAll(block(makeRecord(1, 4), end(1, 5)))
  t.equal(ended.takePiece(block(makeRecord(1, 4))).count, 0)
})

test('a connection that begins anew at a director whose clock is behind has not ended', async (t) => {
  const { ended } = createEnded()
  ended.noteAll(block(end(1, 5), makeRecord(1, 3)))
  t.equal(ended.takePiece(block(makeRecord(1, 3))).count, 1)
  const bytes = new Uint8Array(RECORD_LENGTH)
  const nothing = { capacity: 0, encodeRange: () => 0 }
  t.equal(ended.behind(nothing).encodeRange(0, 1, bytes, 0), 0, 'and is not given as ended')
})

test('an end is forgotten when no old copy can be left', async (t) => {
  const { ended, time } = createEnded()
  ended.note(end(1, 5), 0)
  time.ms = 16 * 60_000
  ended.note(end(2, 5), 0)
  t.equal(ended.takePiece(block(makeRecord(1, 4))).count, 0)
  time.ms = 32 * 60_000
  ended.note(end(3, 5), 0)
  t.equal(ended.takePiece(block(makeRecord(1, 4))).count, 1)
})

test('an end is forgotten in time where none came after it', async (t) => {
  const { ended, time } = createEnded()
  ended.note(end(1, 5), 0)
  time.ms = 80 * 60_000
  const bytes = new Uint8Array(RECORD_LENGTH)
  t.equal(ended.behind({ capacity: 0, encodeRange: () => 0 }).encodeRange(0, 1, bytes, 0), 0, 'and is not given')
  t.equal(ended.takePiece(block(makeRecord(1, 4))).count, 1)
})

test('who gives a table gives the ends behind it, and they are read as ends', async (t) => {
  const { ended, time } = createEnded()
  ended.note(end(1, 5), 0)
  time.ms = 16 * 60_000
  ended.note(end(2, 7), 0)
  ended.note(end(2, 8), 0)
  const table = {
    capacity: 10,
    encodeRange(from: number, count: number, target: Uint8Array, offset: number) {
      if (from > 9 || from + count <= 9) return 0
      target.set(makeRecord(9, 1), offset)
      return 1
    },
  }
  const source = ended.behind(table)
  t.equal(source.capacity, 12)
  const bytes = new Uint8Array(3 * RECORD_LENGTH)
  t.equal(source.encodeRange(0, 8, bytes, 0), 0)
  t.equal(source.encodeRange(8, 4, bytes, 0), 3)
  const records = [0, 1, 2].map((index) => bytes.slice(index * RECORD_LENGTH, (index + 1) * RECORD_LENGTH))
  t.same(records[0], makeRecord(9, 1))
  const { ended: receiver } = createEnded()
  t.equal(receiver.takePiece(block(...records)).count, 3)
  t.equal(receiver.takePiece(block(makeRecord(1, 4), makeRecord(2, 7), makeRecord(9, 1))).count, 1)
  t.equal(receiver.takePiece(block(makeRecord(1, 6), makeRecord(2, 9))).count, 2)
})

test('where clients use their ports again, what has ended once is remembered for as long as elsewhere', async (t) => {
  const { ended } = createEnded()
  ended.note(end(7777, 5), 0)
  for (let n = 0; n < 2.2 * 2 ** 16; n++) {
    ended.note(end(n % 50, 5), 0)
    ended.note(makeRecord(n % 50, 6), 0)
  }
  t.equal(ended.takePiece(block(makeRecord(7777, 4))).count, 0)
  const { capacity } = ended.behind({ capacity: 0, encodeRange: () => 0 })
  t.ok(capacity < 100, `of ${capacity} places`)
})

test('an end that was not given yet when others began anew is given all the same', async (t) => {
  const { ended } = createEnded()
  for (const n of [1, 2, 3]) ended.note(end(n, 5), 0)
  const source = ended.behind({ capacity: 0, encodeRange: () => 0 })
  const bytes = new Uint8Array(3 * RECORD_LENGTH)
  t.equal(source.encodeRange(0, 1, bytes, 0), 1)
  for (const n of [1, 2]) ended.note(makeRecord(n, 6), 0)
  t.equal(source.encodeRange(1, 63, bytes, 0), 1)
  const { ended: receiver } = createEnded()
  receiver.takePiece(block(bytes.slice(0, RECORD_LENGTH)))
  t.equal(receiver.takePiece(block(makeRecord(3, 4))).count, 0)
})
