/** The lines of `director events`. */
import { test } from 'tap'
import { eventLine } from '../../../node/cli/director/event-line.ts'
import type { VipStatus } from '../../../node/director/control/answers.ts'

const vip: VipStatus = {
  vrid: 51,
  state: 'backup',
  priority: 150,
  effectivePriority: 1,
  tracked: [],
  syncGroup: null,
  addresses: ['10.1.0.100', '10.1.0.101'],
  gateway: null,
  virtualMac: null,
  advertisementIntervalMs: 50,
  holder: '10.1.0.12',
  activeSinceMonotonicMs: null,
  waiting: 'not in sync',
}

const cases: readonly [sentence: string, vip: VipStatus, line: string][] = [
  [
    'a backup names who holds the addresses, and why it waits',
    vip,
    '10.1.0.100 and 1 more (vrid 51) backup, priority 1, held by 10.1.0.12: not in sync',
  ],
  [
    'an active director holds them',
    { ...vip, state: 'active', addresses: ['2001:db8::100'], effectivePriority: 150, waiting: null },
    '2001:db8::100 (vrid 51) active, priority 150',
  ],
  [
    'nobody may be heard',
    { ...vip, addresses: ['10.1.0.100'], holder: null, waiting: null },
    '10.1.0.100 (vrid 51) backup, priority 1, held by nobody heard',
  ],
]

for (const [sentence, status, line] of cases) {
  test(sentence, async (t) => {
    t.equal(eventLine({ event: 'vip_status', timeMs: 0, vip: status }), `1970-01-01T00:00:00.000Z ${line}`)
  })
}
