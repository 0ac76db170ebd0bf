/** Batches are kept for as long as somebody may ask for them again, and within bounds. */
import { test } from 'tap'
import { ResendBuffer } from '../../../../node/director/cluster/replication/resend-buffer.ts'
import { type Director, Pool, sameTables, writeSteadily } from './replication-pool.ts'

const BATCH_BYTES = 1000

test('the oldest go when there are too many bytes', async (t) => {
  const buffer = filled(10 * (BATCH_BYTES + 256), 20)
  t.same([buffer.oldest, buffer.size], [11, 10])
  t.notOk(buffer.get(10))
  t.ok(buffer.get(11))
})

test('those that nobody needs go, and their room is free', async (t) => {
  const buffer = filled(10 * (BATCH_BYTES + 256), 8)
  buffer.dropUpTo(5)
  t.same([buffer.oldest, buffer.size], [6, 3])
  buffer.dropUpTo(3)
  t.same([buffer.oldest, buffer.size], [6, 3], 'what is less than before drops nothing')
  buffer.dropUpTo(100)
  t.same([buffer.oldest, buffer.size], [9, 0], 'the next number')
  for (let sequence = 9; sequence <= 18; sequence++) buffer.add(sequence, batch(sequence))
  t.same([buffer.oldest, buffer.size], [9, 10])
})

test('what all peers have is not kept', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, , d3] = await pool.startAll()
  await writeSteadily(pool, d1, 0, 5000)
  t.ok(kept(d1) > 0)
  await pool.clock.advance(500)
  t.equal(kept(d1), 0)

  pool.network.isolate('d3')
  await writeSteadily(pool, d1, 5000, 10_000)
  await pool.clock.advance(5000)
  t.ok(kept(d1) > 0, 'one that is away will ask')
  pool.network.rejoin('d3')
  await pool.clock.until(() => sameTables(d1, d3), 3000, 10)
  await pool.untilInSync()
  await pool.clock.advance(500)
  t.equal(kept(d1), 0)
  t.equal(d3.status?.counters.snapshotsTaken, 1, 'only the one at its start')
  pool.stop()
})

test('for a peer that has started anew and not yet said what it has all are kept, and for one that has never come', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const d1 = await pool.start('d1')
  await pool.start('d2')
  await pool.untilAll(({ joined }) => joined)
  await writeSteadily(pool, d1, 0, 2000)
  await pool.clock.advance(500)
  t.ok(kept(d1) > 0)
  const d3 = await pool.start('d3')
  await pool.untilInSync()
  await pool.clock.advance(500)
  t.equal(kept(d1), 0)

  await d3.kill()
  await writeSteadily(pool, d1, 2000, 4000)
  await pool.clock.advance(500)
  t.ok(kept(d1) > 0)
  const again = await pool.start('d3')
  await pool.untilInSync()
  await pool.clock.advance(500)
  t.ok(sameTables(d1, again))
  t.equal(kept(d1), 0)
  t.equal(again.status?.counters.snapshotsTaken, 1, 'nobody refuses what it asks for')
  pool.stop()
})

function filled(limitBytes: number, count: number): ResendBuffer {
  const buffer = new ResendBuffer(limitBytes)
  for (let sequence = 1; sequence <= count; sequence++) buffer.add(sequence, batch(sequence))
  return buffer
}

function batch(sequence: number) {
  return { bytes: new Uint8Array(BATCH_BYTES), sentAt: sequence, recordsAfter: sequence }
}

function kept(director: Director): number {
  return director.replicator.status().counters.batchesKept
}
