/** Directors that know something from before their restart: who uses it, who does not, and what comes of it. */
import { test } from 'tap'
import { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import { connectionKey } from '../../../../node/director/cluster/replication/connection-key.ts'
import { IncomingQueue } from '../../../../node/director/cluster/replication/incoming-queue.ts'
import { Restoration } from '../../../../node/director/cluster/replication/restoration.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'
import { makeRecord } from './record.ts'
import { type Director, Pool, sameTables, writeSteadily } from './replication-pool.ts'

/** Records of the connections [from, to), in pieces of ten. */
function pieces(from: number, to: number, version = 1): Uint8Array[] {
  return Array.from({ length: Math.ceil((to - from) / 10) }, (_, piece) => {
    const start = from + piece * 10
    const records = Array.from({ length: Math.min(10, to - start) }, (_, n) => makeRecord(start + n, version))
    return new Uint8Array(Buffer.concat(records))
  })
}

test('a director without peers begins with what it knows', async (t) => {
  const pool = new Pool(['d1'])
  pool.checkpoints.set('d1', pieces(0, 95))
  const d1 = await pool.start('d1')
  await pool.untilInSync()
  t.equal(d1.connections.size, 95)
  t.equal(d1.replicator.status().joined, true)
  pool.stop()
})

test('it is not in sync before its forwarder has taken all of it', async (t) => {
  const pool = new Pool(['d1'])
  pool.checkpoints.set('d1', pieces(0, 20))
  const starting = pool.start('d1')
  pool.directors[0].takes = false
  const d1 = await starting
  await pool.clock.advance(5000)
  t.match(d1.replicator.status(), { inSync: false, joined: false, reason: 'reads its own checkpoint: 10 records' })
  d1.takes = true
  d1.take()
  await pool.untilInSync()
  t.equal(d1.connections.size, 20)
  pool.stop()
})

test('who starts a pool gives what it knows to the others, whose own is not asked for', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  pool.checkpoints.set('d1', pieces(0, 30))
  pool.checkpoints.set('d2', pieces(100, 200))
  const [d1, d2] = await pool.startAll()
  await pool.clock.advance(1000)
  t.equal(d1.connections.size, 30)
  t.ok(sameTables(d1, d2))
  t.equal(pool.checkpoints.get('d2')?.length, 10)
  pool.stop()
})

test('who comes back to a pool takes its table, and not what it knew itself', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1] = await pool.startAll()
  for (let n = 0; n < 50; n++) d1.write(n)
  d1.flush()
  await pool.directors[1].kill()
  pool.checkpoints.set('d2', pieces(0, 200))
  const d2 = await pool.start('d2')
  await pool.untilInSync()
  t.equal(d2.connections.size, 50)
  t.ok(sameTables(d1, d2))
  pool.stop()
})

/** The second director, d1, which has begun to read its checkpoint, and does not get on with it. */
async function startReading(pool: Pool) {
  const starting = pool.start('d1')
  const d1 = pool.directors[1]
  d1.takes = false
  await starting
  await pool.clock.advance(3000)
  return d1
}

test('who reaches a pool while it reads what it knew itself takes its table, and leaves the rest unread', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  pool.network.cut('d1', 'd2')
  const d2 = await pool.start('d2')
  await pool.untilAll(({ joined }) => joined)
  for (let n = 0; n < 50; n++) d2.write(n)
  d2.flush()
  pool.checkpoints.set('d1', pieces(100, 120))
  const d1 = await startReading(pool)
  t.match(d1.replicator.status().reason, 'reads its own checkpoint: 10 records')
  pool.network.heal('d1', 'd2')
  await pool.clock.until(() => !d1.replicator.status().reason.startsWith('reads'), 3000, 10)
  d1.takes = true
  d1.take()
  await pool.untilInSync()
  t.match(d1.replicator.status().counters, { snapshotsTaken: 1, resendRequests: 0 })
  t.equal(d1.connections.size, 60)
  pool.stop()
})

test('who begins to copy a table, and loses its peer before it is whole, goes on with what it knew itself', async (t) => {
  const pool = new Pool(['d1', 'd2'], { network: { bytesPerMs: 1000 } })
  const d1 = await pool.start('d1')
  await pool.untilAll(({ joined }) => joined)
  await writeSteadily(pool, d1, 100, 20_000, 1000)
  pool.checkpoints.set('d2', pieces(0, 50))
  const d2 = await pool.start('d2')
  await pool.clock.until(() => /from d1: [1-9]/.test(d2.replicator.status().reason), 1000)
  await d1.kill()
  await pool.clock.until(() => d2.joined, 5000, 10)
  t.ok(d2.connections.size > 50 && d2.connections.size < 19_950, `part of the table, too: ${d2.connections.size}`)
  t.same(missing(d2, 0, 50), [])
  pool.stop()
})

test('so does who had read some of that before it met the peer', async (t) => {
  const pool = new Pool(['d1', 'd2'], { network: { bytesPerMs: 1000 } })
  pool.network.cut('d1', 'd2')
  const d2 = await pool.start('d2')
  await pool.untilAll(({ joined }) => joined)
  await writeSteadily(pool, d2, 100, 20_000, 1000)
  pool.checkpoints.set('d1', pieces(0, 50))
  const d1 = await startReading(pool)
  t.match(d1.replicator.status().reason, 'reads its own checkpoint: 10 records')
  pool.network.heal('d1', 'd2')
  await pool.clock.until(() => /from d2: [1-9]/.test(d1.replicator.status().reason), 1000)
  await d2.kill()
  d1.takes = true
  d1.take()
  await pool.clock.until(() => d1.joined, 5000, 10)
  t.same(missing(d1, 0, 50), [])
  pool.stop()
})

test('nothing is left out or read twice, whenever the reading is interrupted', async (t) => {
  const clock = new VirtualClock()
  const read: ((piece: Uint8Array | undefined) => void)[] = []
  const given: number[] = []
  let ends = 0
  const restoration = new Restoration({
    clock,
    incoming: new IncomingQueue({
      ring: new RecordRing(RecordRing.allocate(64)),
      clock,
      wake: () => {},
      onEmpty: () => {},
    }),
    next: () => new Promise((resolve) => read.push(resolve)),
    apply: ({ count }) => given.push(count),
    onEnd: () => ends++,
  })
  const interrupt = async () => {
    restoration.pause()
    t.equal(restoration.running, undefined)
    await clock.advance(1)
  }
  const answer = async (piece: Uint8Array | undefined) => {
    read.at(-1)?.(piece)
    await clock.advance(1)
  }
  restoration.begin()
  await interrupt()
  restoration.begin()
  t.equal(read.length, 1, 'it is asked once, while the answer is awaited')
  await interrupt()
  await answer(pieces(0, 7)[0])
  t.same(given, [])
  restoration.begin()
  await clock.advance(1)
  t.same(given, [7])
  await answer(pieces(0, 8)[0])
  t.same(given, [7, 8])
  await interrupt()
  await answer(undefined)
  t.notOk(restoration.isOver)
  restoration.begin()
  await clock.advance(1)
  t.ok(restoration.isOver)
  t.same([read.length, ends], [3, 1])
})

/** Those of the connections [from, to) that the director does not know. */
function missing({ connections }: Director, from: number, to: number): number[] {
  const numbers = Array.from({ length: to - from }, (_, n) => from + n)
  return numbers.filter((n) => !connections.has(connectionKey(makeRecord(n, 1), 0)))
}
