/** The queue of what is due, against a sorted list. */
import { test } from 'tap'
import { type Due, DueQueue } from '../../../../node/director/health/due-queue.ts'
import { seededRandom } from '../../../random.ts'

test('whatever is added and taken out, the longest due is the first', async (t) => {
  const random = seededRandom(7)
  const queue = new DueQueue<Due>()
  const model = new Set<Due>()
  let wrong = 0
  for (let step = 0; step < 20_000; step++) {
    const known = [...model]
    // It grows and shrinks in turns, and is empty now and then.
    if (known.length === 0 || random.below(100) < (step % 2000 < 1000 ? 60 : 30)) {
      const item = { dueAtMs: random.below(500), place: -1 }
      queue.add(item)
      model.add(item)
    } else {
      const item = random.below(2) === 0 ? (queue.first as Due) : known[random.below(known.length)]
      queue.remove(item)
      model.delete(item)
      if (item.place !== -1) wrong++
    }
    const earliest = model.size === 0 ? undefined : Math.min(...[...model].map(({ dueAtMs }) => dueAtMs))
    if (queue.first?.dueAtMs !== earliest) wrong++
  }
  t.equal(wrong, 0)
})

test('taking out what is in no queue, or in another, does nothing', async (t) => {
  const [queue, other] = [new DueQueue<Due>(), new DueQueue<Due>()]
  const items = [5, 3, 9].map((dueAtMs) => ({ dueAtMs, place: -1 }))
  queue.add(items[0])
  other.add(items[1])
  queue.remove(items[2])
  queue.remove(items[1])
  t.equal(queue.first, items[0])
  t.equal(other.first, items[1])
})
