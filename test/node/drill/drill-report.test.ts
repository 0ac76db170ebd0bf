/** What a drill concludes from what it measured. */
import { test } from 'tap'
import {
  judge,
  type Observations,
  percentile,
  resultTable,
  summaryTable,
  verdictSentence,
} from '../../../node/drill/drill-report.ts'
import { crash } from '../../../node/drill/failures/crash.ts'
import { flap } from '../../../node/drill/failures/flap.ts'
import { handover } from '../../../node/drill/failures/handover.ts'
import { join } from '../../../node/drill/failures/join.ts'
import { partition } from '../../../node/drill/failures/partition.ts'
import { rollingRestart } from '../../../node/drill/failures/rolling-restart.ts'
import { serverDeath } from '../../../node/drill/failures/server-death.ts'

/** A crash that nobody noticed: 100 sessions, paused for 101 to 200 ms. */
function observed(changes: Partial<Observations> = {}, load: Partial<Observations['load']> = {}): Observations {
  return {
    failure: crash,
    method: 'nat',
    family: 'ipv6',
    sync: 'established',
    directors: 3,
    servers: 3,
    sessions: 100,
    fault: { victim: 'd1', atMs: 5000 },
    reaction: { active: 'd2', atMs: 5172.34, sinceMs: 5000 },
    remains: undefined,
    missingRecords: 0,
    load: {
      opened: 100,
      lost: [],
      baselinePausesMs: [3, 12.5, 7],
      // Not in order, as sessions are not.
      pausesMs: Array.from({ length: 100 }, (_, i) => 101 + ((i * 37) % 100)),
      connections: { attempted: 500, failed: [], setUpMs: [1, 2, 3] },
      downloads: { started: 8, intact: 8, failed: [] },
      ...load,
    },
    ...changes,
  }
}
const lost = (server: string) => ({ client: '10.1.0.201:40000', server, reason: 'ECONNRESET', atMs: 5200 })

test('a drill without a loss passes, with the numbers of the sessions', (t) => {
  const verdict = judge(observed())
  t.same(verdict.result.needless, [])
  t.same(verdict.result, {
    drill: 'crash',
    method: 'nat',
    family: 'ipv6',
    directors: 3,
    servers: 3,
    sessions: { opened: 100, survived: 100, lost: 0 },
    pauseMs: { baseline: 12.5, baselineP99: 12.5, p50: 150, p99: 199, max: 200 },
    takeoverMs: 172.3,
    newConnections: { attempted: 500, failed: 0, setUpMs: { p50: 2, p99: 3 } },
    downloads: { started: 8, intact: 8 },
    missingRecords: 0,
    needless: [],
    excused: [],
  })
  t.match(
    verdictSentence(verdict),
    /was killed, one held the virtual address 172.3 ms later and none of 100 sessions was lost; 99 of 100 paused/,
  )
  t.match(resultTable(verdict), /crash, nat, IPv6, 3 directors/)
  t.match(resultTable(verdict), /100 opened, 100 survived, 0 lost/)
  t.end()
})

test('each thing that a pool must not lose fails the drill', (t) => {
  const cases: [string, Observations, RegExp][] = [
    ['a session', observed({}, { lost: [lost('s1'), lost('s2')] }), /2 sessions lost \(2 x ECONNRESET; with s1, s2\)/],
    ['a session that never opened', observed({}, { opened: 99 }), /1 of 100 sessions could not be opened/],
    ['a pool that stays broken', observed({ remains: 'd2: not in sync' }), /did not recover: d2: not in sync/],
    [
      'a director that does not stop',
      observed({ failure: rollingRestart, fault: { victim: 'd1', atMs: 5000, hung: ['d2'] } }),
      /d2 did not end in time when it was stopped, and was killed/,
    ],
    ['a record', observed({ missingRecords: 3 }), /3 connection records were missing/],
    ['the virtual address', observed({ reaction: undefined }), /nobody took the virtual address over/],
    [
      'a download',
      observed(
        {},
        {
          downloads: {
            started: 2,
            intact: 1,
            failed: [{ server: 's1', startedMs: 1, failedMs: 5100, reason: 'SHA-256 differs' }],
          },
        },
      ),
      /1 download lost \(SHA-256 differs; begun at -5.00 s; with s1\)/,
    ],
    [
      'a connection begun after the crash',
      observed(
        {},
        { connections: { attempted: 2, failed: [{ startedMs: 5011, reason: 'ECONNREFUSED' }], setUpMs: [] } },
      ),
      /1 new connection lost \(ECONNREFUSED; begun at (0.01|-0.20) s\)/,
    ],
    [
      'a connection begun long before the crash',
      observed(
        {},
        { connections: { attempted: 2, failed: [{ startedMs: 4800, reason: 'ECONNREFUSED' }], setUpMs: [] } },
      ),
      /1 new connection lost \(ECONNREFUSED; begun at (0.01|-0.20) s\)/,
    ],
  ]
  for (const [what, observations, message] of cases) {
    const verdict = judge(observations)
    t.match(verdict.result.needless.join('; '), message, what)
    t.match(verdictSentence(verdict), /^The drill failed: /, what)
  }
  t.end()
})

test('a connection in its handshake at a crash is excused, at a handover it is not', (t) => {
  const connections = { attempted: 2, failed: [{ startedMs: 4990, reason: 'no answer within 10 s' }], setUpMs: [] }
  const crash = judge(observed({}, { connections }))
  t.same(crash.result.needless, [])
  t.match(verdictSentence(crash), /as the failure explains, 1 new connection lost/)
  t.equal(crash.result.newConnections.failed, 1)
  t.equal(judge(observed({ failure: handover }, { connections })).result.needless.length, 1)
  t.equal(judge(observed({ sync: 'confirmed' }, { connections })).result.needless.length, 1, 'nor with confirmed sync')
  t.end()
})

test('a handshake counts from its first SYN until the client saw its end, since a SYN may be lost', (t) => {
  const failed = (startedMs: number, connectedMs: number) =>
    judge(
      observed(
        {},
        { connections: { attempted: 2, failed: [{ startedMs, connectedMs, reason: 'no answer' }], setUpMs: [] } },
      ),
    )
  t.same(failed(3950, 4970).result.needless, [])
  t.equal(failed(3950, 3960).result.needless.length, 1)
  t.equal(failed(5200, 5210).result.needless.length, 1)
  t.end()
})

const begun = (...times: number[]) => ({
  connections: { attempted: 9, failed: times.map((startedMs) => ({ startedMs, reason: 'no answer' })), setUpMs: [] },
})

test('of several losses each may cost the connections in their handshake at it', (t) => {
  const changes = { failure: flap, fault: { victim: 'd1', atMs: 5000, lossesMs: [5000, 7000] } }
  t.same(judge(observed(changes, begun(4950, 6950, 7010))).result.needless, [])
  t.match(judge(observed(changes, begun(4950, 5950, 6950))).result.needless, [
    /1 new connection lost .*begun at 0.95 s/,
  ])
  t.end()
})

test('what begins while nobody can be told of it is excused until one director is active again', (t) => {
  const apart = { failure: partition, reaction: { active: 'd1', atMs: 8040, sinceMs: 8000 } }
  const verdict = judge(observed(apart, begun(5500, 8100)))
  t.same(verdict.result.needless, [])
  t.equal(verdict.result.takeoverMs, 40)
  t.equal(judge(observed(apart, begun(8200))).result.needless.length, 1)
  t.equal(
    judge(observed(apart, { lost: [lost('s1')] })).result.needless.length,
    1,
    'a session that was there before is not',
  )
  t.end()
})

test('a download that begins at a crash is excused as any connection is, whether it had begun to come or not', (t) => {
  const needless = (failure: Observations['failure'], startedMs: number) => {
    const failed = [{ server: 's1', startedMs, failedMs: 15_000, reason: 'no progress for 10 s' }]
    return judge(observed({ failure }, { downloads: { started: 3, intact: 2, failed } })).result.needless.length
  }
  t.equal(needless(crash, 4970), 0)
  t.equal(needless(crash, 4800), 1)
  t.equal(needless(handover, 4970), 1)
  t.end()
})

test('a planned change excuses nothing', (t) => {
  for (const failure of [handover, rollingRestart, join]) {
    t.equal(judge(observed({ failure }, begun(4990))).result.needless.length, 1, failure.name)
  }
  t.end()
})

test('several drills make one table, a line each', (t) => {
  const verdicts = [
    judge(observed()),
    judge(observed({ failure: flap }, begun(4990))),
    judge(observed({ missingRecords: 1 })),
  ]
  const lines = summaryTable(verdicts)
    .split('\n')
    .filter((line) => /passed|failed *│$/.test(line))
  t.equal(lines.length, 3)
  t.match(lines, [/crash.*0 of 100.*199 ms, 12.5 ms.*172.3 ms.*passed/, /flap.*losses explained/, /failed/])
  t.end()
})

test('when a server dies only its own sessions, and what was given to it before it was found dead, may end', (t) => {
  const death = {
    failure: serverDeath,
    fault: { victim: 's1', atMs: 5000 },
    reaction: { active: 'd1', atMs: 5900, sinceMs: null },
  } as const
  const own = judge(
    observed(death, {
      lost: [lost('s1')],
      connections: { attempted: 9, failed: [{ startedMs: 5500, reason: 'no answer within 10 s' }], setUpMs: [] },
      downloads: {
        started: 3,
        intact: 1,
        failed: [
          { server: 's1', startedMs: 100, failedMs: 5200, reason: 'ECONNRESET' },
          { server: '', startedMs: 5500, failedMs: 9000, reason: 'no progress' },
        ],
      },
    }),
  )
  t.same(own.result.needless, [])
  t.equal(own.result.sessions.lost, 1)
  t.equal(own.result.takeoverMs, null)
  t.match(verdictSentence(own), /99 of 100 sessions lived on/)

  const others = judge(
    observed(death, {
      lost: [lost('s2')],
      connections: { attempted: 9, failed: [{ startedMs: 6100, reason: 'no answer within 10 s' }], setUpMs: [] },
      downloads: {
        started: 1,
        intact: 0,
        failed: [{ server: 's2', startedMs: 5500, failedMs: 5600, reason: 'ECONNRESET' }],
      },
    }),
  )
  t.equal(others.result.needless.length, 3)

  const earlier = judge(
    observed(death, {
      lost: [{ ...lost('s1'), atMs: 4900 }],
      downloads: {
        started: 1,
        intact: 0,
        failed: [{ server: 's1', startedMs: 100, failedMs: 4900, reason: 'ECONNRESET' }],
      },
    }),
  )
  t.equal(earlier.result.needless.length, 2, 'its death explains nothing that was lost before it')
  t.end()
})

test('what a server had not answered yet dies with it, if it had not long been due', (t) => {
  const death = {
    failure: serverDeath,
    fault: { victim: 's1', atMs: 5000 },
    reaction: { active: 'd1', atMs: 5900, sinceMs: null },
  } as const
  const needless = (startedMs: number, server?: string) => {
    const failed = [{ startedMs, connectedMs: startedMs + 10, server, reason: 'no answer within 10 s' }]
    return judge(observed(death, { connections: { attempted: 9, failed, setUpMs: [] } })).result.needless.length
  }
  t.equal(needless(4000, 's1'), 0)
  t.equal(needless(2900, 's1'), 1)
  t.equal(needless(4000, 's2'), 1)
  t.equal(needless(4000), 1, 'nobody knows whose it was')
  t.end()
})

test('what is known of a lost connection is told', (t) => {
  const failed = [
    { startedMs: 3990, connectedMs: 4500, server: 's2', reason: 'no answer' },
    { startedMs: 4150, connectedMs: 4400, server: 's1', reason: 'no answer' },
    { startedMs: 4100, reason: 'no answer' },
  ]
  const { needless } = judge(observed({}, { connections: { attempted: 9, failed, setUpMs: [] } })).result
  t.match(needless, [/\(3 x no answer; begun at -1.01 to -0.85 s, established at -0.60 to -0.50 s; with s1, s2\)$/])
  t.end()
})

test('a percentile is the nearest rank', (t) => {
  t.equal(percentile([1, 2, 3, 4], 50), 2)
  t.equal(percentile([1, 2, 3, 4], 99), 4)
  t.equal(percentile([5], 50), 5)
  t.equal(percentile([], 99), 0)
  t.end()
})
