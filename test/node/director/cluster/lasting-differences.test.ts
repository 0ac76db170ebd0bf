/** Which differences between tables last, and which come and go with the connections. */
import { test } from 'tap'
import { LastingDifferences } from '../../../../node/director/cluster/replication/lasting-differences.ts'
import { DIGEST_RANGES, RANGE_WORDS } from '../../../../protocol/wire/table-digest.ts'

const INTERVAL_MS = 500

/** Notes comparisons at intervals. @param ranges hashes by range */
function createNotes() {
  const differences = new LastingDifferences(DIGEST_RANGES)
  let nowMs = 0
  return {
    forget: (peer: string) => differences.forget(peer),
    note(peer: string, ranges: Record<number, number>, afterMs = INTERVAL_MS): number[] {
      nowMs += afterMs
      const words = new Uint32Array(DIGEST_RANGES * RANGE_WORDS)
      for (const [range, hash] of Object.entries(ranges)) words[Number(range) * 2 + 1] = hash
      return differences.note(peer, words, nowMs)
    },
  }
}

test('a difference that is there again lasts', async (t) => {
  const { note } = createNotes()
  t.same(note('b', { 3: 77, 9: 1 }), [])
  t.same(note('b', { 3: 77, 9: 2 }), [3])
  t.same(note('b', { 3: 77 }), [3])
  t.same(note('b', {}), [])
})

test('it may have been seen with another peer, and many comparisons ago', async (t) => {
  const { note } = createNotes()
  note('b', { 3: 77 })
  for (const peer of ['c', 'd', 'e']) t.same(note(peer, {}), [])
  t.same(note('f', { 3: 77 }), [3])
})

test('what all peers have and this director has not yet, at one moment, does not last', async (t) => {
  const { note } = createNotes()
  t.same(note('b', { 3: 77 }), [])
  t.same(note('c', { 3: 77 }, 20), [])
  t.same(note('b', { 3: 77 }, 20), [])
  t.same(note('c', { 3: 77 }), [3])
})

test('two peers that differ in one range, each in his way, do not hide each other', async (t) => {
  const { note } = createNotes()
  note('b', { 3: 77 })
  t.same(note('c', { 3: 88 }), [])
  t.same(note('b', { 3: 77 }), [3])
  t.same(note('c', { 3: 88 }), [3])
})

test('connections that come and go in all ranges are no lasting difference, and hide none for long', async (t) => {
  const { note } = createNotes()
  let hash = 1
  let found = 0
  for (let comparison = 0; comparison < 30; comparison++) {
    const ranges: Record<number, number> = {}
    for (let range = 0; range < 1000; range++) ranges[range] = hash++
    // In every third comparison something else differs in the range, too.
    if (comparison % 3 !== 2) ranges[500] = 0xffffffff
    const lasting = note('b', ranges)
    t.ok(lasting.every((range) => range === 500))
    found += lasting.length
  }
  t.equal(found, 10)
})

test('of a peer that was forgotten nothing is known', async (t) => {
  const { note, forget } = createNotes()
  note('b', { 3: 77 })
  note('c', { 3: 88 })
  forget('b')
  t.same(note('b', { 3: 77 }), [])
})
