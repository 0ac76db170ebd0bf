/** Digests of connection tables: what makes two of them differ, and what does not. */
import { test } from 'tap'
import { RECORD, RECORD_CALL, RECORD_LENGTH, RECORD_REMOVE } from '../../../protocol/wire/connection-record.ts'
import { DIGEST_RANGES, differentRanges, rangeOf, TableDigest } from '../../../protocol/wire/table-digest.ts'

const AS_OF = 5000

function record(fields: Partial<Record<keyof typeof RECORD, number>> = {}): Uint8Array {
  const bytes = new Uint8Array(RECORD_LENGTH)
  const view = new DataView(bytes.buffer)
  bytes[RECORD.kind] = 1
  bytes[RECORD.protocol] = 6
  view.setUint16(RECORD.version, 4000)
  view.setUint16(RECORD.clientPort, 40_000)
  bytes[RECORD.serverAddress + 15] = 11
  for (const [name, value] of Object.entries(fields)) {
    const at = RECORD[name as keyof typeof RECORD]
    if (name === 'version' || name.endsWith('Port')) view.setUint16(at, value)
    else if (name.endsWith('Address')) bytes[at + 15] = value
    else bytes[at] = value
  }
  return bytes
}

function digestOf(...records: Uint8Array[]): TableDigest {
  const digest = new TableDigest(AS_OF)
  for (const each of records) digest.add(each, 0)
  return digest
}

const differences = (some: Uint8Array[], others: Uint8Array[]) =>
  differentRanges(digestOf(...some).difference(digestOf(...others).words))

test('tables with the same connections are alike, in whatever order', async (t) => {
  const some = Array.from({ length: 300 }, (_, port) => record({ clientPort: port + 1 }))
  t.same(differences(some, some.toReversed()), [])
})

test('connections are spread over the ranges', async (t) => {
  const ranges = new Set(Array.from({ length: 40_000 }, (_, port) => rangeOf(record({ clientPort: port + 1 }), 0)))
  t.equal(ranges.size, DIGEST_RANGES)
})

const same: [what: string, fields: Parameters<typeof record>[0]][] = [
  ['a state', { state: 5 }],
  ['a timeout', { timeoutMs: 7 }],
  ['a flag', { flags: 1 }],
]
for (const [what, fields] of same) {
  test(`${what} makes no difference`, async (t) => t.same(differences([record()], [record(fields)]), []))
}

const other: [what: string, fields: Parameters<typeof record>[0]][] = [
  ['a version', { version: 3999 }],
  ['a server', { serverAddress: 12 }],
  ['a server’s port', { serverPort: 8080 }],
]
for (const [what, fields] of other) {
  test(`${what} makes a difference, in the connection's range`, async (t) => {
    t.same(differences([record()], [record(fields)]), [rangeOf(record(), 0)])
  })
}

test('a connection that one has and the other has not makes a difference', async (t) => {
  t.same(differences([record()], []), [rangeOf(record(), 0)])
})

const passedOver: [what: string, fields: Parameters<typeof record>[0]][] = [
  ['a change after the moment', { version: AS_OF + 1 }],
  ['what nobody was told of', { version: 0 }],
  ['an end', { kind: RECORD_REMOVE }],
  ['a piece of a call', { protocol: RECORD_CALL }],
]
for (const [what, fields] of passedOver) {
  test(`${what} does not count`, async (t) => t.same(differences([record(fields)], []), []))
}

test('versions are compared as serial numbers', async (t) => {
  const digest = new TableDigest(3)
  digest.add(record({ version: 0xfffe }), 0)
  t.same(differentRanges(digest.difference(new TableDigest(3).words)), [rangeOf(record(), 0)])
})
