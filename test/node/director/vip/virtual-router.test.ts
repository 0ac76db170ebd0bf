/** VRRP's state machine, event by event: RFC 9568 section 6.4, and each departure of docs/divergence.md. */
import { test } from 'tap'
import { VirtualRouter } from '../../../../node/director/vip/virtual-router.ts'
import {
  activate,
  type Case,
  cleared,
  contested,
  fault,
  heard,
  ORDINARY,
  priority,
  type Step,
  start,
  stop,
  synced,
  testEach,
  timer,
  toActive,
  unsynced,
} from './router-steps.ts'

const cases: readonly Case[] = [
  ['a router that hears nobody becomes active after the active down interval', toActive],
  ['an active router advertises once an interval', [...toActive, [450, timer, 'advertise 128, arm 550']]],
  ['a small delay does not shift the rhythm', [...toActive, [457, timer, 'advertise 128, arm 550']]],
  ['a delay of an interval starts a new rhythm', [...toActive, [560, timer, 'advertise 128, arm 660']]],
  ['a timer that comes early is set again', [...toActive.slice(0, 2), [349.5, timer, 'arm 350']]],
  [
    'the owner of the addresses is active at once',
    [
      [0, synced, ''],
      [0, start, 'become active, advertise 255, arm 100'],
    ],
    { priority: 255 },
  ],
  [
    'a backup waits as long as a better router advertises',
    [...toActive.slice(0, 2), [300, heard('10.0.0.1', 200), 'arm 650'], [350, timer, 'arm 650']],
  ],
  [
    'in version 2 the skew is a share of a second, whatever the interval',
    [
      [0, synced, ''],
      [0, start, 'become backup, arm 12500'],
      [100, heard('10.0.0.1', 200, 4000), 'arm 12600'],
      [200, heard('10.0.0.1', 0, 4000), 'arm 700'],
    ],
    { version: 2, intervalMs: 4000 },
  ],
  [
    'a backup takes the interval of the active router',
    [...toActive.slice(0, 2), [100, heard('10.0.0.1', 200, 1000), 'arm 3600']],
  ],
  [
    'a backup lets an equal priority be, whoever has the higher address',
    [...toActive.slice(0, 2), [100, heard('10.0.0.1', 128), 'arm 450']],
  ],
  [
    'a backup in sync ignores a lower priority and so takes over',
    [...toActive.slice(0, 2), [300, heard('10.0.0.3', 100), ''], [350, timer, 'become active, advertise 128, arm 450']],
  ],
  [
    'a backup without preemption lets a lower priority be',
    [...toActive.slice(0, 2), [300, heard('10.0.0.3', 100), 'arm 650']],
    { preempt: false },
  ],
  [
    'a backup with a preempt delay lets a lower priority be for that long, and takes over when it is over',
    [
      ...toActive.slice(0, 2),
      [300, heard('10.0.0.3', 100), 'arm 650'],
      [600, heard('10.0.0.3', 100), 'arm 950'],
      [799, heard('10.0.0.3', 100), 'arm 1149'],
      [800, heard('10.0.0.3', 100), ''],
      [1149, timer, 'become active, advertise 128, arm 1249'],
    ],
    { preemptDelayMs: 500 },
  ],
  [
    'the preempt delay begins anew after a better router was heard, and after the table was behind',
    [
      ...toActive.slice(0, 2),
      [300, heard('10.0.0.3', 100), 'arm 650'],
      [400, heard('10.0.0.1', 200), 'arm 750'],
      [500, heard('10.0.0.3', 100), 'arm 850'],
      [810, heard('10.0.0.3', 100), 'arm 1160'],
      [820, unsynced, 'arm 1260'],
      [900, synced, 'arm 1160'],
      [1000, heard('10.0.0.3', 100), 'arm 1350'],
      [1300, heard('10.0.0.3', 100), 'arm 1650'],
      [1500, heard('10.0.0.3', 100), ''],
    ],
    { preemptDelayMs: 500 },
  ],
  [
    'a preempt delay keeps no router from addresses that nobody holds',
    [
      ...toActive.slice(0, 2),
      [300, heard('10.0.0.3', 100), 'arm 650'],
      [310, heard('10.0.0.3', 0), 'arm 360'],
      [360, timer, 'become active, advertise 128, arm 460'],
    ],
    { preemptDelayMs: 60_000 },
  ],
  [
    'a resignation leaves only the skew to wait',
    [...toActive.slice(0, 2), [100, heard('10.0.0.1', 200), 'arm 450'], [200, heard('10.0.0.1', 0), 'arm 250']],
  ],
  [
    'two that are heard within two intervals are both active, for all that is known',
    [
      ...toActive.slice(0, 2),
      [100, heard('10.0.0.3', 200), 'arm 450'],
      [299, heard('10.0.0.1', 200), 'arm 649'],
      [320, heard('10.0.0.1', 0), ''],
    ],
  ],
  [
    'who is heard later than that has come after the other',
    [
      ...toActive.slice(0, 2),
      [100, heard('10.0.0.3', 200), 'arm 450'],
      [300, heard('10.0.0.1', 200), 'arm 650'],
      [320, heard('10.0.0.1', 0), 'arm 370'],
    ],
  ],
  [
    'where two were active, the resignation of one leaves the other the time to be heard that it had',
    [
      ...toActive.slice(0, 2),
      [100, heard('10.0.0.3', 200), 'arm 450'],
      [160, heard('10.0.0.1', 200), 'arm 510'],
      [200, heard('10.0.0.1', 0), ''],
      [260, heard('10.0.0.3', 200), 'arm 610'],
    ],
  ],
  [
    'the resignation of one that was not heard before takes nothing from the one that is',
    [...toActive.slice(0, 2), [100, heard('10.0.0.3', 200), 'arm 450'], [160, heard('10.0.0.1', 0), '']],
  ],
  [
    'a second resignation does not put the takeover off',
    [...toActive.slice(0, 2), [100, heard('10.0.0.1', 0), 'arm 150'], [140, heard('10.0.0.1', 0), 'arm 150']],
  ],
  [
    'an active router answers a resignation at once, and announces again: who resigns was active',
    [...toActive, [400, heard('10.0.0.9', 0), 'advertise 128, arm 500, note, announce']],
  ],
  [
    'an active router yields to a higher priority, and lets it hear that there was a rival',
    [...toActive, [400, heard('10.0.0.1', 129), 'advertise 128, become backup, arm 750']],
  ],
  [
    'an active router yields to an equal priority with a higher address',
    [...toActive, [400, heard('10.0.0.10', 128), 'advertise 128, become backup, arm 750']],
  ],
  [
    'an active router stays against an equal priority with a lower address, and announces again',
    [...toActive, [400, heard('10.0.0.1', 128), 'advertise 128, arm 500, note, announce']],
  ],
  [
    'addresses are compared as numbers, also above 127',
    [...toActive, [400, heard('200.0.0.1', 128), 'advertise 128, become backup, arm 750']],
  ],
  [
    'an active router answers a lower priority at once, but announces at most once a second',
    [
      [0, synced, ''],
      [0, start, 'become backup, arm 1400'],
      [1400, timer, 'become active, advertise 128, arm 1800'],
      [1500, heard('10.0.0.3', 100), 'advertise 128, arm 1900, note, announce'],
      [1700, heard('10.0.0.3', 100), 'advertise 128, arm 2100'],
      [2400, heard('10.0.0.3', 100), 'advertise 128, arm 2500'],
      [2500, heard('10.0.0.3', 100), 'advertise 128, arm 2900, note, announce'],
    ],
    { intervalMs: 400 },
  ],
  [
    'the announcement that came too soon is made up for after the pause, though the rival is silent by then',
    [
      [0, synced, ''],
      [0, start, 'become backup, arm 1400'],
      [1400, timer, 'become active, advertise 128, arm 1800'],
      [1500, heard('10.0.0.3', 100), 'advertise 128, arm 1900, note, announce'],
      [1700, heard('10.0.0.3', 100), 'advertise 128, arm 2100'],
      [2100, timer, 'advertise 128, arm 2500'],
      [2500, timer, 'advertise 128, arm 2900, note, announce'],
      [2900, timer, 'advertise 128, arm 3300'],
    ],
    { intervalMs: 400 },
  ],
  [
    'a router that yields after a stall resigns to one of the lowest priority, which would yield to anything else',
    [
      ...toActive,
      [800, timer, 'note, arm 900'],
      [850, heard('10.0.0.3', 1), 'advertise 0, overtaken, become backup, arm 1200'],
    ],
  ],
  [
    'an active router beside which another may have been announces again, at most once a second',
    [
      ...toActive,
      [400, contested, ''],
      [450, timer, 'advertise 128, arm 550, note, announce'],
      [480, contested, ''],
      [550, timer, 'advertise 128, arm 650'],
      ...Array.from({ length: 8 }, (_, n): Step => [650 + n * 100, timer, `advertise 128, arm ${750 + n * 100}`]),
      [1450, timer, 'advertise 128, arm 1550, note, announce'],
    ],
  ],
  [
    'a router that stood still listens before it announces again',
    [
      ...toActive,
      [800, contested, ''],
      [810, timer, 'note, arm 910'],
      [820, contested, ''],
      [910, timer, 'advertise 128, arm 1010, note, announce'],
    ],
  ],
  ['a backup has nothing to announce, whoever else was active', [...toActive.slice(0, 2), [100, contested, '']]],
  ['an active router that is stopped resigns', [...toActive, [400, stop, 'advertise 0, disarm, become init']]],
  ['a backup that is stopped is silent', [...toActive.slice(0, 2), [100, stop, 'disarm, become init']]],
  ['a stopped router does nothing', [...toActive, [400, stop, 'advertise 0, disarm, become init'], [450, timer, '']]],
  ["a router's own advertisement, come back, is nothing", [...toActive, [400, heard('10.0.0.2', 200), '']]],

  [
    'a fault of the active router resigns at once, and its end begins anew as backup',
    [
      ...toActive,
      [400, fault, 'advertise 0, disarm, become fault'],
      [450, heard('10.0.0.3', 100), ''],
      [500, timer, ''],
      [900, cleared, 'become backup, arm 1250'],
    ],
  ],
  [
    'a router that starts with a fault waits for its end',
    [
      [0, fault, ''],
      [1, start, 'become fault'],
      [50, cleared, 'become backup, arm 500'],
    ],
  ],

  [
    'a router that is not in sync waits an interval longer, and then takes what nobody holds',
    [
      [0, start, 'become backup, arm 450'],
      [450, timer, 'become active, advertise 1, arm 550'],
    ],
  ],
  [
    'the owner of the addresses waits too while it is not in sync',
    [[0, start, 'become backup, arm 400.390625']],
    { priority: 255 },
  ],
  [
    'a router that is not in sync lets a lower priority be',
    [
      [0, start, 'become backup, arm 450'],
      [300, heard('10.0.0.3', 2), 'arm 750'],
    ],
  ],
  [
    'a router that is not in sync waits an interval longer after a resignation',
    [
      [0, start, 'become backup, arm 450'],
      [100, heard('10.0.0.1', 0), 'arm 250'],
    ],
  ],
  [
    'a router that falls out of sync respects at once whom it was about to replace',
    [...toActive.slice(0, 2), [300, heard('10.0.0.3', 100), ''], [340, unsynced, 'arm 750']],
  ],
  [
    'out of sync, it waits an interval longer than it would have, also after a resignation',
    [
      ...toActive.slice(0, 2),
      [100, heard('10.0.0.1', 200), 'arm 450'],
      [200, unsynced, 'arm 550'],
      [210, synced, 'arm 450'],
      [300, heard('10.0.0.1', 0), 'arm 350'],
      [310, unsynced, 'arm 450'],
      [449, synced, 'arm 449'],
    ],
  ],
  [
    'a router that has come into sync preempts',
    [
      [0, start, 'become backup, arm 450'],
      [300, heard('10.0.0.3', 100), 'arm 750'],
      [310, synced, 'arm 650'],
      [400, heard('10.0.0.3', 100), ''],
      [650, timer, 'become active, advertise 128, arm 750'],
    ],
  ],
  [
    'an active router that is not in sync yields to the lowest priority that is',
    [
      [0, start, 'become backup, arm 400.78125'],
      [401, timer, 'become active, advertise 1, arm 501'],
      [500, heard('10.0.0.1', 2), 'advertise 1, become backup, arm 900.78125'],
    ],
    { priority: 254 },
  ],
  [
    'an active router that comes into sync takes its own priority',
    [
      [0, start, 'become backup, arm 450'],
      [450, timer, 'become active, advertise 1, arm 550'],
      [500, synced, ''],
      [550, timer, 'advertise 128, arm 650'],
    ],
  ],
  [
    'an active router that was in sync keeps its priority when a peer comes that it has not caught up with',
    [...toActive, [400, unsynced, ''], [450, timer, 'advertise 128, arm 550']],
  ],
  [
    'priority 1 is left to those out of sync: one in sync stands above them',
    [
      [0, synced, ''],
      [0, start, 'become backup, arm 399.609375'],
      [200, heard('10.0.0.9', 1), ''],
      [400, timer, 'become active, advertise 2, arm 500'],
    ],
    { priority: 1 },
  ],
]

const priorities: readonly Case[] = [
  [
    'an active router whose priority changes says so at once',
    [
      ...toActive,
      [400, priority(90), 'advertise 90, arm 500'],
      [450, priority(90), ''],
      [500, timer, 'advertise 90, arm 600'],
    ],
  ],
  [
    'an active router that was stalled listens before it tells of another priority',
    [...toActive, [800, priority(90), ''], [810, timer, 'note, arm 910'], [910, timer, 'advertise 90, arm 1010']],
  ],
  [
    'a backup whose priority rises above that of the active router takes over, once that has been heard again',
    [
      ...toActive.slice(0, 2),
      [300, heard('10.0.0.1', 150), 'arm 650'],
      [310, priority(192), ''],
      [400, heard('10.0.0.1', 150), ''],
      [650, timer, 'become active, advertise 192, arm 750'],
    ],
  ],
  [
    'a backup whose priority falls respects at once whom it was about to replace, and its skew is longer',
    [...toActive.slice(0, 2), [300, heard('10.0.0.3', 100), ''], [340, priority(64), 'arm 675']],
  ],
  ['without an active router a change of priority changes nothing', [...toActive.slice(0, 2), [300, priority(64), '']]],
  [
    'out of sync, the priority stays the lowest',
    [
      [0, start, 'become backup, arm 450'],
      [450, timer, 'become active, advertise 1, arm 550'],
      [500, priority(90), 'advertise 1, arm 600'],
    ],
  ],
]

const toReady: readonly Step[] = [...toActive.slice(0, 2), [350, timer, 'arm 700']]

const grouped: readonly Case[] = [
  [
    'in a sync group, a router that hears nobody is ready, and active when it is told',
    [
      [0, synced, ''],
      [0, start, 'become backup, arm 350'],
      [300, activate, ''],
      [350, timer, 'arm 700'],
      [360, activate, 'become active, advertise 128, arm 460'],
    ],
  ],
  [
    'a better router that is heard makes it wait again',
    [...toReady, [360, heard('10.0.0.1', 200), 'arm 710'], [370, activate, '']],
  ],
  ['one that falls behind is no longer ready', [...toReady, [360, unsynced, 'arm 800'], [370, activate, '']]],
  [
    'one that is told to yield resigns, so that the next one need not wait for its silence',
    [
      ...toReady,
      [360, activate, 'become active, advertise 128, arm 460'],
      [400, { kind: 'yield', reason: 'vrid 52 yields' }, 'advertise 0, become backup, arm 750'],
      [410, { kind: 'yield', reason: 'vrid 52 yields' }, ''],
    ],
  ],
  [
    'the owner of the addresses waits for the others as well',
    [
      [0, synced, ''],
      [0, start, 'become backup, arm 300.390625'],
    ],
    { priority: 255 },
  ],
]

testEach(cases)
testEach(priorities)
testEach(grouped.map(([sentence, steps, options]): Case => [sentence, steps, { ...options, isGrouped: true }]))

test('what holds a router back is told', async (t) => {
  const router = new VirtualRouter(ORDINARY)
  t.equal(router.waiting, null)
  router.handle(start, 0)
  t.match(router.waiting, /^not in sync/)
  router.handle(heard('10.0.0.3', 100), 10)
  t.equal(router.waiting, 'not in sync; leaves the addresses with 10.0.0.3 (priority 100)')
  t.equal(router.holder, '10.0.0.3')
  router.handle(synced, 20)
  t.equal(router.waiting, null, 'in sync: it is about to take over')
  router.handle(heard('10.0.0.1', 200), 30)
  t.equal(router.waiting, null, 'the better router holds the addresses: nothing to wait for')
  router.handle(timer, 900)
  t.match(router.waiting, /timers were 520 ms late/)
  router.handle(fault, 910)
  t.equal(router.waiting, 'eth0 is down')
})

test('without preemption, that is the reason told, and silence when it takes over', async (t) => {
  const router = new VirtualRouter({ ...ORDINARY, preempt: false })
  router.handle(synced, 0)
  router.handle(start, 0)
  router.handle(heard('10.0.0.3', 100), 10)
  t.equal(router.waiting, 'preempt is off; leaves the addresses with 10.0.0.3 (priority 100)')
  t.match(router.handle(timer, 360), [{ kind: 'become', state: 'active', reason: '10.0.0.3 fell silent' }])
})

test('a preempt delay is told as the reason while it lasts', async (t) => {
  const router = new VirtualRouter({ ...ORDINARY, preemptDelayMs: 500 })
  router.handle(synced, 0)
  router.handle(start, 0)
  router.handle(heard('10.0.0.3', 100), 10)
  t.equal(router.waiting, 'preempts 10.0.0.3 (priority 100) after 500 ms')
  router.handle(heard('10.0.0.3', 100), 510)
  t.equal(router.waiting, null)
})
