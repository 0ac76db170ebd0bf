/** Whom a newcomer asks for a snapshot, and when it needs none. */
import { test } from 'tap'
import { decideJoin, type JoinCandidate } from '../../../../node/director/cluster/replication/join-decision.ts'

const peer = (name: string, state: JoinCandidate['state'], avoided = false): JoinCandidate => ({ name, state, avoided })
const EARLY = false
const LATE = true

const cases: [string, Parameters<typeof decideJoin>, object][] = [
  ['alone by configuration: starts the pool', ['d2', [], 0, EARLY], { kind: 'found' }],
  ['nobody reached yet: waits', ['d2', [], 2, EARLY], { kind: 'wait', reason: /0 of 2 reached/ }],
  ['nobody reached in time: starts the pool', ['d2', [], 2, LATE], { kind: 'found' }],
  ['a peer in sync: copies from it at once', ['d2', [peer('d3', 'in-sync')], 2, EARLY], { kind: 'copy', from: 'd3' }],
  [
    'several: from one in sync, then by name',
    ['d9', [peer('d1', 'joined'), peer('d4', 'in-sync'), peer('d3', 'in-sync')], 3, EARLY],
    { kind: 'copy', from: 'd3' },
  ],
  [
    'one that has just failed: from another',
    ['d9', [peer('d3', 'in-sync', true), peer('d4', 'joined')], 3, EARLY],
    { kind: 'copy', from: 'd4' },
  ],
  [
    'the only one has just failed: waits a moment',
    ['d9', [peer('d3', 'in-sync', true)], 3, EARLY],
    { kind: 'wait', reason: /asks d3 again/ },
  ],
  [
    'all newcomers, all there, we are the lowest: starts the pool',
    ['d1', [peer('d3', 'newcomer'), peer('d2', 'newcomer')], 2, EARLY],
    { kind: 'found' },
  ],
  [
    'all newcomers, a lower one there: waits for it',
    ['d2', [peer('d3', 'newcomer'), peer('d1', 'newcomer')], 2, LATE],
    { kind: 'wait', reason: /d1, which starts the pool/ },
  ],
  [
    'a peer that has not spoken: waits to hear from it',
    ['d1', [peer('d2', undefined)], 1, LATE],
    { kind: 'wait', reason: /hear from d2/ },
  ],
  [
    'some newcomers, others not reached: waits until the time is over',
    ['d1', [peer('d2', 'newcomer')], 2, EARLY],
    { kind: 'wait', reason: /1 of 2 reached/ },
  ],
]

for (const [sentence, input, expected] of cases) {
  test(sentence, async (t) => {
    t.match(decideJoin(...input), expected)
  })
}
