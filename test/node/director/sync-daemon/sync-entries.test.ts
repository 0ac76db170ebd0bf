/** Connection records to entries of the kernel's sync protocol, and back. */
import { test } from 'tap'
import { METHOD_DR, METHOD_LOCAL, METHOD_NAT, METHOD_TUN } from '../../../../forwarder/table/real-server.ts'
import { entryOfRecord, recordOfEntry } from '../../../../node/director/sync-daemon/sync-entries.ts'
import { RECORD, RECORD_LENGTH, RECORD_REMOVE } from '../../../../protocol/wire/connection-record.ts'
import type { SyncEntry } from '../../../../protocol/wire/ipvs-sync.ts'

const TCP = 6
const UDP = 17
const SCTP = 132

const entry: SyncEntry = {
  protocol: TCP,
  flags: 0,
  state: 1,
  clientPort: 34570,
  virtualPort: 80,
  serverPort: 8080,
  firewallMark: 0xfedcba98,
  timeoutS: 900,
  clientAddress: Uint8Array.of(10, 0, 0, 2),
  virtualAddress: Uint8Array.of(10, 0, 0, 100),
  serverAddress: Uint8Array.of(192, 168, 1, 11),
}
const long = (last: number) => Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? last : 0x20 + i))

const ipv6 = { clientAddress: long(1), virtualAddress: long(2), serverAddress: long(3) }
/** The mark of `entry` as the kernel has it among addresses of IPv6. */
const markWord = Uint8Array.from({ length: 16 }, (_, i) => [0xfe, 0xdc, 0xba, 0x98][i] ?? 0)
const call = { protocol: UDP, flags: 0x1100, state: 1, engineName: 'sip', engineData: Uint8Array.of(65, 66) }
const shifted = (delta: number) => {
  const shift = { initial: 7, delta, previousDelta: 0 }
  return { inwards: shift, outwards: shift }
}

/** The record of an entry with the given fields changed. */
function record(fields: Partial<SyncEntry> = {}, patch: Partial<Record<keyof typeof RECORD, number>> = {}): Uint8Array {
  const bytes = new Uint8Array(RECORD_LENGTH + 3)
  if (!recordOfEntry({ ...entry, ...fields }, bytes, 3)) throw new Error('no record')
  for (const [name, value] of Object.entries(patch)) bytes[3 + RECORD[name as keyof typeof RECORD]] = value
  return bytes
}

const there = (fields: Partial<SyncEntry>, patch = {}) => entryOfRecord(record(fields, patch), 3)
const isTaken = (fields: Partial<SyncEntry>) => recordOfEntry({ ...entry, ...fields }, new Uint8Array(RECORD_LENGTH), 0)

test('an entry becomes a record and comes back', async (t) => {
  t.same(there({}), entry)
  t.same(there(ipv6), { ...entry, ...ipv6 })
})

test('a record of an entry has no version', async (t) => {
  const bytes = record()
  t.equal(bytes[3 + RECORD.version], 0)
  t.equal(bytes[3 + RECORD.version + 1], 0)
})

test('the kernel is told of the states that it tells of itself, and which of them are inactive', async (t) => {
  const told = Array.from({ length: 11 }, (_, state) => {
    const flags = there({ state })?.flags
    return flags === undefined ? '-' : flags === 0x100 ? 'inactive' : 'active'
  })
  t.same(told, ['-', 'active', '-', '-', 'inactive', 'inactive', 'inactive', 'inactive', '-', '-', '-'])
  t.equal(there({ protocol: UDP, state: 0 })?.flags, 0x100, 'UDP never counts as active')
  const sctp = Array.from({ length: 14 }, (_, state) => there({ protocol: SCTP, state })?.flags)
  t.same(
    Object.entries(sctp).filter(([, flags]) => flags !== undefined),
    [
      ['8', 0],
      ['9', 0x100],
      ['10', 0x100],
      ['11', 0x100],
      ['13', 0x100],
    ],
  )
})

test('the kernel is not told that a connection was given up', async (t) => {
  t.equal(there({}, { kind: RECORD_REMOVE }), undefined)
})

test('the kernel is not told of a connection whose server is of the other family', async (t) => {
  t.equal(there({}, { serverAddress: 0x20 }), undefined)
  t.equal(there(ipv6, { clientAddress: 0x20 })?.protocol, TCP)
})

test('methods have the kernel’s numbers, and those whose replies pass by are marked', async (t) => {
  const flags = [METHOD_NAT, METHOD_TUN, METHOD_DR, METHOD_LOCAL].map((method) => there({}, { method })?.flags)
  t.same(flags, [0, 0x82, 0x83, 0x81])
  const methods = [0, 1, 2, 3].map((method) => record({ flags: method })[3 + RECORD.method])
  t.same(methods, [METHOD_NAT, METHOD_NAT, METHOD_TUN, METHOD_DR])
})

test('a timeout is cut to what a record can say', async (t) => {
  const timeout = new DataView(record({ timeoutS: 0xffffffff }).buffer).getUint32(3 + RECORD.timeoutMs)
  t.equal(timeout, 31 * 86_400_000)
})

test('a connection whose sequence numbers are told, and not shifted, gets a record', async (t) => {
  t.ok(isTaken({ sequence: shifted(0) }))
})

const templates: [what: string, fields: Partial<SyncEntry>, protocol: number][] = [
  ['of TCP', { protocol: TCP, virtualPort: 80 }, 200],
  ['of UDP for every port', { protocol: UDP, virtualPort: 0, serverPort: 0 }, 201],
  ['of SCTP', { protocol: SCTP }, 202],
  [
    'of a firewall mark',
    { protocol: 0, virtualPort: 0, serverPort: 0, virtualAddress: Uint8Array.of(0xfe, 0xdc, 0xba, 0x98) },
    203,
  ],
  ['of IPv6', { protocol: TCP, ...ipv6 }, 200],
  [
    'of a firewall mark and IPv6',
    { protocol: 0, virtualPort: 0, serverPort: 0, ...ipv6, virtualAddress: markWord },
    204,
  ],
]
for (const [what, fields, protocol] of templates) {
  test(`a template ${what} becomes a record and comes back`, async (t) => {
    const told = { clientPort: 0, flags: 0x1183, ...fields }
    t.equal(record(told)[3 + RECORD.protocol], protocol)
    t.same(there(told), { ...entry, ...told })
  })
}

test('a template for several ports says none of its server, as the kernel’s do', async (t) => {
  for (const protocol of [TCP, 0])
    t.equal(there({ flags: 0x1183, clientPort: 0, virtualPort: 0, protocol })?.serverPort, 0)
  t.equal(there({ flags: 0x1183, clientPort: 0, virtualPort: 80, protocol: TCP })?.serverPort, entry.serverPort)
})

test('a template that does not say how long it lives has the kernel’s three minutes', async (t) => {
  t.equal(there({ flags: 0x1100, clientPort: 0, timeoutS: 0 })?.timeoutS, 180)
})

const refused: [what: string, fields: Partial<SyncEntry>][] = [
  ['a connection whose client port is not known', { flags: 0x0800 }],
  ['a connection whose sequence numbers are shifted', { sequence: shifted(3) }],
  ['a template in a state that there is not', { flags: 0x1000, state: 2 }],
  ['a template of no protocol and no mark', { flags: 0x1000, protocol: 0, state: 1, firewallMark: 0 }],
  ['a template of a persistence engine that there is not', { ...call, engineName: 'rtsp' }],
  ['a call that is not of UDP', { ...call, protocol: TCP }],
  ['a method that there is not', { flags: 4 }],
  ['a protocol that the pool does not forward', { protocol: 47, state: 0 }],
  ['a TCP state that there is not', { state: 11 }],
  ['a UDP state that there is not', { protocol: UDP, state: 1 }],
  ['an SCTP state that there is not', { protocol: SCTP, state: 14 }],
]
for (const [what, fields] of refused) test(`${what} gets no record`, async (t) => t.notOk(isTaken(fields)))
