/** A connection as the record of protocol/wire/connection-record.ts, byte by byte; and which version is newer. */
import { test } from 'tap'
import { ConnectionMemory } from '../../../forwarder/table/connection-layout.ts'
import { ConnectionTable } from '../../../forwarder/table/connection-table.ts'
import { isOneWay, METHOD_DR, METHOD_LOCAL, METHOD_NAT, METHOD_TUN } from '../../../forwarder/table/real-server.ts'
import {
  encodeRecord,
  isMapped,
  isNewer,
  methodFlags,
  readMapped,
  recordVersion,
} from '../../../forwarder/table/record-codec.ts'
import { ServerDirectory } from '../../../forwarder/table/server-directory.ts'
import { parseIPv4 } from '../../../protocol/packet/bytes.ts'
import { RECORD, RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'
import { keyOf } from '../../support/connection-keys.ts'

function encoded(expires: number, tick: number): Uint8Array {
  const directory = new ServerDirectory(ServerDirectory.allocate(8))
  const [virtual, server] = [parseIPv4('202.103.106.5'), parseIPv4('172.16.0.3')]
  const identity = { protocol: 6, virtualAddress: virtual, virtualPort: 80, address: server, port: 8000 }
  const slot = directory.addServer(identity, 0)
  const table = new ConnectionTable(ConnectionMemory.allocate(8), directory, 1, 0)
  const key = keyOf(6, parseIPv4('202.100.1.2'), virtual, (3456 << 16) | 80)
  const index = table.insert(key, slot, 8000, methodFlags(METHOD_TUN, true))
  table.setState(index, 7)
  table.setExpires(index, expires)
  const target = new Uint8Array(RECORD_LENGTH + 2).fill(0xee)
  encodeRecord(table.memory, directory, index, tick, target, 1)
  return target
}

test('a connection is written as the diagram has it, and nothing beside it', async (t) => {
  const expected = [
    'ee',
    '01 06 07 01 0000 0000 0000c800', // upsert, TCP, CLOSE_WAIT, tunnel, no flags, no version, 400 ticks
    '0d80 0050 1f40 0000',
    '00000000000000000000ffff ca640102',
    '00000000000000000000ffff ca676a05',
    '00000000000000000000ffff ac100003',
    '00000000',
    'ee',
  ]
  t.equal(Buffer.from(encoded(500, 100)).toString('hex'), expected.join('').replaceAll(' ', ''))
})

test('a connection that should have ended has no time left, not less', async (t) => {
  const record = encoded(100, 500)
  t.equal(new DataView(record.buffer).getUint32(1 + RECORD.timeoutMs), 0)
})

test('only IPv4-mapped addresses are taken for IPv4', async (t) => {
  const record = encoded(0, 0)
  const at = 1 + RECORD.clientAddress
  t.ok(isMapped(record, at))
  t.equal(readMapped(record, at), parseIPv4('202.100.1.2'))
  for (let byte = 0; byte < 12; byte++) {
    record[at + byte] ^= 1
    t.notOk(isMapped(record, at), `byte ${byte}`)
    record[at + byte] ^= 1
  }
})

test('the version is read from where it stands', async (t) => {
  const record = new Uint8Array(RECORD_LENGTH)
  record[RECORD.version] = 0xab
  record[RECORD.version + 1] = 0xcd
  t.equal(recordVersion(record, 0), 0xabcd)
})

const versions: [newer: number, older: number][] = [
  [1, 0],
  [0x7fff, 0],
  [0, 0xffff],
  [5, 0xfff0],
  [0x8000, 1],
]
for (const [newer, older] of versions) {
  test(`version ${newer} is newer than ${older}, and not the other way round`, async (t) => {
    t.ok(isNewer(newer, older))
    t.notOk(isNewer(older, newer))
    t.notOk(isNewer(newer, newer))
  })
}

test('versions half a circle apart are both not newer', async (t) => {
  t.notOk(isNewer(0x8000, 0))
  t.notOk(isNewer(0, 0x8000))
})

test('of the methods NAT and the local one see the replies', async (t) => {
  const methods = [METHOD_NAT, METHOD_TUN, METHOD_DR, METHOD_LOCAL]
  const flags = methods.map((method) => methodFlags(method, isOneWay(method)))
  t.equal(new Set(flags).size, 4)
  t.same(
    flags.map((each) => (each & 8) !== 0),
    [false, true, true, false],
  )
})
