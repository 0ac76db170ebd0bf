/** What a master tells, and when; and what a backup makes of it. */
import { test } from 'tap'
import type { Clock } from '../../../../node/director/cluster/clock.ts'
import type { ConnectionSource } from '../../../../node/director/cluster/replication/snapshot-server.ts'
import { VirtualClock } from '../../../../node/director/cluster/virtual-clock.ts'
import { SyncBackup } from '../../../../node/director/sync-daemon/sync-backup.ts'
import { recordOfEntry } from '../../../../node/director/sync-daemon/sync-entries.ts'
import { SyncMaster } from '../../../../node/director/sync-daemon/sync-master.ts'
import { RECORD, RECORD_LENGTH } from '../../../../protocol/wire/connection-record.ts'
import { parseSyncDatagram, SyncDatagramWriter, type SyncEntry } from '../../../../protocol/wire/ipvs-sync.ts'

function entry(clientPort: number, state = 1): SyncEntry {
  return {
    protocol: 6,
    flags: 0,
    state,
    clientPort,
    virtualPort: 80,
    serverPort: 80,
    firewallMark: 0,
    timeoutS: 900,
    clientAddress: Uint8Array.of(10, 0, 0, 2),
    virtualAddress: Uint8Array.of(10, 0, 0, 100),
    serverAddress: Uint8Array.of(192, 168, 1, 11),
  }
}

function record(clientPort: number, state = 1): Uint8Array {
  const bytes = new Uint8Array(RECORD_LENGTH)
  recordOfEntry(entry(clientPort, state), bytes, 0)
  return bytes
}

/** A table with a connection in every second place. */
function table(capacity: number): ConnectionSource {
  return {
    capacity,
    encodeRange(from, count, target, offset) {
      let written = 0
      for (let place = from; place < Math.min(from + count, capacity); place += 2) {
        target.set(record(place), offset + written++ * RECORD_LENGTH)
      }
      return written
    },
  }
}

function master(clock: Clock, { source = table(0), maxLength = 1472, send = async (_: Uint8Array) => {} } = {}) {
  const sent: Uint8Array[] = []
  const daemon = new SyncMaster({
    syncId: 9,
    maxLength,
    clock,
    source,
    send: (datagram) => {
      sent.push(datagram)
      return send(datagram)
    },
  })
  const ports = () => sent.map((datagram) => parseSyncDatagram(datagram)?.entries.map(({ clientPort }) => clientPort))
  return { daemon, sent, ports }
}

test('entries are gathered for a moment, and leave together under the sync id', async (t) => {
  const clock = new VirtualClock()
  const { daemon, sent, ports } = master(clock)
  daemon.note(record(1), 0)
  daemon.note(record(2, 7), 0)
  t.same(sent, [])
  await clock.advance(100)
  t.same(ports(), [[1, 2]])
  t.equal(sent[0][1], 9)
  await clock.advance(5000)
  t.equal(sent.length, 1, 'nothing is sent when there is nothing to say')
})

test('a half-open connection is not told of', async (t) => {
  const clock = new VirtualClock()
  const { daemon, sent } = master(clock)
  daemon.note(record(1, 3), 0)
  await clock.advance(5000)
  t.same(sent, [])
})

test('a datagram that is full leaves at once', async (t) => {
  const clock = new VirtualClock()
  const { daemon, ports } = master(clock, { maxLength: 8 + 2 * 36 })
  for (let port = 1; port <= 5; port++) daemon.note(record(port), 0)
  t.same(ports(), [
    [1, 2],
    [3, 4],
  ])
  await clock.advance(100)
  t.same(ports()[2], [5])
})

test('a new master tells of the whole table, piece by piece', async (t) => {
  const clock = new VirtualClock()
  const { daemon, ports } = master(clock, { source: table(3000) })
  t.ok(ports().flat().length < 300, 'not all at once')
  await clock.advance(5000)
  t.same(
    ports().flat(),
    Array.from({ length: 1500 }, (_, index) => index * 2),
  )
  t.match(daemon.counters, { entries: 1500, dropped: 0 })
})

test('a master that stops sends what waits, and then is silent', async (t) => {
  const clock = new VirtualClock()
  const { daemon, ports } = master(clock, { source: table(3000), maxLength: 65_507 })
  await daemon.stop()
  const before = ports().flat().length
  t.equal(before, 256)
  await clock.advance(5000)
  t.equal(ports().flat().length, before)
})

test('datagrams that nobody takes off our hands are dropped beyond a bound, and counted', async (t) => {
  const clock = new VirtualClock()
  let release = () => {}
  const stuck = new Promise<void>((resolve) => {
    release = resolve
  })
  const { daemon, sent } = master(clock, { maxLength: 44, send: () => stuck })
  for (let port = 1; port <= 1100; port++) daemon.note(record(port), 0)
  t.equal(sent.length, 1024)
  t.equal(daemon.counters.dropped, 1099 - 1024)
  release()
  await daemon.stop()
})

function backup(options: Partial<ConstructorParameters<typeof SyncBackup>[0]> = {}) {
  const ports: number[] = []
  const daemon = new SyncBackup({
    syncId: 9,
    maxLength: 1472,
    apply: (block) => {
      for (let index = 0; index < block.count; index++) {
        const bytes = new Uint8Array(RECORD_LENGTH)
        block.read(index, bytes, 0)
        ports.push(new DataView(bytes.buffer).getUint16(RECORD.clientPort))
      }
      return true
    },
    ...options,
  })
  return { daemon, ports }
}

function datagram(entries: readonly SyncEntry[], syncId = 9): Uint8Array {
  const writer = new SyncDatagramWriter(syncId, 65_507)
  for (const each of entries) writer.add(each)
  return writer.finish()
}

test('a backup hands on what makes sense, and counts the rest', async (t) => {
  const { daemon, ports } = backup()
  daemon.receive(datagram([entry(1), entry(2, 99), entry(3)]))
  t.same(ports, [1, 3])
  t.match(daemon.counters, { messages: 1, entries: 2, refusedEntries: 1 })
})

test('a backup takes what has its own sync id; with 0 it takes everything', async (t) => {
  const own = backup()
  own.daemon.receive(datagram([entry(1)], 8))
  own.daemon.receive(datagram([entry(2)], 9))
  t.same(own.ports, [2])
  t.equal(own.daemon.counters.otherSyncIds, 1)
  const every = backup({ syncId: 0 })
  every.daemon.receive(datagram([entry(1)], 8))
  every.daemon.receive(datagram([entry(2)], 9))
  t.same(every.ports, [1, 2])
})

test('a backup takes no datagram that is longer than it listens for, or malformed', async (t) => {
  const { daemon, ports } = backup({ maxLength: 100 })
  daemon.receive(datagram([entry(1), entry(2), entry(3)]))
  daemon.receive(Uint8Array.of(1, 2, 3))
  t.same(ports, [])
  t.match(daemon.counters, { messages: 0, malformedMessages: 2 })
})

test('what the forwarder has no room for is counted as dropped', async (t) => {
  const { daemon } = backup({ apply: () => false })
  daemon.receive(datagram([entry(1), entry(2)]))
  t.equal(daemon.counters.dropped, 2)
})
