/** Replication over a virtual network that loses, repeats and reorders. */
import { test } from 'tap'
import { Pool, sameTables, writeSteadily } from './replication-pool.ts'

test('three directors that start together agree and are in sync', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const directors = await pool.startAll()
  t.ok(directors.every((director) => director.inSync))
  t.ok(pool.clock.now() < 2000, 'without waiting for the start-up grace')
  pool.stop()
})

test('a new connection is at every peer within a few milliseconds', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  d1.write(7)
  d1.flush()
  await pool.clock.advance(5 + 1)
  t.ok(sameTables(d1, d2))
  t.ok(sameTables(d1, d3))
  pool.stop()
})

test('the latest version of a connection stays, and an ended one goes', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  for (let version = 1; version <= 5; version++) d1.write(1, version)
  d1.write(2)
  d1.end(2)
  d1.flush()
  await pool.clock.advance(10)
  t.ok(sameTables(d1, d2))
  t.equal(d2.connections.size, 1)
  pool.stop()
})

for (const seed of [1, 2, 3, 4]) {
  test(`what gossip loses, doubles and reorders is repaired (seed ${seed})`, async (t) => {
    const pool = new Pool(['d1', 'd2', 'd3'], { seed, network: { loss: 0.3, duplication: 0.2, jitterMs: 8 } })
    const [d1, d2, d3] = await pool.startAll()
    await Promise.all([writeSteadily(pool, d1, 0, 4000), writeSteadily(pool, d2, 100_000, 103_000)])
    for (let n = 0; n < 4000; n += 3) d1.end(n)
    for (let n = 1; n < 4000; n += 3) d1.write(n, 2)
    d1.flush()
    await pool.clock.until(() => sameTables(d1, d2) && sameTables(d1, d3), 3000, 10)
    t.ok(d3.status?.counters.duplicateBatches, 'doubles were recognised')
    t.ok(d3.status?.counters.resendRequests, 'numbers were asked for')
    await pool.untilInSync()
    t.match(
      d3.replicator.status().peers.map((peer) => peer.recordsBehind),
      [0, 0],
    )
    pool.stop()
  })
}

test('a late batch does not bring back what a later one ended', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  pool.network.loss = 1
  d1.write(1)
  d1.flush()
  await pool.clock.advance(6)
  pool.network.loss = 0
  d1.end(1)
  d1.write(2)
  d1.flush()
  await pool.clock.advance(1000)
  t.equal(d2.status?.counters.batchesApplied, 2)
  t.ok(sameTables(d1, d2))
  t.equal(d2.connections.size, 1)
  pool.stop()
})

test('a director shows how far it is behind a peer, and the peer shows the same', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  pool.network.loss = 1
  // The stream is there, but nothing is asked for before something later is seen.
  d1.write(1)
  d1.write(2)
  d1.flush()
  await pool.clock.advance(2000)
  const atSender = d1.replicator.status().peers[0]
  t.equal(atSender.peerRecordsBehind, 2)
  t.ok(atSender.peerBehindMs > 1000)
  pool.network.loss = 0
  await pool.clock.advance(500)
  t.ok(sameTables(d1, d2))
  await pool.clock.advance(500)
  t.match(d1.replicator.status().peers[0], { peerRecordsBehind: 0, peerBehindMs: 0 })
  pool.stop()
})

test('missing numbers put a director out of sync until they have come', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  pool.network.loss = 1
  d1.write(1)
  d1.flush()
  await pool.clock.advance(10)
  // The sender never answers: its forwarder's thread is fine, its resend buffer is not reached.
  const resend = d1.transport.send.bind(d1.transport)
  d1.transport.send = async (peer, topic, message) => {
    if (topic === 'presence') await resend(peer, topic, message)
  }
  pool.network.loss = 0
  await pool.clock.advance(1000)
  t.notOk(d2.inSync)
  t.match(d2.replicator.status().reason, /misses 1 records of d1/)
  t.match(d2.replicator.status().peers[0], { recordsBehind: 1 })
  t.ok(d2.replicator.status().peers[0].behindMs > 500)
  d1.transport.send = resend
  await pool.untilInSync()
  t.ok(sameTables(d1, d2))
  pool.stop()
})

test('a director that was cut off catches up by asking', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, , d3] = await pool.startAll()
  pool.network.isolate('d3')
  await writeSteadily(pool, d1, 0, 20_000, 25)
  t.match(d1.replicator.status().peers[1], { name: 'd3', connected: false })
  pool.network.rejoin('d3')
  await pool.clock.until(() => sameTables(d1, d3), 3000, 10)
  await pool.untilInSync()
  t.equal(d3.status?.counters.snapshotsTaken, 1, 'only the one at its start')
  pool.stop()
})

test('a director that was away for longer than batches are kept takes a snapshot', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'], { resendBytes: 100_000 })
  const [d1, , d3] = await pool.startAll()
  pool.network.isolate('d3')
  await writeSteadily(pool, d1, 0, 20_000, 50)
  pool.network.rejoin('d3')
  await pool.clock.until(() => sameTables(d1, d3), 3000, 10)
  await pool.untilInSync()
  t.equal(d3.status?.counters.snapshotsTaken, 2)
  pool.stop()
})

test('a restarted director takes a snapshot, and its peers take its new numbers from 1', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  await writeSteadily(pool, d1, 0, 5000)
  await pool.clock.advance(100)
  await d1.kill()
  await pool.clock.advance(100)
  const again = await pool.start('d1')
  t.notOk(again.inSync)
  await pool.untilInSync()
  t.ok(sameTables(again, d2), 'it has the connections of before its crash')
  again.write(9999)
  again.flush()
  await pool.clock.advance(10)
  t.ok(sameTables(again, d2))
  t.ok(sameTables(again, d3))
  pool.stop()
})

test('a newcomer to 100,000 connections is in sync in far less than 5 s, while new ones keep coming', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3', 'd4'], { network: { loss: 0.02, jitterMs: 3 } })
  for (const name of ['d1', 'd2', 'd3']) await pool.start(name)
  await pool.untilInSync()
  const [d1] = pool.directors
  await writeSteadily(pool, d1, 0, 100_000, 1000)
  await pool.untilInSync()
  const d4 = await pool.start('d4')
  const startedAt = pool.clock.now()
  const writing = writeSteadily(pool, d1, 100_000, 103_000, 10)
  await pool.clock.until(() => /waits for snapshot from d\d: [1-9]/.test(d4.replicator.status().reason), 1000)
  // The first have been read from the table by then, the last have not.
  for (let n = 0; n < 500; n++) d1.end(n)
  for (let n = 99_500; n < 100_000; n++) d1.end(n)
  await pool.clock.until(() => d4.inSync, 5000, 5)
  t.ok(pool.clock.now() - startedAt < 2000, `in sync after ${pool.clock.now() - startedAt} ms`)
  await writing
  await pool.clock.until(() => sameTables(d1, d4), 1000, 5)
  t.equal(d4.connections.size, 102_000)
  pool.stop()
})

test('a sender that a snapshot covered is not asked for its past when it is met', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'], { resendBytes: 10_000 })
  await pool.start('d1')
  await pool.start('d2')
  await pool.untilInSync()
  const [d1, d2] = pool.directors
  await writeSteadily(pool, d2, 0, 1000)
  await pool.clock.advance(50)
  pool.network.cut('d2', 'd3')
  const d3 = await pool.start('d3')
  await pool.clock.until(() => d3.inSync, 3000)
  t.ok(sameTables(d1, d3))
  pool.network.heal('d2', 'd3')
  await pool.clock.until(() => d3.transport.connectedPeers().length === 2, 100)
  await pool.clock.advance(500)
  d2.write(1000)
  d2.flush()
  await pool.clock.until(() => sameTables(d2, d3), 100)
  t.match(d3.replicator.status().counters, { snapshotsTaken: 1, resendRequests: 0, recordsApplied: 1 })
  pool.stop()
})

test('a newcomer copies from two members that have not met', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  pool.network.cut('d1', 'd2')
  await pool.start('d1')
  await pool.start('d2')
  await pool.untilAll(({ joined }) => joined)
  const [d1, d2] = pool.directors
  await writeSteadily(pool, d1, 0, 500)
  await writeSteadily(pool, d2, 5000, 5500)
  const d3 = await pool.start('d3')
  await pool.clock.until(() => d3.inSync, 3000, 10)
  t.equal(d3.connections.size, 1000)
  t.equal(d3.replicator.status().counters.snapshotsTaken, 2)
  pool.stop()
})

test('a director that started alone learns from the pool it meets what a dead member had said', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  pool.network.cut('d1', 'd2')
  pool.network.cut('d2', 'd3')
  const [d1, d2, d3] = await pool.startAll(({ joined }) => joined)
  await writeSteadily(pool, d3, 0, 500)
  await pool.clock.advance(50)
  await d3.kill()
  pool.network.heal('d1', 'd2')
  await pool.clock.until(() => sameTables(d1, d2), 3000, 10)
  t.equal(d2.connections.size, 500)
  pool.stop()
})

test('what a director said before it restarted is not heard after', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  const said: Uint8Array[] = []
  const broadcast = d1.transport.broadcast.bind(d1.transport)
  d1.transport.broadcast = (topic, message) => {
    if (topic === 'connections') said.push(message)
    broadcast(topic, message)
  }
  d1.write(1)
  d1.flush()
  await pool.clock.advance(10)
  await d1.kill()
  const again = await pool.start('d1')
  await pool.untilInSync()
  again.end(1)
  again.flush()
  await pool.clock.advance(10)
  t.equal(said.length, 1)
  again.transport.broadcast('connections', said[0])
  await pool.clock.advance(300)
  t.equal(d2.connections.size, 0)
  t.ok(d2.inSync)
  pool.stop()
})

test('a director that was cut off is not in sync before it has heard the others again', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  pool.network.isolate('d3')
  await pool.clock.advance(1000)
  t.notOk(d3.inSync)
  t.match(d3.replicator.status().reason, /reaches no peer/)
  t.ok(d1.inSync && d2.inSync, 'the others go on')
  await writeSteadily(pool, d1, 0, 5000)
  pool.network.heal('d2', 'd3')
  let saidTooEarly = false
  for (let ms = 0; ms < 100; ms++) {
    await pool.clock.advance(1)
    saidTooEarly ||= d3.inSync
  }
  t.notOk(saidTooEarly, 'd2 alone does not make it sure')
  pool.network.heal('d1', 'd3')
  await pool.clock.until(() => {
    saidTooEarly ||= d3.inSync && !sameTables(d1, d3)
    return d3.inSync
  }, 3000)
  t.notOk(saidTooEarly)
  pool.stop()
})

test('a director that stood still is not in sync before it has heard the others', async (t) => {
  const pool = new Pool(['d1', 'd2'], { network: { detectionMs: 5000 } })
  const [d1, d2] = await pool.startAll()
  d2.clock.freeze()
  pool.network.loss = 1
  d1.write(1)
  d1.flush()
  await pool.clock.advance(1000)
  pool.network.loss = 0
  d2.clock.thaw()
  t.notOk(d2.inSync)
  t.match(d2.replicator.status().reason, /waits to hear from d1/)
  await pool.untilInSync()
  t.ok(sameTables(d1, d2))
  pool.stop()
})

test('a director that loses all its peers for good is alone, and says so', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  await d2.kill()
  await pool.clock.advance(1000)
  t.match(d1.replicator.status(), { inSync: false, reason: 'reaches no peer any more' })
  pool.stop()
})

test('who ceases to be a peer is not waited for, and takes over what he missed when he is one again', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  const peer = (name: string) => ({ name, id: name, address: '' })
  const setPeers = (names: string[]) => {
    d1.transport.setPeers(names.map(peer))
    d1.replicator.setPeers(names)
  }
  await writeSteadily(pool, d2, 0, 100)
  setPeers([])
  await pool.clock.advance(1000)
  t.match(d1.replicator.status(), { inSync: true, peers: [] })
  t.match(d2.replicator.status(), { inSync: false, reason: 'reaches no peer any more' })
  d1.write(1000)
  d2.write(1001)
  for (const director of [d1, d2]) director.flush()
  setPeers(['d2'])
  await pool.clock.until(() => d1.inSync && d2.inSync && sameTables(d1, d2), 3000, 10)
  t.equal(d1.connections.size, 102)
  pool.stop()
})

test('a full incoming ring makes replication wait, and loses nothing', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  await pool.start('d1')
  await pool.start('d2', 256)
  await pool.untilInSync()
  const [d1, d2] = pool.directors
  d2.takes = false
  await writeSteadily(pool, d1, 0, 5000)
  await pool.clock.advance(1000)
  t.equal(d2.incoming.length, 256)
  d2.takes = true
  const forwarder = setInterval(() => d2.take(), 0)
  await pool.clock.until(() => sameTables(d1, d2), 5000, 5)
  clearInterval(forwarder)
  t.equal(d2.incoming.lost, 0)
  pool.stop()
})

test('a forwarder that hangs for long costs bounded memory, and catches up when it goes on', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  await pool.start('d1')
  await pool.start('d2', 256)
  await pool.untilInSync()
  const [d1, d2] = pool.directors
  d2.takes = false
  await writeSteadily(pool, d1, 0, 200_000, 5000)
  await pool.clock.advance(500)
  t.ok(d2.replicator.status().counters.deferredBatches > 0)
  t.notOk(d2.inSync)
  d2.takes = true
  const forwarder = setInterval(() => d2.take(), 0)
  await pool.clock.until(() => sameTables(d1, d2) && d2.inSync, 20_000, 50)
  clearInterval(forwarder)
  pool.stop()
})

test('records that found no room in the outgoing ring are made good by a snapshot', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  await pool.start('d1', 64)
  await pool.start('d2')
  await pool.untilInSync()
  const [d1, d2] = pool.directors
  for (let n = 0; n < 1000; n++) d1.write(n)
  d1.flush()
  t.ok(d1.outgoing.lost > 0)
  await pool.clock.until(() => sameTables(d1, d2) && d2.inSync, 3000, 10)
  pool.stop()
})

test('when a sender dies, a peer that has heard more of it gives what the others miss', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  await pool.clock.advance(500)
  pool.network.cut('d1', 'd2')
  await writeSteadily(pool, d1, 0, 200)
  await pool.clock.advance(10)
  // d1's last words reach d2 only in part: one batch, by which it knows that others are missing.
  pool.network.heal('d1', 'd2')
  await pool.clock.advance(7)
  d1.write(1000)
  d1.flush()
  await pool.clock.advance(6)
  await d1.kill()
  await pool.clock.until(() => sameTables(d2, d3), 3000, 10)
  t.equal(d2.connections.size, 201)
  pool.stop()
})

test('a director that reaches nobody joins after the start-up grace, and is not in sync before it has reached somebody', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const d2 = await pool.start('d2')
  await pool.clock.advance(1500)
  t.notOk(d2.inSync)
  t.match(d2.replicator.status().reason, /waits for peers: 0 of 2/)
  await pool.clock.advance(1000)
  t.ok(d2.joined)
  await pool.clock.advance(60_000)
  t.notOk(d2.inSync, 'others may know what it does not, and one of them may hold the addresses')
  t.match(d2.replicator.status().reason, /has reached no peer since it started/)
  await pool.start('d1')
  await pool.untilInSync()
  pool.stop()
})

test('two halves that each started alone exchange their tables when they meet', async (t) => {
  const pool = new Pool(['d1', 'd2'], { resendBytes: 20_000 })
  pool.network.cut('d1', 'd2')
  const [d1, d2] = await pool.startAll(({ joined }) => joined)
  await writeSteadily(pool, d1, 0, 2000)
  await writeSteadily(pool, d2, 5000, 7000)
  await pool.clock.advance(100)
  pool.network.heal('d1', 'd2')
  await pool.clock.until(() => sameTables(d1, d2), 3000, 10)
  t.equal(d1.connections.size, 4000)
  pool.stop()
})

test('who has stopped asks for nothing any more, whatever comes until its transport stops too', async (t) => {
  // So long after the last look at what is missing.
  for (const afterMs of [0, 25, 50, 75]) {
    const pool = new Pool(['d1', 'd2'])
    const [d1, d2] = await pool.startAll()
    await pool.clock.advance(afterMs)
    d1.replicator.stop()
    const { resendRequests } = d1.replicator.status().counters
    pool.network.loss = 1
    d2.write(1)
    d2.flush()
    await pool.clock.advance(5)
    pool.network.loss = 0
    d2.write(2)
    d2.flush()
    await pool.clock.advance(5000)
    t.match(d1.replicator.status().counters, { batchesApplied: 1, resendRequests }, `${afterMs} ms`)
    pool.stop()
  }
})

test('what is malformed is counted and changes nothing', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  for (const topic of ['connections', 'presence', 'sync'] as const) {
    for (let length = 0; length < 200; length += 7) {
      const noise = Uint8Array.from({ length }, () => Math.floor(pool.random() * 256))
      noise[0] = 1
      d1.transport.broadcast(topic, noise)
    }
  }
  await pool.clock.advance(50)
  t.ok(d2.replicator.status().counters.malformedMessages > 60)
  t.equal(d2.transport.counters.failedHandlers, 0)
  d1.write(1)
  d1.flush()
  await pool.clock.advance(100)
  t.ok(sameTables(d1, d2))
  pool.stop()
})
