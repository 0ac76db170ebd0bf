/** Batches go by gossip until there are many of them, then straight to the peers. */
import { test } from 'tap'
import { BatchPath } from '../../../../node/director/cluster/replication/batch-path.ts'

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
