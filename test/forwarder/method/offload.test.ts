/** What a card would have done, done here: where the room for it ends. */
import { test } from 'tap'
import { FramePool, type PooledFrame } from '../../../forwarder/engine/frame-pool.ts'
import { HEADROOM, VNET_HEADER_LENGTH } from '../../../forwarder/link/link.ts'
import { segment } from '../../../forwarder/method/offload.ts'
import { allocateFrameMemory } from '../../../forwarder/sys/memory.ts'
import { clientTcp, segmentationHeader } from '../../support/scene.ts'

const SLOT = 512

test('a frame of which the pool holds only a part is cut as far as that goes, whatever is taken from it meanwhile', async (t) => {
  const pool = new FramePool(allocateFrameMemory(4 * SLOT), SLOT)
  const large = clientTcp({ payload: new Uint8Array(400) })
  const memory = allocateFrameMemory(1024)
  const start = HEADROOM + VNET_HEADER_LENGTH
  memory.bytes.set(segmentationHeader(large, 100), start - VNET_HEADER_LENGTH)
  memory.bytes.set(large, start)
  const frame = { memory, start, length: large.length }
  const emitted: PooledFrame[] = []
  // As a tunnel does with a segment that is too long for it: it is cut into two.
  const isDone = segment(frame, 20, 6, 20, pool, (packet) => emitted.push(packet, pool.take() as PooledFrame))
  t.notOk(isDone)
  t.equal(emitted.length, 4)
  t.equal(pool.free, 0)
})
