/** Which differences between tables last, and which come and go with the connections. */
import { test } from 'tap'
import { LastingDifferences } from '../../../../node/director/cluster/replication/lasting-differences.ts'
import { DIGEST_WORDS } from '../../../../protocol/wire/table-digest.ts'

function difference(ranges: Record<number, number>): Uint32Array {
  const words = new Uint32Array(DIGEST_WORDS)
  for (const [range, hash] of Object.entries(ranges)) words[Number(range) * 2 + 1] = hash
  return words
}

test('a difference that is there again lasts', async (t) => {
  const differences = new LastingDifferences()
  t.same(differences.note('b', difference({ 3: 77, 9: 1 })), [])
  t.same(differences.note('b', difference({ 3: 77, 9: 2 })), [3])
  t.same(differences.note('b', difference({ 3: 77 })), [3])
  t.same(differences.note('b', difference({})), [])
})

test('it may have been seen with another peer, and many comparisons ago', async (t) => {
  const differences = new LastingDifferences()
  differences.note('b', difference({ 3: 77 }))
  for (const peer of ['c', 'd', 'e']) t.same(differences.note(peer, difference({})), [])
  t.same(differences.note('f', difference({ 3: 77 })), [3])
})

test('two peers that differ in one range, each in his way, do not hide each other', async (t) => {
  const differences = new LastingDifferences()
  differences.note('b', difference({ 3: 77 }))
  t.same(differences.note('c', difference({ 3: 88 })), [])
  t.same(differences.note('b', difference({ 3: 77 })), [3])
  t.same(differences.note('c', difference({ 3: 88 })), [3])
})

test('connections that come and go in all ranges are no lasting difference, and hide none for long', async (t) => {
  const differences = new LastingDifferences()
  let hash = 1
  let found = 0
  for (let comparison = 0; comparison < 30; comparison++) {
    const ranges: Record<number, number> = {}
    for (let range = 0; range < 1000; range++) ranges[range] = hash++
    // In every third comparison something else differs in the range, too.
    if (comparison % 3 !== 2) ranges[500] = 0xffffffff
    const lasting = differences.note('b', difference(ranges))
    t.ok(lasting.every((range) => range === 500))
    found += lasting.length
  }
  t.equal(found, 10)
})

test('of a peer that was forgotten nothing is known', async (t) => {
  const differences = new LastingDifferences()
  differences.note('b', difference({ 3: 77 }))
  differences.note('c', difference({ 3: 88 }))
  differences.forget('b')
  t.same(differences.note('b', difference({ 3: 77 })), [])
})
