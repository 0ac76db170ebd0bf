/** Batches go by gossip until there are many of them, then straight to the peers. */
import { test } from 'tap'
import { BatchPath } from '../../../../node/director/cluster/replication/batch-path.ts'
import { Pool, sameTables } from './replication-pool.ts'

interface Pace {
  readonly path: BatchPath
  readonly perSecond: number
  readonly fromMs: number
  readonly isWhole?: boolean
}

const SECONDS = 3

/** How many of the last second's batches went straight, after some seconds at an even pace. */
function straightAt({ path, perSecond, fromMs, isWhole = true }: Pace): number {
  let straight = 0
  for (let batch = 0; batch < perSecond * SECONDS; batch++) {
    const isStraight = path.isStraight(fromMs + (batch * 1000) / perSecond, false, isWhole)
    if (isStraight && batch >= perSecond * (SECONDS - 1)) straight++
  }
  return straight
}

test('few batches go by gossip, many straight, and they go on so until there are clearly fewer', async (t) => {
  const path = new BatchPath()
  t.equal(straightAt({ path, perSecond: 40, fromMs: 0 }), 0)
  t.equal(straightAt({ path, perSecond: 100, fromMs: 3000 }), 100)
  t.equal(straightAt({ path, perSecond: 40, fromMs: 6000 }), 40)
  t.equal(straightAt({ path, perSecond: 20, fromMs: 9000 }), 0)
  t.equal(straightAt({ path, perSecond: 40, fromMs: 12_000 }), 0)
})

test('after a silence they go by gossip again', async (t) => {
  const path = new BatchPath()
  t.equal(straightAt({ path, perSecond: 100, fromMs: 0 }), 100)
  t.equal(path.isStraight(6000, false, true), false)
})

test('while a peer is away many go by gossip, and what is awaited goes straight all the same', async (t) => {
  const path = new BatchPath()
  t.equal(straightAt({ path, perSecond: 100, fromMs: 0, isWhole: false }), 0)
  t.equal(path.isStraight(3000, true, false), true)
  t.equal(path.isStraight(3001, false, true), true)
})

test('in a pool many go straight to the peers, and by gossip again when one of those is away', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  let gossiped = 0
  const broadcast = d1.transport.broadcast.bind(d1.transport)
  d1.transport.broadcast = (topic, message) => {
    if (topic === 'connections') gossiped++
    broadcast(topic, message)
  }
  let written = 0
  /** So many batches of a record each. @returns how many of them were gossiped */
  const write = async (batches: number, everyMs: number) => {
    const before = gossiped
    for (let batch = 0; batch < batches; batch++) {
      d1.write(written++)
      d1.flush()
      await pool.clock.advance(everyMs)
    }
    return gossiped - before
  }
  t.equal(await write(10, 100), 10)
  const first = await write(100, 10)
  t.ok(first > 0 && first <= 50, `${first} of the first were gossiped`)
  t.equal(await write(100, 10), 0, 'it stays so')
  t.ok(sameTables(d1, d2) && sameTables(d1, d3))
  await d3.kill()
  t.equal(await write(100, 10), 100)
  t.ok(sameTables(d1, d2))
  pool.stop()
})
