/** Records without a version, as a backup of the kernel's sync protocol makes them: taken as the kernel takes its own. */
import { test } from 'tap'
import { recordOfEntry } from '../../../node/director/sync-daemon/sync-entries.ts'
import { formatIPv4, parseIPv4, readUint16 } from '../../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'
import { SYNC_FLAG, type SyncEntry } from '../../../protocol/wire/ipvs-sync.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { sentHex } from '../../support/hex.ts'
import {
  CLIENT,
  clientTcp,
  INSIDE,
  OUTSIDE,
  scene,
  serverTcp,
  service,
  tcpToClient,
  tcpToServer,
} from '../../support/scene.ts'

const address = (text: string) => Uint8Array.from(text.split('.'), Number)
const INACTIVE = SYNC_FLAG.inactive

function tell(bench: DirectorBench, fields: Partial<SyncEntry> = {}): boolean {
  const record = new Uint8Array(RECORD_LENGTH)
  const entry: SyncEntry = {
    protocol: 6,
    flags: 0,
    state: 1,
    clientPort: 3456,
    virtualPort: 80,
    serverPort: 8000,
    firewallMark: 0,
    timeoutS: 900,
    clientAddress: address('203.0.113.7'),
    virtualAddress: address('198.51.100.10'),
    serverAddress: address('10.1.0.1'),
    ...fields,
  }
  const isTaken = recordOfEntry(entry, record, 0) && bench.engine.replication.apply(record, 0)
  // The way to the client may be asked for.
  bench.breathe()
  return isTaken
}

const TEMPLATE = SYNC_FLAG.template | INACTIVE
const persistence = { timeoutS: 300, netmask: '255.255.255.255' }

const table = (bench: DirectorBench) =>
  [...bench.reader.connections()].map(({ state, serverAddress }) => `${state} ${serverAddress}`)
const standby = (options = {}) => scene({ state: 'standby', weights: [1, 1], ...options })

test('a connection that a kernel tells of is carried on by its next packets, both ways', async (t) => {
  const bench = standby()
  t.ok(tell(bench))
  t.same(
    sentHex(bench.send(OUTSIDE, clientTcp({ flags: TCP_ACK }))),
    sentHex([{ link: INSIDE, vnetHeader: new Uint8Array(), frame: tcpToServer({ flags: TCP_ACK }) }]),
  )
  t.same(
    sentHex(bench.send(INSIDE, serverTcp({ flags: TCP_ACK }))),
    sentHex([{ link: OUTSIDE, vnetHeader: new Uint8Array(), frame: tcpToClient({ flags: TCP_ACK }) }]),
  )
})

test('several states of one connection in one moment are taken in their order', async (t) => {
  const bench = standby()
  tell(bench)
  tell(bench, { state: 7, flags: INACTIVE, timeoutS: 60 })
  t.same(table(bench), ['CLOSE_WAIT 10.1.0.1'])
  tell(bench, { state: 5, flags: INACTIVE, timeoutS: 120 })
  t.same(table(bench), ['TIME_WAIT 10.1.0.1'])
})

test('the latest word of a kernel counts over what was known here', async (t) => {
  const bench = scene({ weights: [1, 1] })
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  bench.send(OUTSIDE, clientTcp({ flags: TCP_ACK }))
  bench.send(OUTSIDE, clientTcp({ flags: TCP_FIN | TCP_ACK }))
  const [known] = table(bench)
  t.match(known, /^CLOSE_WAIT/)
  const serverAddress = address(known.split(' ')[1])
  t.ok(tell(bench, { serverAddress, state: 5, flags: INACTIVE }))
  t.same(table(bench), [known.replace('CLOSE_WAIT', 'TIME_WAIT')])
})

test('a connection that moved to another server is replaced, and the end of the old one is then ignored', async (t) => {
  const bench = standby()
  tell(bench)
  tell(bench, { serverAddress: address('10.1.0.2') })
  t.same(table(bench), ['ESTABLISHED 10.1.0.2'])
  t.notOk(tell(bench, { state: 5, flags: INACTIVE }))
  t.same(table(bench), ['ESTABLISHED 10.1.0.2'])
})

test('it lives as long as the kernel says; without a word of that, as long as its state does here', async (t) => {
  const left = (fields: Partial<SyncEntry>) => {
    const bench = standby()
    tell(bench, fields)
    const { states } = bench.table.memory
    // Index 1, word 2: the expiry tick.
    return Math.floor(((states[7 + 2] - bench.table.memory.tick) * 128) / 1000)
  }
  t.equal(left({ timeoutS: 77 }), 77)
  t.equal(left({ timeoutS: 0 }), 900)
  t.equal(left({ timeoutS: 0, state: 7, flags: INACTIVE }), 60)
})

test('the method is that of the server here; that of the entry when the server is not known here', async (t) => {
  const method = (serverAddress: string) => {
    const bench = standby({ method: 'dr' })
    tell(bench, { serverAddress: address(serverAddress), serverPort: 80, flags: 0 })
    // Index 1, word 5: the flags, with the method in bits 4 and 5.
    return ((bench.table.memory.states[7 + 5] >>> 16) & 0x30) >> 4
  }
  t.equal(method('10.1.0.1'), 2)
  t.equal(method('10.1.0.9'), 0)
})

test('the next change here is newer than what the kernel said, for the peers too', async (t) => {
  const bench = standby()
  tell(bench)
  const version = () => bench.table.memory.states[7 + 6] >>> 16
  const before = version()
  t.not(before, 0)
  bench.send(OUTSIDE, clientTcp({ flags: TCP_FIN | TCP_ACK }))
  t.ok(((version() - before) & 0xffff) > 0 && ((version() - before) & 0xffff) < 0x8000)
  t.same(parseIPv4(CLIENT.split(':')[0]), bench.table.memory.keys[8 + 2])
})

test('a template that a kernel tells of leads the client to its server', async (t) => {
  for (const server of ['10.1.0.1', '10.1.0.2']) {
    const bench = scene({ services: [{ ...service({ weights: [1, 1] }), persistence }] })
    t.ok(tell(bench, { flags: TEMPLATE, state: 1, clientPort: 0, serverAddress: address(server), timeoutS: 300 }))
    t.same(table(bench), [`ASSURED ${server}`])
    bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
    t.ok(table(bench).includes(`SYN_RECV ${server}`))
  }
})

test('the server of a connection is found where it has no port of its own', async (t) => {
  const everyPort = service({ weights: [1, 1] })
  const servers = everyPort.servers.map((server) => ({ ...server, port: 0 }))
  const bench = standby({ services: [{ ...everyPort, port: 0, persistence, servers }] })
  t.ok(tell(bench, { virtualPort: 8080, serverPort: 8080 }))
  t.same(table(bench), ['ESTABLISHED 10.1.0.1'])
  const known = bench.engine.services.find(6, parseIPv4('198.51.100.10'), 0)?.servers
  t.same(
    known?.map(({ address, activeConnections }) => [formatIPv4(address), activeConnections]),
    [
      ['10.1.0.2', 0],
      ['10.1.0.1', 1],
    ],
  )
})

test('a template of a mark is the mark’s', async (t) => {
  const marked = { ...service({ weights: [1, 1] }), protocol: 'fwm' as const, mark: 7, address: '0.0.0.0', port: 0 }
  const virtualAddress = Uint8Array.of(0, 0, 0, 7)
  const told = {
    protocol: 0,
    flags: TEMPLATE,
    state: 1,
    clientPort: 0,
    virtualPort: 0,
    firewallMark: 7,
    virtualAddress,
  }
  // A kernel says none.
  for (const serverPort of [8000, 0]) {
    const bench = standby({ services: [{ ...marked, persistence }] })
    t.ok(tell(bench, { ...told, serverPort }))
    t.same(table(bench), ['ASSURED 10.1.0.1'])
    const [, first] = bench.engine.services.findMark(7, false)?.servers ?? []
    t.equal(first?.persistentConnections, 1)
    const record = new Uint8Array(RECORD_LENGTH)
    t.equal(bench.reader.encodeRange(1, 1, record, 0), 1)
    t.equal(readUint16(record, RECORD.serverPort), 8000, 'what a peer finds the server by')
  }
})
