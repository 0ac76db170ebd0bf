/** Connections that are in their handshake when their address moves in order: the peers are told of them. */
import { test } from 'tap'
import { recordVersion } from '../../../forwarder/table/record-codec.ts'
import { readInt32, readUint16, writeUint16 } from '../../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_LENGTH, RECORD_REMOVE } from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, told } from '../../support/director-bench.ts'
import { clientTcp, INSIDE, OUTSIDE, type SceneOptions, scene, serverTcp } from '../../support/scene.ts'

const client = (port: number) => ({ from: `203.0.113.7:${port}` })
const syn = (port: number) => clientTcp({ ...client(port), flags: TCP_SYN })
const ack = (port: number) => clientTcp(client(port))
const standby = (options: SceneOptions = {}) => scene({ state: 'standby', ...options })
const state = (bench: DirectorBench) => [...bench.reader.connections()].map((connection) => connection.state)

/** How many connections a comparison of tables finds in this one. */
function compared({ reader }: DirectorBench): number {
  return reader.encodeRange(0, reader.capacity, new Uint8Array(reader.capacity * RECORD_LENGTH), 0)
}

function tell(bench: DirectorBench, record: Uint8Array): void {
  bench.engine.replication.apply(record, 0)
  // The way to the client may be asked for.
  bench.breathe()
}

const move = (bench: DirectorBench, state: 'active' | 'lingering' | 'standby') =>
  bench.engine.placeAddresses([{ address: '198.51.100.10', link: OUTSIDE, state }], [OUTSIDE, INSIDE])

test('handshakes are told of when their address moves to a peer, and those that begin after that', async (t) => {
  for (const method of ['nat', 'tun', 'dr'] as const) {
    const [before, after] = [scene({ method }), standby({ method })]
    before.send(OUTSIDE, syn(1))
    t.same(told(before), [])
    move(before, 'lingering')
    before.send(OUTSIDE, syn(2))
    before.send(OUTSIDE, syn(2))
    const records = told(before)
    t.equal(records.length, 2)
    for (const record of records) tell(after, record)
    t.same(state(after), ['SYN_RECV', 'SYN_RECV'])
    t.same([compared(before), compared(after)], [2, 2], `${method}: who has told of one has it as those who were told`)
    move(after, 'active')
    for (const port of [1, 2])
      t.equal(after.send(OUTSIDE, ack(port))[0]?.link, INSIDE, `${method}: the ACK finds its server`)
    t.same(state(after), ['ESTABLISHED', 'ESTABLISHED'])
  }
})

test('a handshake is told of once however often addresses move, and none when they come back or are given up at once', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, syn(1))
  move(bench, 'lingering')
  t.equal(told(bench).length, 1)
  bench.send(OUTSIDE, syn(2))
  for (const to of ['active', 'lingering', 'lingering', 'standby'] as const) move(bench, to)
  t.equal(told(bench).length, 1)
  const other = scene()
  other.send(OUTSIDE, syn(1))
  move(other, 'standby')
  t.same(told(other), [])
})

test('a flood of handshakes becomes no flood of records when the address moves: the newest are told of', async (t) => {
  const bench = scene({ connections: 16_384, ringSlots: 16_384 })
  const from = (number: number) => ({ from: `203.0.113.${number >> 12}:${1 + (number & 4095)}`, flags: TCP_SYN })
  for (let number = 0; number < 5000; number++) bench.send(OUTSIDE, clientTcp(from(number)))
  move(bench, 'lingering')
  const first = told(bench)
  t.equal(first.length, 4096)
  const ports = new Set(
    first.map(
      (record) => readInt32(record, RECORD.clientAddress + 12) * 65_536 + readUint16(record, RECORD.clientPort),
    ),
  )
  t.equal(ports.size, 4096)
  t.equal(readUint16(first[0], RECORD.clientPort), 1 + (4999 & 4095))
  for (let number = 5000; number < 10_000; number++) bench.send(OUTSIDE, clientTcp(from(number)))
  t.equal(told(bench).length, 4096)
})

test('a director that stood still in a handshake does not undo what has become of it', async (t) => {
  const [frozen, other, late] = [scene(), scene(), standby()]
  frozen.send(OUTSIDE, syn(1))
  for (const frame of [syn(1), ack(1)]) other.send(OUTSIDE, frame)
  const [established] = told(other)
  frozen.nowMs += 5000
  frozen.breathe()
  move(frozen, 'lingering')
  const [handshake] = told(frozen)
  t.equal(recordVersion(handshake, 0), recordVersion(established, 0), 'told of as of its last packet')
  for (const record of [handshake, established]) tell(late, record)
  tell(other, handshake)
  tell(frozen, established)
  for (const bench of [frozen, other, late]) t.same(state(bench), ['ESTABLISHED'])
  const reset = clientTcp({ ...client(1), flags: TCP_RST })
  other.send(OUTSIDE, reset)
  const [ended] = told(other)
  tell(late, ended)
  tell(late, handshake)
  t.same(state(late), ['CLOSE'], 'the end is later than the handshake')
  const next = scene()
  next.nowMs += 10_000
  next.send(OUTSIDE, syn(1))
  move(next, 'lingering')
  const [later] = told(next)
  tell(late, later)
  t.same(state(late), ['SYN_RECV'], 'a later handshake between the ports of what is over counts')
})

test('a handshake counts over what the peers are late in telling of the connection before it', async (t) => {
  const [before, after] = [scene({ weights: [1, 1] }), scene({ weights: [1, 1] })]
  for (const frame of [syn(1), ack(1)]) before.send(OUTSIDE, frame)
  const [established] = told(before)
  tell(after, established)
  before.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_RST }))
  after.nowMs += 5000
  for (const flags of [TCP_RST, TCP_SYN]) after.send(OUTSIDE, clientTcp({ ...client(1), flags }))
  for (const record of [established, ...told(before)]) tell(after, record)
  t.same(state(after), ['SYN_RECV'])
})

/*
 * Before a takeover a client's SYN comes to a server that still has an old handshake of the same ports, is answered by that, reset by the client, and
 * sent again at once (RFC 9293 section 3.10.7.3), to the successor. Its server is the one of the smaller address, so that no tie is for it.
 */
test('what the director before tells at its last moment does not count over a handshake that has begun here since', async (t) => {
  const before = scene({ weights: [0, 1] })
  before.send(OUTSIDE, syn(1))
  before.send(INSIDE, serverTcp({ from: '10.1.0.2:8000', to: '203.0.113.7:1', flags: TCP_ACK }))
  t.same(servers(before), ['SYN_RECV 10.1.0.2'], 'to ask is not to accept')
  t.same(told(before), [])
  move(before, 'lingering')
  before.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_RST }))
  // As it were, had another heard of it and its server refused: an end that is no older than the handshake after it.
  before.send(INSIDE, serverTcp({ from: '10.1.0.2:8000', to: '203.0.113.7:1', flags: TCP_RST }))
  const last = told(before)
  t.equal(last.length, 2, 'its handshake, and its end')
  for (const records of [last, last.toReversed(), last.slice(1), last.slice(0, 1)]) {
    const [after, third] = [scene({ weights: [1, 0] }), standby({ weights: [1, 1] })]
    after.send(OUTSIDE, syn(1))
    for (const record of records) tell(after, record)
    t.same(servers(after), ['SYN_RECV 10.1.0.1'])
    t.equal(after.send(OUTSIDE, ack(1))[0]?.link, INSIDE)
    for (const record of records) tell(after, record)
    t.same(servers(after), ['ESTABLISHED 10.1.0.1'])
    for (const record of [...last, ...told(after), ...records]) tell(third, record)
    t.same(servers(third), ['ESTABLISHED 10.1.0.1'], 'so it is everywhere')
  }
})

test('an end that has just been told of the connection before a handshake does not end that, and it is newer from then on', async (t) => {
  const [before, after, third] = [scene({ weights: [0, 1] }), scene({ weights: [1, 0] }), standby({ weights: [1, 1] })]
  for (const flags of [TCP_SYN, TCP_ACK]) before.send(OUTSIDE, clientTcp({ ...client(1), flags }))
  const [established] = told(before)
  for (const bench of [after, third]) tell(bench, established)
  // Its clock is half a second ahead.
  const end = established.slice()
  end[RECORD.kind] = RECORD_REMOVE
  writeUint16(end, RECORD.version, recordVersion(established, 0) + 4)
  after.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_RST }))
  const [reset] = told(after)
  after.send(OUTSIDE, syn(1))
  t.same(servers(after), ['SYN_RECV 10.1.0.1'])
  tell(after, end)
  t.same(servers(after), ['SYN_RECV 10.1.0.1'])
  after.send(OUTSIDE, ack(1))
  for (const record of [reset, end, ...told(after), end]) tell(third, record)
  for (const bench of [after, third]) t.same(servers(bench), ['ESTABLISHED 10.1.0.1'])
})

test('the end of a connection that a director tells of late leaves the next one between the same ports with its server', async (t) => {
  const [late, active, third] = [scene({ weights: [1, 0] }), scene({ weights: [0, 1] }), standby({ weights: [1, 1] })]
  for (const flags of [TCP_SYN, TCP_ACK]) late.send(OUTSIDE, clientTcp({ ...client(1), flags }))
  told(late)
  for (const flags of [TCP_SYN, TCP_ACK]) active.send(OUTSIDE, clientTcp({ ...client(1), flags }))
  const established = told(active)
  late.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_FIN | TCP_ACK }))
  t.same(servers(late), ['CLOSE_WAIT 10.1.0.1'])
  const [ending] = told(late)
  // Its clock is ahead.
  writeUint16(ending, RECORD.version, recordVersion(established.at(-1)!, 0) + 1)
  for (const record of [...established, ending]) tell(third, record)
  for (const bench of [late, active]) tell(bench, ending)
  for (const record of established) tell(late, record)
  for (const bench of [late, active, third]) t.same(servers(bench), ['ESTABLISHED 10.1.0.2'])
})

test('a SYN that its client has sent again to another director, after a second, counts over the first', async (t) => {
  const [first, second] = [scene({ weights: [0, 1] }), scene({ weights: [1, 0] })]
  first.send(OUTSIDE, syn(1))
  second.nowMs += 1000
  second.send(OUTSIDE, syn(1))
  move(second, 'lingering')
  for (const record of told(second)) tell(first, record)
  t.same(servers(first), ['SYN_RECV 10.1.0.1'])
})

test('the end of an established connection counts however soon it comes', async (t) => {
  const [before, after] = [scene(), standby()]
  for (const flags of [TCP_SYN, TCP_ACK, TCP_RST]) before.send(OUTSIDE, clientTcp({ ...client(1), flags }))
  for (const record of told(before)) tell(after, record)
  t.same(servers(after), ['CLOSE 10.1.0.1'])
})

function servers({ reader }: DirectorBench): string[] {
  return [...reader.connections()].map(({ state, serverAddress }) => `${state} ${serverAddress}`)
}
