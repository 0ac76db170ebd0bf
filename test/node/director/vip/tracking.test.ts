/** What tracked interfaces and scripts make of a priority: keepalived's rules, and bounds of our own. */
import { test } from 'tap'
import { Tracking } from '../../../../node/director/vip/tracking.ts'
import type { TrackConfig } from '../../../../node/director/vip/vip-config.ts'

type Change =
  | readonly [link: string, fault: string | undefined]
  | readonly [script: number, failure: string | undefined]

function tracked(
  weights: { links?: readonly number[]; scripts?: readonly number[] },
  { rise = 1, fall = 1 }: { rise?: number; fall?: number } = {},
): TrackConfig {
  const { links = [], scripts = [] } = weights
  return {
    interfaces: links.map((weight, index) => ({ name: `eth${index}`, weight })),
    scripts: scripts.map((weight, index) => ({
      command: [`/check${index}`],
      weight,
      rise,
      fall,
      intervalMs: 1000,
      timeoutMs: 1000,
    })),
  }
}

const down = (link: string): Change => [link, `${link} is down`]
const up = (link: string): Change => [link, undefined]
const failed = (script: number): Change => [script, 'exit status 1']
const succeeded = (script: number): Change => [script, undefined]

const cases: readonly [
  sentence: string,
  track: TrackConfig,
  changes: readonly Change[],
  priority: number,
  fault?: string,
][] = [
  ['nothing tracked changes nothing', tracked({}), [down('eth0')], 100],
  ['a weight below 0 is not taken away while all is well', tracked({ links: [-20] }), [], 100],
  ['it is while the interface is down', tracked({ links: [-20] }), [down('eth0')], 80],
  ['and no longer when it is up again', tracked({ links: [-20] }), [down('eth0'), up('eth0')], 100],
  ['a weight above 0 is added while all is well', tracked({ links: [20] }), [], 120],
  ['and not while the interface is down', tracked({ links: [20] }), [down('eth0')], 100],
  ['weights add up', tracked({ links: [20, -30], scripts: [-7] }), [down('eth1'), failed(0)], 83],
  ['a script that has not ended adds and takes nothing', tracked({ scripts: [20, -20] }), [], 100],
  ['a script that succeeds adds its weight', tracked({ scripts: [20, -20] }), [succeeded(0), succeeded(1)], 120],
  ['a script that fails takes its weight away', tracked({ scripts: [20, -20] }), [failed(0), failed(1)], 80],
  ['the priority stays above that of a director out of sync', tracked({ links: [-253] }), [down('eth0')], 2],
  ['the priority stays below that of an owner', tracked({ links: [253] }), [], 254],
  [
    'an interface of weight 0 that is down is a fault',
    tracked({ links: [0] }),
    [down('eth0')],
    100,
    'eth0: eth0 is down',
  ],
  [
    'a script of weight 0 is waited for',
    tracked({ scripts: [0] }),
    [],
    100,
    '/check0 has not told yet whether all is well',
  ],
  ['a script of weight 0 that fails is a fault', tracked({ scripts: [0] }), [failed(0)], 100, '/check0: exit status 1'],
  ['and none when it succeeds', tracked({ scripts: [0] }), [failed(0), succeeded(0)], 100],
  [
    'a script fails `fall` times before it counts',
    tracked({ scripts: [-20] }, { fall: 2 }),
    [succeeded(0), failed(0)],
    100,
  ],
  ['then it does', tracked({ scripts: [-20] }, { fall: 2 }), [succeeded(0), failed(0), failed(0)], 80],
  [
    'and succeeds `rise` times before it is well',
    tracked({ scripts: [-20] }, { rise: 2 }),
    [failed(0), succeeded(0)],
    80,
  ],
]

for (const [sentence, track, changes, priority, fault] of cases) {
  test(sentence, async (t) => {
    const tracking = new Tracking(100, track)
    for (const [subject, reason] of changes) {
      if (typeof subject === 'string') tracking.setLink(subject, reason)
      else tracking.setScript(subject, reason)
    }
    t.equal(tracking.priority, priority)
    t.equal(tracking.fault, fault)
  })
}

test('without weights a priority is what was configured, whatever that is', async (t) => {
  for (const priority of [1, 255]) t.equal(new Tracking(priority, tracked({ links: [0] })).priority, priority)
})
