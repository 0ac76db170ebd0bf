/** A director that ends in order, and what its peers have of it then. */
import { test } from 'tap'
import { Pool, sameTables } from './replication-pool.ts'

test('who delivers is done when its peers have all that it had to tell, lost or not', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  pool.network.loss = 1
  d1.write(7)
  d1.flush()
  await pool.clock.advance(10)
  d1.write(8)
  let isDone = false
  void d1.replicator.deliver().then(() => {
    isDone = true
  })
  await pool.clock.advance(300)
  t.notOk(isDone)
  pool.network.loss = 0
  await pool.clock.until(() => isDone, 600, 10)
  t.equal(d2.connections.size, 2)
  t.ok(sameTables(d1, d2))
  t.ok(sameTables(d1, d3))
  pool.stop()
})

test('who delivers does not wait for peers that do not answer, nor for those that are gone', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  const deliver = async (): Promise<number> => {
    const began = pool.clock.now()
    d1.write(began)
    let tookMs = -1
    void d1.replicator.deliver().then(() => {
      tookMs = pool.clock.now() - began
    })
    await pool.clock.until(() => tookMs >= 0, 2000, 10)
    return tookMs
  }
  pool.network.loss = 1
  t.equal(await deliver(), 1000)
  pool.network.loss = 0
  await d2.kill()
  await pool.clock.until(() => d1.replicator.status().peers.every(({ connected }) => !connected), 5000, 50)
  t.ok((await deliver()) <= 10)
  pool.stop()
})
