/** What the words of a HAProxy agent do to what is known of its server. What HAProxy itself makes of them: test/interop/haproxy-agent.test.ts. */
import { test } from 'tap'
import {
  type AgentState,
  afterAnswer,
  isAway,
  isDrained,
  NOTHING_SAID,
} from '../../../../node/director/load/agent-answer.ts'

const cases: [what: string, lines: string[], Partial<AgentState>][] = [
  ['a weight', ['75%'], { weightPercent: 75 }],
  ['a weight above the configured one', ['250%'], { weightPercent: 250 }],
  ['a weight above any', ['999999999999%'], { weightPercent: 25_600 }],
  ['a number of connections', ['maxconn:30'], { maxConnections: 30 }],
  ['no bound of the agent any more', ['maxconn:30', 'maxconn:0'], { maxConnections: 0 }],
  [
    'words of each kind, in any order and case',
    ['MAINT,up\t12%  maxConn:5'],
    { administration: 'maint', weightPercent: 12, maxConnections: 5 },
  ],
  ['of several of a kind the last', ['10% drain 20% ready'], { weightPercent: 20 }],
  ['what is not said stays', ['50% drain', 'up'], { weightPercent: 50, administration: 'drain' }],
  ['ready ends what the agent had asked for', ['maint', 'ready'], {}],
  ['up ends down', ['down', '50%', 'up'], { weightPercent: 50 }],
  ['a weight does not', ['down', '100%'], { weightPercent: 100, isDown: true }],
  ['ready does not', ['down', 'ready'], { isDown: true }],
  ['a reason', ['down # disk full'], { isDown: true, description: 'disk full' }],
  ['a reason with another sharp', ['up#a # b'], { description: 'a # b' }],
  ['a reason counts for its own line', ['down # disk full', 'down'], { isDown: true }],
  ['words in a reason are none', ['50% # drain down'], { weightPercent: 50, description: 'drain down' }],
  ['a reason that would move a terminal', ['up # \x1b[2J\x07ok\xff'], { description: '[2J ok' }],
  ['a reason without end', [`up # ${'x'.repeat(5000)}`], { description: 'x'.repeat(120) }],
  ['what is no word', ['50 %5 -5% 5.5% 0x5% 5%% maxconn: maxconn:-1 maxconn:1x constructor __proto__ upp', ''], {}],
  ...['down', 'fail', 'failed', 'stopped'].map((word): (typeof cases)[0] => [word, [word], { isDown: true }]),
]

for (const [what, lines, changes] of cases) {
  test(what, async (t) => {
    t.same(lines.reduce(afterAnswer, NOTHING_SAID), { ...NOTHING_SAID, ...changes })
  })
}

test('drained is a server that keeps its clients, away one that is not used', async (t) => {
  const of = (line: string) => {
    const state = afterAnswer(NOTHING_SAID, line)
    return [isDrained(state), isAway(state)]
  }
  t.same(['up', 'drain', '0%', 'maint', 'down', '1%'].map(of), [
    [false, false],
    [true, false],
    [true, false],
    [false, true],
    [false, true],
    [false, false],
  ])
})
