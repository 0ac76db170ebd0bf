/** Reading the table: listings and ranges of records, also while another thread writes. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { test } from 'tap'
import { ConnectionMemory } from '../../../forwarder/table/connection-layout.ts'
import { ConnectionReader } from '../../../forwarder/table/connection-reader.ts'
import { ServerDirectory } from '../../../forwarder/table/server-directory.ts'
import { formatIPv4, readUint16 } from '../../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'
import { told } from '../../support/director-bench.ts'
import { clientTcp, clientUdp, INSIDE, OUTSIDE, scene, serverTcp } from '../../support/scene.ts'
import { clientOf, serverOf, VIRTUAL_PORT } from './churn.ts'

test('a connection is listed with all that ipvsadm shows of one', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  bench.send(OUTSIDE, clientTcp())
  const [connection, ...others] = bench.reader.connections()
  t.same(others, [])
  t.same(
    { ...connection, expiresMs: 0 },
    {
      protocol: 'tcp',
      state: 'ESTABLISHED',
      expiresMs: 0,
      clientAddress: '203.0.113.7',
      clientPort: 3456,
      virtualAddress: '198.51.100.10',
      virtualPort: 80,
      serverAddress: '10.1.0.1',
      serverPort: 8000,
    },
  )
})

test('a datagram conversation has no state but UDP', async (t) => {
  const bench = scene({ protocol: 'udp' })
  bench.send(OUTSIDE, clientUdp())
  const [connection] = bench.reader.connections()
  t.same([connection.protocol, connection.state], ['udp', 'UDP'])
})

test('an ended connection is not listed, and its place is used again', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  bench.nowMs += 61_000
  bench.breathe()
  t.same([...bench.reader.connections()], [])
  t.equal(bench.reader.snapshot(1), undefined)
  bench.send(OUTSIDE, clientTcp({ from: '203.0.113.7:9', flags: TCP_SYN }))
  t.equal(bench.reader.snapshot(1)?.clientPort, 9)
})

test('the connections of one client port are listed alone', async (t) => {
  const bench = scene()
  for (const client of ['203.0.113.7:9', '203.0.113.7:65535', '203.0.113.8:9', '203.0.113.7:0'])
    bench.send(OUTSIDE, clientTcp({ from: client, flags: TCP_SYN }))
  const clientsOf = (port: number) => [...bench.reader.connections(port)].map((each) => each.clientAddress)
  t.same(clientsOf(9), ['203.0.113.7', '203.0.113.8'])
  t.same(clientsOf(65535), ['203.0.113.7'])
  t.same(clientsOf(0), ['203.0.113.7'])
  t.same(clientsOf(10), [])
})

test('ranges of the table become the records of what replication covers: what has been told of', async (t) => {
  const bench = scene()
  for (let port = 101; port <= 120; port++) {
    bench.send(OUTSIDE, clientTcp({ from: `203.0.113.7:${port}`, flags: TCP_SYN }))
    if (port % 2 === 0) bench.send(OUTSIDE, clientTcp({ from: `203.0.113.7:${port}` }))
  }
  t.equal(bench.reader.capacity, 21)
  const target = new Uint8Array(64 * RECORD_LENGTH)
  const ports: number[] = []
  for (let from = 0; from < bench.reader.capacity; from += 7) {
    const written = bench.reader.encodeRange(from, 7, target, 0)
    for (let record = 0; record < written; record++) {
      ports.push(readUint16(target, record * RECORD_LENGTH + RECORD.clientPort))
    }
  }
  t.same(ports, [102, 104, 106, 108, 110, 112, 114, 116, 118, 120])
  t.equal(bench.reader.encodeRange(21, 100, target, 0), 0, 'beyond the last place there is nothing')
  t.equal(bench.reader.encodeRange(0, 3, target, RECORD_LENGTH), 1)
  t.equal(readUint16(target, RECORD_LENGTH + RECORD.clientPort), 102, 'the offset is kept to')
})

test('what nobody was told of is in no range, whatever its state: without a version it would count over what a peer knows', async (t) => {
  const bench = scene()
  const syn = clientTcp({ flags: TCP_SYN })
  const refusal = serverTcp({ flags: TCP_RST | TCP_ACK })
  const target = new Uint8Array(16 * RECORD_LENGTH)
  for (const frame of [syn, clientTcp(), clientTcp({ flags: TCP_RST })]) bench.send(OUTSIDE, frame)
  t.equal(bench.reader.encodeRange(0, 16, target, 0), 1, 'it was established, and has been told of')
  told(bench)
  // The next one between the same ports goes on from its versions, and is refused.
  bench.send(OUTSIDE, syn)
  bench.send(INSIDE, refusal)
  bench.send(OUTSIDE, clientTcp({ from: '203.0.113.8:1', flags: TCP_SYN }))
  bench.send(INSIDE, serverTcp({ to: '203.0.113.8:1', flags: TCP_RST | TCP_ACK }))
  t.same(
    [...bench.reader.connections()].map(({ state }) => state),
    ['CLOSE', 'CLOSE'],
  )
  t.equal(bench.reader.encodeRange(0, 16, target, 0), 0)
})

test('a snapshot taken by one director makes another know the same connections', async (t) => {
  const first = scene()
  for (let port = 1; port <= 50; port++) {
    first.send(OUTSIDE, clientTcp({ from: `203.0.113.7:${port}`, flags: TCP_SYN }))
    first.send(OUTSIDE, clientTcp({ from: `203.0.113.7:${port}` }))
  }
  const target = new Uint8Array(64 * RECORD_LENGTH)
  const written = first.reader.encodeRange(0, 64, target, 0)
  const peer = scene({ state: 'standby' })
  for (let record = 0; record < written; record++) peer.engine.replication.apply(target, record * RECORD_LENGTH)
  const ports = (bench: typeof first) =>
    [...bench.reader.connections()].map((each) => each.clientPort).sort((a, b) => a - b)
  t.same(ports(peer), ports(first))
})

test('while another thread makes and ends connections, nothing is read that never was', async (t) => {
  const tableMemory = ConnectionMemory.allocate(1024)
  const directoryMemory = ServerDirectory.allocate(64)
  const stop = new Int32Array(new SharedArrayBuffer(4))
  const workerData = { tableMemory, directoryMemory, stop: stop.buffer }
  const writer = new Worker(new URL('./table-writer.ts', import.meta.url), { workerData })
  await once(writer, 'message')
  const reader = new ConnectionReader(tableMemory, directoryMemory)
  const target = new Uint8Array(1024 * RECORD_LENGTH)
  let seen = 0
  const wrong: string[] = []
  for (let round = 0; round < 300; round++) {
    for (const connection of reader.connections()) {
      seen++
      const { clientAddress, clientPort, virtualPort, serverAddress, serverPort } = connection
      const number = clientPort
      const whole =
        clientAddress === formatIPv4(clientOf(number)) &&
        virtualPort === VIRTUAL_PORT &&
        serverAddress === formatIPv4(serverOf(number)) &&
        serverPort === number
      if (!whole) wrong.push(JSON.stringify(connection))
    }
    const written = reader.encodeRange(0, 1024, target, 0)
    for (let record = 0; record < written; record++) {
      seen++
      const at = record * RECORD_LENGTH
      const number = readUint16(target, at + RECORD.clientPort)
      const server = new DataView(target.buffer).getInt32(at + RECORD.serverAddress + 12)
      const client = new DataView(target.buffer).getInt32(at + RECORD.clientAddress + 12)
      const whole =
        client === clientOf(number) &&
        server === serverOf(number) &&
        readUint16(target, at + RECORD.serverPort) === number
      if (!whole) wrong.push(`record ${number}`)
    }
  }
  Atomics.store(stop, 0, 1)
  await once(writer, 'exit')
  t.same(wrong.slice(0, 5), [])
  t.ok(seen > 1000, `${seen} connections were read`)
})
