/** Which way batches go: by gossip, or straight to each peer. */
import { test } from 'tap'
import { Pool, sameTables } from './replication-pool.ts'

test('very many records go straight to the peers, and by gossip again when one of those is away', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  let gossiped = 0
  const broadcast = d1.transport.broadcast.bind(d1.transport)
  d1.transport.broadcast = (topic, message) => {
    if (topic === 'connections') gossiped++
    broadcast(topic, message)
  }
  /** Batches of so many records each. @returns how many of them were gossiped */
  const write = async (...sizes: number[]) => {
    const before = gossiped
    for (const [batch, size] of sizes.entries()) {
      for (let n = 0; n < size; n++) d1.write(batch * 1000 + n)
      d1.flush()
      await pool.clock.advance(5)
    }
    return gossiped - before
  }
  t.equal(await write(1, 99, 50), 3)
  t.equal(await write(100, 51, 99, 50), 0, 'it stays so until there are clearly fewer')
  t.equal(await write(49, 99), 2)
  t.ok(sameTables(d1, d2) && sameTables(d1, d3))
  await d3.kill()
  t.equal(await write(200), 1)
  t.ok(sameTables(d1, d2))
  pool.stop()
})
