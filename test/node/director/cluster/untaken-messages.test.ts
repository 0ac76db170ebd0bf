/** Messages between two threads, so many at a time. */
import { test } from 'tap'
import { UNTAKEN_MAX, UntakenMessages } from '../../../../node/director/cluster/untaken-messages.ts'

test('no more than so many messages are under way, and as many as are taken may follow', async (t) => {
  const taking = new UntakenMessages()
  const posting = new UntakenMessages(taking.shared)
  const posted = (times: number) => Array.from({ length: times }, () => posting.post()).filter(Boolean).length
  t.equal(posted(UNTAKEN_MAX + 10), UNTAKEN_MAX)
  for (let each = 0; each < 3; each++) taking.take()
  t.equal(posted(10), 3)
})

test('the count goes on beyond what its memory can hold', async (t) => {
  const posting = new UntakenMessages()
  // As if 2^32 had been posted, and all but so many taken.
  new Int32Array(posting.shared)[0] = -(UNTAKEN_MAX - 2)
  t.same([posting.post(), posting.post(), posting.post()], [true, true, false])
  posting.take()
  t.ok(posting.post())
})
