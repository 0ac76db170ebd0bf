/** Which batches of a sender are missing, whatever order they come in. */
import { test } from 'tap'
import { SequenceTracker } from '../../../../node/director/cluster/replication/sequence-tracker.ts'
import { seededRandom, seeds } from '../../../random.ts'

/** Batch n has n records, so that counts cannot be right by chance. */
const before = (n: number) => (n * (n - 1)) / 2
const batch = (n: number) => ({ sequence: n, recordsBefore: before(n), count: n })

test('numbers in order leave nothing missing', async (t) => {
  const tracker = new SequenceTracker('e')
  for (let n = 1; n <= 5; n++) t.equal(tracker.accept(batch(n), 0), 'next')
  t.match(tracker, { sequence: 5, records: 15, recordsBehind: 0, missingSince: undefined })
})

test('a hole is named, from the moment it was noticed, until it is filled', async (t) => {
  const tracker = new SequenceTracker('e')
  tracker.accept(batch(1), 0)
  t.equal(tracker.accept(batch(4), 100), 'early')
  t.match(tracker, { sequence: 1, records: 5, recordsBehind: 5, missingSince: 100 })
  t.same(tracker.missing(105, 10, 99), [], 'not before the grace is over')
  t.same(tracker.missing(110, 10, 99), [{ from: 2, to: 3 }])
  t.equal(tracker.accept(batch(3), 120), 'late')
  t.same(tracker.missing(120, 10, 99), [{ from: 2, to: 2 }])
  t.equal(tracker.accept(batch(2), 130), 'late')
  t.match(tracker, { sequence: 4, records: 10, recordsBehind: 0, missingSince: undefined })
})

test('what the sender announces and nobody has seen is missing', async (t) => {
  const tracker = new SequenceTracker('e')
  tracker.accept(batch(1), 0)
  tracker.announce(3, before(4), 50)
  t.match(tracker, { recordsBehind: 5, missingSince: 50 })
  t.same(tracker.missing(60, 10, 99), [{ from: 2, to: 3 }])
  tracker.announce(2, before(3), 70)
  t.equal(tracker.recordsBehind, 5, 'an older announcement changes nothing')
  tracker.accept(batch(3), 80)
  t.equal(tracker.missingSince, 50, 'it is still the same hole')
})

test('a snapshot fills all holes up to its position', async (t) => {
  const tracker = new SequenceTracker('e')
  for (const n of [2, 5, 6, 9]) tracker.accept(batch(n), 0)
  tracker.advanceTo(4, before(5))
  t.match(tracker, { sequence: 6, records: before(7) + 9, recordsBehind: 15 })
  t.same(tracker.missing(99, 0, 99), [{ from: 7, to: 8 }])
  tracker.advanceTo(3, before(4))
  t.equal(tracker.sequence, 6, 'an older position changes nothing')
  tracker.advanceTo(20, before(21))
  t.match(tracker, { sequence: 20, records: before(21), hasHoles: false })
  t.equal(tracker.accept(batch(20), 0), 'duplicate')
})

test('only so many numbers are asked for at once', async (t) => {
  const tracker = new SequenceTracker('e')
  for (const n of [10, 20]) tracker.accept(batch(n), 0)
  t.same(tracker.missing(99, 0, 12), [
    { from: 1, to: 9 },
    { from: 11, to: 13 },
  ])
})

test('too many holes are refused, and memory stays bounded', async (t) => {
  const tracker = new SequenceTracker('e')
  let refused = 0
  for (let n = 2; n < 10_000; n += 2) if (tracker.accept(batch(n), 0) === 'refused') refused++
  t.equal(refused, 4999 - 1024)
  t.equal(tracker.accept(batch(1), 0), 'late', 'a hole can still be filled')
})

test('with as many holes as there may be the first one can be filled, however long it is', async (t) => {
  const tracker = new SequenceTracker('e')
  for (let n = 400; tracker.accept(batch(n), 0) !== 'refused'; n += 2);
  for (let n = 1; n < 399; n++) {
    if (tracker.accept(batch(n), 0) !== 'late' || tracker.sequence !== n) t.fail(`batch ${n}`)
  }
  t.equal(tracker.accept(batch(399), 0), 'late')
  t.match(tracker, { sequence: 400, hasHoles: true })
})

for (const seed of seeds(3)) {
  test(`any order of arrival is accounted for as a set would (seed ${seed})`, async (t) => {
    const { below, oneIn } = seededRandom(seed)
    for (let round = 0; round < 50; round++) {
      const tracker = new SequenceTracker('e')
      const come = new Set<number>()
      const last = 1 + below(60)
      let highest = 0
      for (let step = 0; step < 80; step++) {
        const n = 1 + below(last)
        const verdict = tracker.accept(batch(n), step)
        const expected = come.has(n) ? 'duplicate' : n <= highest ? 'late' : n === come.size + 1 ? 'next' : 'early'
        if (verdict !== expected) t.equal(verdict, expected, `round ${round}, step ${step}, number ${n}`)
        come.add(n)
        highest = Math.max(highest, n)
        if (oneIn(20)) tracker.announce(last, before(last + 1), step)
      }
      let first = 1
      while (come.has(first)) first++
      const records = [...come].reduce((sum, n) => sum + n, 0)
      t.match(tracker, { sequence: first - 1, highest, records })
      const missing = new Set(tracker.missing(1e9, 0, 1e9).flatMap(({ from, to }) => range(from, to)))
      t.ok(range(1, highest).every((n) => missing.has(n) !== come.has(n)))
    }
  })
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}
