/** The clock that orders changes of configuration. */
import { test } from 'tap'
import {
  compareStamps,
  HybridLogicalClock,
  MAX_COUNTER,
  MAX_DRIFT_MS,
} from '../../../../node/director/pool/hybrid-logical-clock.ts'

const stamp = (wallMs: number, counter: number, director = 'a') => ({ wallMs, counter, director })

test('stamps follow the wall clock while it moves, and count while it does not', (t) => {
  let now = 1000.7
  const clock = new HybridLogicalClock('a', () => now)
  t.same(clock.next(), stamp(1000, 0))
  t.same(clock.next(), stamp(1000, 1))
  now = 1005
  t.same(clock.next(), stamp(1005, 0))
  now = 900
  t.same(clock.next(), stamp(1005, 1), 'a wall clock that is set back makes no older stamps')
  t.end()
})

test('a stamp made after one was heard is newer than it, whatever the wall clock says', (t) => {
  const clock = new HybridLogicalClock('a', () => 1000)
  clock.witness(stamp(1500, 7, 'b'))
  t.same(clock.next(), stamp(1500, 8))
  clock.witness(stamp(1500, 3, 'b'))
  t.same(clock.next(), stamp(1500, 9), 'an older one changes nothing')
  clock.witness(stamp(1400, 99, 'b'))
  t.same(clock.next(), stamp(1500, 10))
  t.end()
})

test('a counter that is used up moves to the next millisecond', (t) => {
  const clock = new HybridLogicalClock('a', () => 1000)
  clock.witness(stamp(1000, MAX_COUNTER))
  t.same(clock.next(), stamp(1001, 0))
  t.end()
})

test('a stamp is credible up to ten minutes ahead', (t) => {
  const clock = new HybridLogicalClock('a', () => 5000)
  t.equal(MAX_DRIFT_MS, 600_000)
  t.ok(clock.isCredible(stamp(605_000, 0)))
  t.notOk(clock.isCredible(stamp(605_001, 0)))
  t.ok(clock.isCredible(stamp(0, 0)), 'and however old')
  t.end()
})

test('a clock that is set back follows the wall clock again, above what is witnessed anew', (t) => {
  const clock = new HybridLogicalClock('a', () => 1000)
  clock.witness(stamp(9000, 7))
  clock.setBack()
  t.same(clock.next(), stamp(1000, 0))
  clock.setBack()
  clock.witness(stamp(1500, 7, 'b'))
  t.same(clock.next(), stamp(1500, 8))
  t.end()
})

test('stamps are ordered by time, then counter, then the name of the director', (t) => {
  const ordered = [stamp(1, 9, 'z'), stamp(2, 0, 'z'), stamp(2, 1, 'a'), stamp(2, 1, 'b'), stamp(2, 2, 'a')]
  t.same(ordered.toReversed().sort(compareStamps), ordered)
  t.equal(compareStamps(stamp(1, 1, 'a'), stamp(1, 1, 'a')), 0)
  t.end()
})
