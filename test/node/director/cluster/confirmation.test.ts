/** When a peer's confirmation reaches the forwarder that waits for it (`sync: confirmed`). */
import { test } from 'tap'
import { Pool, sameTables } from './replication-pool.ts'

test('a confirmation comes as soon as a peer has the records, and only for what it has', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1] = await pool.startAll()
  t.ok(d1.outgoing.hasWitness)
  d1.write(1)
  const first = d1.outgoing.awaitConfirmation()
  d1.flush()
  d1.write(2)
  const second = d1.outgoing.awaitConfirmation()
  t.notOk(d1.outgoing.isConfirmed(first))
  await pool.clock.until(() => d1.outgoing.isConfirmed(first), 2, 0.1)
  t.notOk(d1.outgoing.isConfirmed(second), 'what was not read has not been sent')
  d1.flush()
  await pool.clock.until(() => d1.outgoing.isConfirmed(second), 2, 0.1)
  pool.stop()
})

test('what gossip lost is confirmed once it was sent again', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  pool.network.loss = 1
  d1.write(1)
  d1.flush()
  await pool.clock.advance(5)
  pool.network.loss = 0
  d1.write(2)
  const position = d1.outgoing.awaitConfirmation()
  d1.flush()
  await pool.clock.until(() => d2.connections.size === 1, 5, 0.1)
  t.notOk(d1.outgoing.isConfirmed(position), 'the one before has not come')
  await pool.clock.until(() => d1.outgoing.isConfirmed(position), 100, 1)
  t.ok(sameTables(d1, d2))
  pool.stop()
})

test('without a peer that has joined there is nobody to confirm', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  t.ok(d1.outgoing.hasWitness)
  await d2.kill()
  await pool.clock.advance(3000)
  t.notOk(d1.outgoing.hasWitness)
  pool.stop()
})
