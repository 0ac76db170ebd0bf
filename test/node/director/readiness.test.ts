/** What a director waits for before it takes addresses from another. */
import { test } from 'tap'
import { Readiness } from '../../../node/director/readiness.ts'

function newcomer() {
  const facts = {
    ...{ inSync: true, peers: ['d2'], refusedStamps: 0, isInformed: false, nowMs: 0 },
    configuration: { toldAtMs: Number.NEGATIVE_INFINITY, agreedAtMs: Number.NEGATIVE_INFINITY },
  }
  const changes: string[] = []
  const readiness = new Readiness({
    records: () => ({ inSync: facts.inSync, reason: facts.inSync ? 'has all that the peers sent' : 'lacks records' }),
    connectedPeers: () => facts.peers,
    configuration: facts.configuration,
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
  facts.configuration.toldAtMs = 1
  t.match(readiness.state, { inSync: false, reason: /servers/ })
  facts.isInformed = true
  t.ok(readiness.state.inSync)
  t.same(changes, ['false: lacks records', 'true: has all that the peers sent'], 'each change is told once')
})

test('once it had all, only the connections count; after it was without peers for long, all does again', async (t) => {
  const { facts, readiness } = newcomer()
  facts.configuration.toldAtMs = 1
  facts.isInformed = true
  t.ok(readiness.state.inSync)
  facts.isInformed = false
  t.ok(readiness.state.inSync)
  for (const [aloneMs, isReady] of [
    [9_999, true],
    [10_000, false],
  ] as const) {
    facts.peers = []
    t.ok(readiness.state.inSync, 'without peers there is nothing to wait for')
    facts.nowMs += aloneMs
    facts.peers = ['d3']
    t.equal(readiness.state.inSync, isReady, `${aloneMs} ms alone`)
  }
  facts.isInformed = true
  t.match(readiness.state, { inSync: false, reason: /configuration/ }, 'what it was told before is old')
  facts.configuration.toldAtMs = facts.nowMs
  t.ok(readiness.state.inSync)
})

test('peers of another version, and servers that nobody can ask, are not waited for for ever', async (t) => {
  for (const isTold of [false, true]) {
    const { facts, readiness } = newcomer()
    if (isTold) facts.configuration.toldAtMs = 1
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
  facts.configuration.toldAtMs = 1
  facts.refusedStamps = 5
  t.notOk(readiness.state.inSync)
  facts.refusedStamps = 6
  facts.nowMs = 3_600_000
  t.match(readiness.state, { inSync: false, reason: /clock/ })
  facts.configuration.agreedAtMs = facts.nowMs
  t.ok(readiness.state.inSync)
})
