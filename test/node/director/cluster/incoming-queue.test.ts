/** Records of peers on their way to the forwarder, over a ring that has less room than there are records. */
import { test } from 'tap'
import { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import { IncomingQueue } from '../../../../node/director/cluster/replication/incoming-queue.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'
import { blockOf } from '../../../../protocol/wire/record-block.ts'
import { makeRecord } from './record.ts'

const block = (count: number) => blockOf(Buffer.concat(Array.from({ length: count }, (_, n) => makeRecord(n, 1))))

function queueWithRoomFor(slots: number) {
  const clock = new VirtualClock()
  const ring = new RecordRing(RecordRing.allocate(slots))
  let wakes = 0
  const queue = new IncomingQueue({ ring, clock, wake: () => wakes++, onEmpty: () => {} })
  return {
    queue,
    /** How many the forwarder finds, as time goes on, and how often it is woken. */
    async taken() {
      let records = 0
      for (let ms = 0; ms < 10; ms++, await clock.advance(1)) {
        for (; ring.peek() >= 0; records++) ring.advance()
      }
      return { records, wakes }
    },
  }
}

test('what has no room waits until the forwarder has taken the rest', async (t) => {
  const { queue, taken } = queueWithRoomFor(2)
  queue.push(block(3))
  queue.push(block(2))
  t.same(await taken(), { records: 5, wakes: 3 })
})

for (const [sentence, waiting] of [
  ['with records that wait', 3],
  ['with none', 2],
] as const) {
  test(`a queue that has stopped ${sentence} tries the ring no more, whatever comes then`, async (t) => {
    const { queue, taken } = queueWithRoomFor(2)
    queue.push(block(waiting))
    queue.stop()
    queue.push(block(1))
    t.same(await taken(), { records: 2, wakes: 1 })
  })
}
