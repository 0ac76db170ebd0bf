/** What goes on and on is told rarely. */
import { test } from 'tap'
import { RareNotes } from '../../../node/director/rare-notes.ts'
import { VirtualClock } from '../../../node/director/virtual-clock.ts'

test('each kind is told at once, and again after ten minutes', async (t) => {
  const clock = new VirtualClock()
  const told: string[] = []
  const notes = new RareNotes(clock, (message) => told.push(message))
  for (let second = 0; second <= 1200; second++) {
    notes.tell('a', `a ${second}`)
    if (second >= 60) notes.tell('b', `b ${second}`)
    await clock.advance(1000)
  }
  t.same(told, ['a 0', 'b 60', 'a 600', 'b 660', 'a 1200'])
})
