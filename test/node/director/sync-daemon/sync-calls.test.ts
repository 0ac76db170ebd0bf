/** Templates of SIP calls: several records of the pool, one entry of the kernel's sync protocol. */
import { test } from 'tap'
import { CallRecords, recordCount, recordsOfEntry } from '../../../../node/director/sync-daemon/sync-calls.ts'
import { CALL, RECORD, RECORD_LENGTH } from '../../../../protocol/wire/connection-record.ts'
import type { SyncEntry } from '../../../../protocol/wire/ipvs-sync.ts'

const bytesOf = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0))
const IPV6 = {
  clientAddress: Uint8Array.from({ length: 16 }, (_, i) => 0x20 + i),
  virtualAddress: Uint8Array.from({ length: 16 }, (_, i) => 0x30 + i),
  serverAddress: Uint8Array.from({ length: 16 }, (_, i) => 0x40 + i),
}
const entry: SyncEntry = {
  protocol: 17,
  flags: 0x1100,
  state: 1,
  clientPort: 0,
  virtualPort: 5060,
  serverPort: 5060,
  firewallMark: 0,
  timeoutS: 300,
  clientAddress: Uint8Array.of(10, 0, 0, 2),
  virtualAddress: Uint8Array.of(10, 0, 0, 100),
  serverAddress: Uint8Array.of(192, 168, 1, 11),
  engineName: 'sip',
  engineData: bytesOf('call-17@example.net'),
}

function recordsOf(each: SyncEntry): Uint8Array {
  const records = new Uint8Array(recordCount(each) * RECORD_LENGTH)
  if (!recordsOfEntry(each, records, 0)) throw new Error('no record')
  return records
}

function entriesOf(records: Uint8Array, calls = new CallRecords()): SyncEntry[] {
  const entries: SyncEntry[] = []
  for (let at = 0; at < records.length; at += RECORD_LENGTH) {
    const told = calls.take(records, at)
    if (told) entries.push(told)
  }
  return entries
}

const cases: [what: string, fields: Partial<SyncEntry>, records: number][] = [
  ['with a short name', {}, 2],
  ['whose name fills its pieces', { engineData: bytesOf('x'.repeat(2 * 36 - 16)) }, 3],
  ['with the longest name', { engineData: bytesOf('y'.repeat(255)) }, 9],
  ['of IPv6', IPV6, 2],
  [
    'of a mark',
    { protocol: 0, firewallMark: 7, virtualPort: 0, serverPort: 0, virtualAddress: Uint8Array.of(0, 0, 0, 7) },
    2,
  ],
]
for (const [what, fields, count] of cases) {
  test(`a call ${what} becomes ${count} records and comes back`, async (t) => {
    const each = { ...entry, ...fields }
    const records = recordsOf(each)
    t.equal(records.length, count * RECORD_LENGTH)
    t.same(entriesOf(records), [each])
  })
}

test('what is no call stays one record', async (t) => {
  t.equal(recordCount({ ...entry, flags: 0x100, state: 0 }), 1)
})

test('calls one after the other are told apart', async (t) => {
  const other = { ...entry, engineData: bytesOf('call-18@example.net') }
  t.same(entriesOf(Buffer.concat([recordsOf(entry), recordsOf(other)])), [entry, other])
})

const damages: [what: string, damage: (records: Uint8Array) => Uint8Array][] = [
  ['whose template is not told', (records) => records.subarray(RECORD_LENGTH)],
  [
    'whose description lacks a piece',
    (records) => Buffer.concat([records.subarray(0, RECORD_LENGTH), records.subarray(2 * RECORD_LENGTH)]),
  ],
  ['whose description is another call’s', (records) => flip(records, RECORD_LENGTH + CALL.hash)],
  ['whose description is longer than any', (records) => flip(records, RECORD_LENGTH + CALL.length)],
]
for (const [what, damage] of damages) {
  test(`a call ${what} is not told of`, async (t) => {
    const records = recordsOf({ ...entry, engineData: bytesOf('z'.repeat(60)) })
    t.same(entriesOf(damage(records)), [])
  })
}

test('a template that follows an unfinished one is told of', async (t) => {
  const records = recordsOf(entry)
  t.same(entriesOf(Buffer.concat([records.subarray(0, RECORD_LENGTH), records])), [entry])
  t.equal(records[RECORD.protocol], 205)
})

function flip(records: Uint8Array, at: number): Uint8Array {
  const copy = records.slice()
  copy[at] ^= 0x7f
  return copy
}
