/** The kernel's sync protocol: bytes that a kernel sent, every option, and what is refused. */
import { test } from 'tap'
import {
  parseSyncDatagram,
  SYNC_FLAG,
  SyncDatagramWriter,
  type SyncEntry,
  type SyncMessage,
} from '../../../protocol/wire/ipvs-sync.ts'

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'))
const text = (datagram: Uint8Array) => Buffer.from(datagram).toString('hex')
const ipv4 = (address: string) => Uint8Array.from(address.split('.'), Number)

/** From the wire of Linux 6.1, sync id 5: one GET, from 10.0.0.2 by way of 10.0.0.100 to 192.168.1.11. */
const ESTABLISHED = '00 06 0024 00000000 0001 870a 0050 0050 00000000 00000384 0a000002 0a000064 c0a8010b'
const CLOSE_WAIT = '00 06 0024 00000100 0007 870a 0050 0050 00000000 0000003c 0a000002 0a000064 c0a8010b'
const TIME_WAIT = '00 06 0024 00000100 0005 870a 0050 0050 00000000 00000078 0a000002 0a000064 c0a8010b'
const KERNEL_DATAGRAM = bytes(
  `0005 00bc 0501 0000 ${ESTABLISHED} ${CLOSE_WAIT} ${TIME_WAIT} ${ESTABLISHED} ${CLOSE_WAIT}`,
)

const established: SyncEntry = {
  protocol: 6,
  flags: 0,
  state: 1,
  clientPort: 34570,
  virtualPort: 80,
  serverPort: 80,
  firewallMark: 0,
  timeoutS: 900,
  clientAddress: ipv4('10.0.0.2'),
  virtualAddress: ipv4('10.0.0.100'),
  serverAddress: ipv4('192.168.1.11'),
}
const closeWait = { ...established, state: 7, flags: SYNC_FLAG.inactive, timeoutS: 60 }
const timeWait = { ...established, state: 5, flags: SYNC_FLAG.inactive, timeoutS: 120 }

const sequence = {
  inwards: { initial: 0x01020304, delta: 5, previousDelta: 4 },
  outwards: { initial: 0xfffefdfc, delta: 0xffffffff, previousDelta: 0 },
}
const SEQUENCE_OPTION = '01 18 01020304 00000005 00000004 fffefdfc ffffffff 00000000'
const ipv6Entry: SyncEntry = {
  ...established,
  flags: SYNC_FLAG.template,
  clientAddress: Uint8Array.from({ length: 16 }, (_, i) => i),
  virtualAddress: Uint8Array.from({ length: 16 }, (_, i) => 16 + i),
  serverAddress: Uint8Array.from({ length: 16 }, (_, i) => 32 + i),
}

function written(entries: readonly SyncEntry[], syncId = 5, maxLength = 1472): Uint8Array {
  const writer = new SyncDatagramWriter(syncId, maxLength)
  for (const entry of entries) if (!writer.add(entry)) throw new Error('does not fit')
  return writer.finish()
}

/** A datagram with these entries, given as text, and their number. */
function datagram(count: number, ...entries: string[]): Uint8Array {
  const body = bytes(entries.join(''))
  const header = bytes('0005 0000 0001 0000')
  header[4] = count
  header[2] = (body.length + 8) >> 8
  header[3] = (body.length + 8) & 255
  return Buffer.concat([header, body])
}

const message = (parts: Partial<SyncMessage>) => ({
  version: 1,
  syncId: 5,
  entries: [],
  skipped: 0,
  fault: undefined,
  ...parts,
})

test('what a kernel sent is understood, and written the same again', async (t) => {
  const entries = [established, closeWait, timeWait, established, closeWait]
  t.same(parseSyncDatagram(KERNEL_DATAGRAM), message({ entries }))
  t.equal(text(written(entries)), text(KERNEL_DATAGRAM))
})

test('IPv6 entries are 72 bytes long', async (t) => {
  const wire = written([ipv6Entry, established])
  t.equal(wire.length, 8 + 72 + 36)
  t.equal(text(wire.subarray(8, 12)), '01060048')
  t.same(parseSyncDatagram(wire)?.entries, [ipv6Entry, established])
})

test('options follow the entry, and the next one begins at a multiple of four bytes', async (t) => {
  const withOptions = { ...established, sequence, engineData: bytes('616263'), engineName: 'sip' }
  const wire = written([withOptions, timeWait])
  const entry = ESTABLISHED.replace('0024', (36 + 26 + 5 + 5).toString(16).padStart(4, '0'))
  t.equal(text(wire.subarray(8)), text(bytes(`${entry} ${SEQUENCE_OPTION} 0203616263 0303736970 ${TIME_WAIT}`)))
  t.same(parseSyncDatagram(wire)?.entries, [withOptions, timeWait])
  const odd = { ...established, engineData: bytes('61') }
  t.equal(written([odd, timeWait]).length, 8 + 40 + 36, 'one byte of padding')
  t.equal(written([timeWait, odd]).length, 8 + 36 + 39, 'none at the end')
  t.same(parseSyncDatagram(written([odd, timeWait, odd]))?.entries, [odd, timeWait, odd])
})

test('flags that a kernel keeps to itself are taken off', async (t) => {
  const wire = datagram(1, ESTABLISHED.replace('00000000', 'ffffffff'))
  t.equal(parseSyncDatagram(wire)?.entries[0].flags, 0x1f87)
})

test('a datagram takes entries up to its longest length, and 255 of them at most', async (t) => {
  const fill = (maxLength: number) => {
    const writer = new SyncDatagramWriter(0, maxLength)
    let count = 0
    while (writer.add(established)) count++
    return [count, writer.finish().length]
  }
  t.same(fill(1472), [40, 8 + 40 * 36])
  t.same(fill(65_507), [255, 8 + 255 * 36])
  t.same(fill(10), [1, 44], 'one that is longer by itself goes alone')
})

test('a writer begins anew after each datagram', async (t) => {
  const writer = new SyncDatagramWriter(5, 1472)
  writer.add(established)
  writer.finish()
  writer.add(timeWait)
  t.equal(text(writer.finish()), text(written([timeWait])))
})

test('an option that must be understood and is not makes its entry be passed over; one that may be skipped does not', async (t) => {
  const unknown = `${ESTABLISHED.replace('0024', '0028')} 04 02 abcd`
  t.same(parseSyncDatagram(datagram(2, unknown, TIME_WAIT)), message({ entries: [timeWait], skipped: 1 }))
  const harmless = `${ESTABLISHED.replace('0024', '0028')} 44 02 abcd`
  t.same(parseSyncDatagram(datagram(2, harmless, TIME_WAIT)), message({ entries: [established, timeWait] }))
})

const faults: [what: string, second: string, fault: SyncMessage['fault']][] = [
  ['an entry that ends behind the datagram', TIME_WAIT.replace('0024', '0025'), 'truncated'],
  ['half an entry', TIME_WAIT.slice(0, -12), 'truncated'],
  ['an entry of no length', TIME_WAIT.replace('0024', '0000'), 'truncated'],
  ['an IPv6 entry in the place of an IPv4 one', TIME_WAIT.replace('00 06', '01 06'), 'truncated'],
  ['an entry of a type that there is not', TIME_WAIT.replace('00 06', '02 06'), 'unknown-entry-type'],
  ['an entry of another version', TIME_WAIT.replace('0024', '1024'), 'unknown-entry-version'],
  ['an option of no length', `${TIME_WAIT.replace('0024', '0028')} 44 00 0000`, 'bad-option'],
  ['an option that ends behind its entry', `${TIME_WAIT.replace('0024', '0028')} 44 03 0000`, 'bad-option'],
  ['half an option header', `${TIME_WAIT.replace('0024', '0025')} 44 000000`, 'bad-option'],
  ['sequence data of another length', `${TIME_WAIT.replace('0024', '0028')} 01 02 0000`, 'bad-option'],
  ['sequence data twice', `${TIME_WAIT.replace('0024', '0058')} ${SEQUENCE_OPTION} ${SEQUENCE_OPTION}`, 'bad-option'],
  ['engine data twice', `${TIME_WAIT.replace('0024', '002a')} 020161 020161 0000`, 'bad-option'],
  ['an engine name twice', `${TIME_WAIT.replace('0024', '002a')} 030161 030161 0000`, 'bad-option'],
  ['an engine name of 17 bytes', `${TIME_WAIT.replace('0024', '0037')} 0311 ${'61'.repeat(17)} 00`, 'bad-option'],
]
for (const [what, second, fault] of faults) {
  test(`${what} ends the datagram; what stood before it counts`, async (t) => {
    t.same(parseSyncDatagram(datagram(3, ESTABLISHED, second)), {
      ...message({ entries: [established], fault: fault as SyncMessage['fault'] }),
    })
  })
}

test('a datagram with fewer entries than it says gives those that there are', async (t) => {
  t.same(parseSyncDatagram(datagram(9, ESTABLISHED)), message({ entries: [established], fault: 'truncated' }))
})

test('a datagram that says another length than it has is none', async (t) => {
  for (const wrong of ['', '00', '000500', '0005 0009 0001 0000', '0005 0007 0001 0000']) {
    t.equal(parseSyncDatagram(bytes(wrong)), undefined, wrong)
  }
  t.equal(parseSyncDatagram(Buffer.concat([KERNEL_DATAGRAM, bytes('00')])), undefined)
})

test('a datagram of version 0 is read, its sequence data in little endian', async (t) => {
  const plain = '00 06 870a 0050 1f90 0a000002 0a000064 c0a8010b 0100 0007'
  const shifted = '00 06 870a 0050 1f90 0a000002 0a000064 c0a8010b 0620 0001'
  const shifts = '04030201 05000000 04000000 fcfdfeff ffffffff 00000000'
  const v0 = { ...established, serverPort: 8080, timeoutS: 0 }
  const entries = [
    { ...v0, state: 7, flags: SYNC_FLAG.inactive },
    { ...v0, flags: SYNC_FLAG.sequenceMask, sequence },
  ]
  t.same(parseSyncDatagram(bytes(`02 09 004c ${plain} ${shifted} ${shifts}`)), {
    version: 0,
    syncId: 9,
    entries,
    skipped: 0,
    fault: undefined,
  })
  t.same(parseSyncDatagram(bytes(`02 09 0034 ${plain} ${shifted}`))?.fault, 'truncated')
  t.same(parseSyncDatagram(bytes('00 09 0004'))?.entries, [])
})
