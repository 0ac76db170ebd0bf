/**
 * Connections in their handshake when their address moves: in order, so that the peers can be told of them, and after a crash, when
 * a hash may still lead them to their server.
 */
import { test } from 'tap'
import { readInt32, readUint16 } from '../../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { clientTcp, INSIDE, MAC, OUTSIDE, type SceneOptions, SERVER2_ADDRESS, scene } from '../../support/scene.ts'

const client = (port: number) => ({ from: `203.0.113.7:${port}` })
const syn = (port: number) => clientTcp({ ...client(port), flags: TCP_SYN })
const ack = (port: number) => clientTcp(client(port))
const standby = (options: SceneOptions = {}) => scene({ state: 'standby', ...options })
const state = (bench: DirectorBench) => [...bench.reader.connections()].map((connection) => connection.state)

/** Takes what a director has to tell. */
function told(bench: DirectorBench): Uint8Array[] {
  const records: Uint8Array[] = []
  for (let at = bench.outgoing.peek(); at >= 0; at = bench.outgoing.peek()) {
    records.push(bench.outgoing.bytes.slice(at, at + RECORD_LENGTH))
    bench.outgoing.advance()
  }
  return records
}

function tell(bench: DirectorBench, record: Uint8Array): void {
  bench.engine.replication.apply(record, 0)
  // The way to the client may be asked for.
  bench.breathe()
}

/** Which server a frame went to, by the last byte of its MAC; undefined when it went nowhere. */
function serverOf(bench: DirectorBench, frame: Uint8Array): number | undefined {
  const [sent] = bench.send(OUTSIDE, frame)
  return sent?.link === INSIDE ? sent.frame[5] : undefined
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

/** A standby with three servers that takes the address over. */
function successor(scheduler: string, connections = 8192): DirectorBench {
  const neighbours = { '10.1.0.1': MAC.server1, [SERVER2_ADDRESS]: MAC.server2 }
  const bench = scene({ scheduler, method: 'dr', weights: [1, 1], state: 'standby', connections, neighbours })
  bench.engine.placeAddresses([{ address: '198.51.100.10', link: OUTSIDE, state: 'active' }], [OUTSIDE, INSIDE])
  return bench
}

test('after a takeover a hash leads a connection that nobody was told of to where it was', async (t) => {
  for (const scheduler of ['sh', 'mh', 'dh']) {
    const before = scene({ scheduler, method: 'dr', weights: [1, 1] })
    const after = successor(scheduler)
    for (let host = 1; host < 30; host++) {
      const from = `203.0.113.${host}:5000`
      t.equal(
        serverOf(after, clientTcp({ from, flags: TCP_ACK })),
        serverOf(before, clientTcp({ from, flags: TCP_SYN })),
        `${scheduler} ${from}`,
      )
    }
    t.ok(state(after).every((state) => state === 'ESTABLISHED'))
  }
})

test('what is no ACK alone, comes late, or has another scheduler begins no connection after a takeover either', async (t) => {
  const bench = successor('sh')
  for (const flags of [0, TCP_RST, TCP_RST | TCP_ACK, TCP_FIN | TCP_ACK, TCP_SYN | TCP_RST]) {
    t.equal(serverOf(bench, clientTcp({ flags })), undefined)
  }
  bench.nowMs += 60_000
  const before = bench.drops.toObject()['no-connection']
  bench.send(OUTSIDE, clientTcp({ flags: TCP_ACK }))
  t.equal(bench.drops.toObject()['no-connection'], before + 1)
  for (const scheduler of ['rr', 'wlc', 'lblc']) t.equal(serverOf(successor(scheduler), clientTcp()), undefined)
  const standby = scene({ scheduler: 'sh', state: 'standby' })
  t.equal(serverOf(standby, clientTcp()), undefined)
})

test('a flood of ACKs after a takeover becomes no flood of connections', async (t) => {
  const bench = successor('sh')
  for (let n = 0; n < 5000; n++) bench.send(OUTSIDE, clientTcp({ from: `203.0.${n >> 8}.${n & 255}:5000` }))
  t.equal(bench.table.memory.used, 4096)
})
