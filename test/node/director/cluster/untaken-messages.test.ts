/** Messages between two threads, so many at a time. */
import { test } from 'tap'
import { UNTAKEN_MAX, UntakenMessages } from '../../../../node/director/cluster/untaken-messages.ts'

/** The places of those that may be posted. */
function post(posting: UntakenMessages, peer: string, times: number): number[] {
  return Array.from({ length: times }, () => posting.post(peer)).filter((place) => place !== undefined)
}

test('of one peer half of all messages are under way at most, and as many as are taken may follow', async (t) => {
  const taking = new UntakenMessages()
  const posting = new UntakenMessages(taking.shared)
  const places = post(posting, 'a', UNTAKEN_MAX)
  t.equal(places.length, UNTAKEN_MAX / 2)
  for (const place of places.slice(0, 3)) taking.take(place)
  t.equal(post(posting, 'a', 10).length, 3)
})

test('peers that say too much leave room for one who does not, however many they are', async (t) => {
  const posting = new UntakenMessages()
  for (let round = 0; round < UNTAKEN_MAX; round++) for (const peer of ['a', 'b', 'c']) post(posting, peer, 1)
  t.equal(post(posting, 'd', UNTAKEN_MAX).length, UNTAKEN_MAX / 8)
})

test('peers that are gone take no room once their messages are taken', async (t) => {
  const posting = new UntakenMessages()
  for (let peer = 0; peer < 1000; peer++) for (const place of post(posting, `${peer}`, 2)) posting.take(place)
  t.equal(post(posting, 'a', UNTAKEN_MAX).length, UNTAKEN_MAX / 2)
  t.same(post(posting, 'b', 1), [1], "and its place is nobody else's while some are under way")
})

test('the count goes on beyond what its memory can hold', async (t) => {
  const posting = new UntakenMessages()
  posting.post('a')
  // As if 2^32 had been posted, and all but so many taken.
  new Int32Array(posting.shared)[0] = -(UNTAKEN_MAX / 2 - 2)
  t.same([posting.post('a'), posting.post('a')], [0, undefined])
  posting.take(0)
  t.equal(posting.post('a'), 0)
})
