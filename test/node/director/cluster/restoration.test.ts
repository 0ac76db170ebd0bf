/** Directors that know something from before their restart: who uses it, who does not, and what comes of it. */
import { test } from 'tap'
import { makeRecord } from './record.ts'
import { Pool, sameTables } from './replication-pool.ts'

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

test('who reaches a pool while it reads what it knew itself takes its table, and leaves the rest unread', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  pool.network.cut('d1', 'd2')
  const d2 = await pool.start('d2')
  await pool.untilAll(({ joined }) => joined)
  for (let n = 0; n < 50; n++) d2.write(n)
  d2.flush()
  pool.checkpoints.set('d1', pieces(100, 120))
  const starting = pool.start('d1')
  const d1 = pool.directors[1]
  d1.takes = false
  await starting
  await pool.clock.advance(3000)
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
