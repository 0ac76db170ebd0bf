/** Blocks of connection records on the wire. */
import { test } from 'tap'
import { RECORD, RECORD_LENGTH, RECORD_REMOVE, RECORD_UPSERT } from '../../../protocol/wire/connection-record.ts'
import {
  BLOCK_HEADER_LENGTH,
  filterBlock,
  PACKED_RECORD_LENGTH,
  type RecordBlock,
  RecordBlockWriter,
  type RecordTails,
  readBlock,
} from '../../../protocol/wire/record-block.ts'
import { seededRandom } from '../../random.ts'

const { below } = seededRandom(20)

/** Every field filled, so that none can be left out unseen. */
function randomRecord(isIPv4: boolean, kind = RECORD_UPSERT): Uint8Array {
  const record = Uint8Array.from({ length: RECORD_LENGTH }, () => below(256))
  record[RECORD.kind] = kind
  record.fill(0, 18, 20)
  for (const address of isIPv4 ? [RECORD.clientAddress, RECORD.virtualAddress, RECORD.serverAddress] : []) {
    record.fill(0, address, address + 10)
    record.fill(0xff, address + 10, address + 12)
  }
  return record
}

function write(records: readonly Uint8Array[], room = 64 * 1024): { bytes: Uint8Array; accepted: number } {
  const bytes = new Uint8Array(room)
  const writer = new RecordBlockWriter(bytes, 8)
  for (const record of records) if (!writer.add(new DataView(record.buffer), 0)) break
  writer.finish()
  return { bytes: bytes.subarray(0, writer.end), accepted: writer.count }
}

function readAll(block: RecordBlock | undefined): Uint8Array[] {
  return Array.from({ length: block?.count ?? 0 }, (_, index) => {
    const target = new Uint8Array(RECORD_LENGTH + 2).fill(0xee)
    block?.read(index, target, 1)
    if (target[0] !== 0xee || target[RECORD_LENGTH + 1] !== 0xee) throw new Error('written beyond the record')
    return target.slice(1, RECORD_LENGTH + 1)
  })
}

test('IPv4 records come back byte for byte from 34 bytes each', async (t) => {
  const records = Array.from({ length: 50 }, () => randomRecord(true))
  const { bytes } = write(records)
  t.equal(bytes.length, 8 + BLOCK_HEADER_LENGTH + 50 * PACKED_RECORD_LENGTH)
  t.same(readAll(readBlock(bytes, 8)), records)
})

test('other records come back byte for byte, IPv4 ones among them too', async (t) => {
  const records = Array.from({ length: 50 }, (_, n) => randomRecord(n % 3 === 1))
  const { bytes, accepted } = write(records)
  t.equal(accepted, 50)
  t.same(readAll(readBlock(bytes, 8)), records)
})

test('a block that began with IPv4 takes no other record', async (t) => {
  t.equal(write([randomRecord(true), randomRecord(true), randomRecord(false)]).accepted, 2)
})

test('a block that was told to take any record takes any', async (t) => {
  const bytes = new Uint8Array(1024)
  const writer = new RecordBlockWriter(bytes, 0)
  const records = [randomRecord(true), randomRecord(false)]
  writer.reset(true)
  for (const record of records) t.ok(writer.add(new DataView(record.buffer), 0))
  writer.finish()
  t.same(readAll(readBlock(bytes.subarray(0, writer.end), 0)), records)
})

test('an ended connection without a server address is packed', async (t) => {
  const record = randomRecord(true, RECORD_REMOVE)
  record.fill(0, RECORD.serverAddress, RECORD.serverAddress + 16)
  const { bytes } = write([record])
  t.equal(bytes.length, 8 + BLOCK_HEADER_LENGTH + PACKED_RECORD_LENGTH)
  const [read] = readAll(readBlock(bytes, 8))
  t.same(read.subarray(0, RECORD.serverAddress), record.subarray(0, RECORD.serverAddress))
})

test('a full block refuses the next record and stays whole', async (t) => {
  const room = 8 + BLOCK_HEADER_LENGTH + 3 * PACKED_RECORD_LENGTH + 33
  const { bytes, accepted } = write(
    Array.from({ length: 5 }, () => randomRecord(true)),
    room,
  )
  t.equal(accepted, 3)
  t.equal(readBlock(bytes, 8)?.count, 3)
})

test('a filtered block has the records that were wanted', async (t) => {
  const records = Array.from({ length: 10 }, () => randomRecord(true))
  const kept = filterBlock(readBlock(write(records).bytes, 8) as RecordBlock, (record) => record[4] % 2 === 0)
  t.same(
    readAll(kept),
    records.filter((record) => record[4] % 2 === 0),
  )
})

test('records of a later version, with more behind, are read as far as they are known', async (t) => {
  const record = randomRecord(false)
  const bytes = new Uint8Array(BLOCK_HEADER_LENGTH + 2 * 80)
  new DataView(bytes.buffer).setUint16(2, 80)
  new DataView(bytes.buffer).setUint16(4, 2)
  bytes.set(record, BLOCK_HEADER_LENGTH)
  bytes.set(record, BLOCK_HEADER_LENGTH + 80)
  t.same(readAll(readBlock(bytes, 0)), [record, record])
})

/** Connections by their first field have these bytes behind their records. */
function tailsOf(tails: ReadonlyMap<number, Uint8Array>): RecordTails {
  const length = Math.max(0, ...tails.values().map((tail) => tail.length))
  return { length, of: (bytes, at) => tails.get(bytes[at + RECORD.state]) }
}

for (const isIPv4 of [true, false]) {
  test(`tails stand behind their records, and zeros where there is none (${isIPv4 ? 'IPv4' : 'any'})`, async (t) => {
    const records = Array.from({ length: 4 }, (_, n) => randomRecord(isIPv4).with(RECORD.state, n))
    const tails = new Map([
      [1, Uint8Array.of(1, 2, 3)],
      [3, Uint8Array.of(4)],
    ])
    const bytes = new Uint8Array(1024).fill(0xee)
    const writer = new RecordBlockWriter(bytes, 8, tailsOf(tails))
    for (const record of records) t.ok(writer.add(new DataView(record.buffer), 0))
    writer.finish()
    const block = readBlock(bytes.subarray(0, writer.end), 8) as RecordBlock
    t.same(readAll(block), records)
    t.equal(block.tailLength, 3)
    t.same(
      records.map((_, index) => [...block.tail(index)]),
      [
        [0, 0, 0],
        [1, 2, 3],
        [0, 0, 0],
        [4, 0, 0],
      ],
    )
  })
}

test('a record whose tail is longer than the block’s goes into the next block', async (t) => {
  const tails = new Map([[0, Uint8Array.of(1)]])
  const live: RecordTails = {
    get length() {
      return tailsOf(tails).length
    },
    of: (bytes, at) => tailsOf(tails).of(bytes, at),
  }
  const writer = new RecordBlockWriter(new Uint8Array(1024), 0, live)
  const [first, second] = [0, 1].map((n) => new DataView(randomRecord(true).with(RECORD.state, n).buffer))
  t.ok(writer.add(first, 0))
  tails.set(1, Uint8Array.of(1, 2))
  t.notOk(writer.add(second, 0))
  t.equal(writer.count, 1)
  writer.reset()
  t.ok(writer.add(second, 0))
})

test('what is not a block is not read', async (t) => {
  const { bytes } = write([randomRecord(true), randomRecord(true)])
  const broken = {
    'one byte short': bytes.subarray(0, -1),
    'one byte long': Uint8Array.of(...bytes, 0),
    'without a header': bytes.subarray(0, 10),
    'of an unknown format': bytes.map((byte, i) => (i === 8 ? 2 : byte)),
    'with records too short': bytes.map((byte, i) => (i === 11 ? 33 : byte)),
    'of more records than bytes': bytes.map((byte, i) => (i === 13 ? 3 : byte)),
    'with an unknown kind of record': bytes.map((byte, i) => (i === 8 + BLOCK_HEADER_LENGTH + 34 ? 3 : byte)),
  }
  for (const [what, wrong] of Object.entries(broken)) t.equal(readBlock(wrong, 8), undefined, what)
})
