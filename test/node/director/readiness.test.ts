/** What a director waits for before it takes addresses from another. */
import { test } from 'tap'
import { Readiness } from '../../../node/director/readiness.ts'

function newcomer() {
  const facts = { inSync: true, peers: ['d2'], hasAgreed: false, refusedStamps: 0, isInformed: false, nowMs: 0 }
  const changes: string[] = []
  const readiness = new Readiness({
    records: () => ({ inSync: facts.inSync, reason: facts.inSync ? 'has all that the peers sent' : 'lacks records' }),
    connectedPeers: () => facts.peers,
    hasAgreed: () => facts.hasAgreed,
    refusedStamps: () => facts.refusedStamps,
    isInformed: () => facts.isInformed,
    monotonicMs: () => facts.nowMs,
    onChange: ({ inSync, reason }) => changes.push(`${inSync}: ${reason}`),
  })
  return { facts, readiness, changes }
}

test('a director that has met peers waits for their connections, their configuration and what they know of servers', async (t) => {
  const { facts, readiness, changes } = newcomer()
  facts.inSync = false
  t.match(readiness.state, { inSync: false, reason: 'lacks records' })
  facts.inSync = true
  t.match(readiness.state, { inSync: false, reason: /configuration/ })
  facts.hasAgreed = true
  t.match(readiness.state, { inSync: false, reason: /servers/ })
  facts.isInformed = true
  t.ok(readiness.state.inSync)
  t.same(changes, ['false: lacks records', 'true: has all that the peers sent'], 'each change is told once')
})

test('once it had all, only the connections count; after it was without peers, all does again', async (t) => {
  const { facts, readiness } = newcomer()
  facts.hasAgreed = true
  facts.isInformed = true
  t.ok(readiness.state.inSync)
  facts.hasAgreed = false
  facts.isInformed = false
  t.ok(readiness.state.inSync, 'a change of the configuration that is on its way')
  facts.peers = []
  t.ok(readiness.state.inSync, 'without peers there is nothing to wait for')
  facts.peers = ['d3']
  t.notOk(readiness.state.inSync)
})

test('peers of another version, and servers that nobody can ask, are not waited for for ever', async (t) => {
  for (const hasAgreed of [false, true]) {
    const { facts, readiness } = newcomer()
    facts.hasAgreed = hasAgreed
    facts.nowMs = 77_000
    t.notOk(readiness.state.inSync)
    facts.nowMs += 9_999
    t.notOk(readiness.state.inSync)
    facts.nowMs += 1
    t.ok(readiness.state.inSync)
  }
})

test('a director whose clock is behind what peers have changed waits until it is right', async (t) => {
  const { facts, readiness } = newcomer()
  facts.refusedStamps = 5
  t.notOk(readiness.state.inSync)
  facts.refusedStamps = 6
  facts.nowMs = 3_600_000
  t.match(readiness.state, { inSync: false, reason: /clock/ })
  facts.hasAgreed = true
  t.ok(readiness.state.inSync)
})
