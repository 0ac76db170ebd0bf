/** A lone record leaves soon; records that come all the time leave in batches that keep a distance. */
import { test } from 'tap'
import { BatchPace } from '../../../../node/director/cluster/replication/batch-pace.ts'
import { type Director, Pool } from './replication-pool.ts'

/** When batches are sent if a record comes every so often, each as soon as the batch that it has begun is due. */
function sendingTimes({ everyMs, untilMs }: { everyMs: number; untilMs: number }): number[] {
  const pace = new BatchPace()
  const times: number[] = []
  let dueAt = Number.POSITIVE_INFINITY
  for (let now = 0; now < untilMs; now += everyMs) {
    if (now >= dueAt) {
      pace.sent(dueAt)
      times.push(dueAt)
      dueAt = Number.POSITIVE_INFINITY
    }
    dueAt = Math.min(dueAt, pace.dueAt(now, false))
  }
  return times
}

test('a record waits 2 ms for company, and longer only behind a batch of less than 10 ms ago', async (t) => {
  t.strictSame(sendingTimes({ everyMs: 20, untilMs: 100 }), [2, 22, 42, 62])
  t.strictSame(sendingTimes({ everyMs: 0.5, untilMs: 50 }), [2, 12, 22, 32, 42])
  const pace = new BatchPace()
  pace.sent(100)
  t.equal(pace.dueAt(101, false), 110)
  t.equal(pace.dueAt(109, false), 111)
})

test('an ending waits longer, whatever was sent before', async (t) => {
  const pace = new BatchPace()
  t.equal(pace.dueAt(0, true), 25)
  pace.sent(100)
  t.equal(pace.dueAt(101, true), 126)
})

test('in a pool a lone connection is told of within 2 ms, and thousands a second cost a hundred batches', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = (await pool.startAll()) as [Director, Director]
  d1.write(1)
  d1.flush()
  await pool.clock.advance(2 + 1)
  t.equal(d2.connections.size, 1)
  await pool.clock.advance(100)
  const before = d1.replicator.status().counters.batchesSent ?? 0
  for (let written = 0; written < 2000; written++) {
    d1.write(2 + written)
    d1.flush()
    await pool.clock.advance(0.5)
  }
  const batches = (d1.replicator.status().counters.batchesSent ?? 0) - before
  t.ok(batches >= 90 && batches <= 101, `${batches} batches`)
  await pool.clock.advance(10 + 1)
  t.equal(d2.connections.size, 2001)
  pool.stop()
})
