/** What a virtual router makes of timers that come late: its own slowness is no evidence, and its silence may have been noticed. */
import { type Case, heard, start, synced, testEach, timer, toActive } from './router-steps.ts'

const cases: readonly Case[] = [
  [
    'a backup whose timer comes much too late listens again before it takes over',
    [...toActive.slice(0, 2), [500, timer, 'note, arm 650'], [650, timer, 'become active, advertise 128, arm 750']],
  ],
  [
    'one that comes into sync at the same time is late all the same',
    [
      [0, start, 'become backup, arm 450'],
      [600, synced, 'arm 450'],
      [600, timer, 'note, arm 750'],
    ],
  ],
  [
    'a stalled backup that hears the active router waits as before',
    [...toActive.slice(0, 2), [500, timer, 'note, arm 650'], [560, heard('10.0.0.1', 200), 'arm 910']],
  ],
  [
    'a backup that is always late takes over in the end, when nobody was ever heard',
    [
      ...toActive.slice(0, 2),
      [500, timer, 'note, arm 650'],
      [800, timer, 'note, arm 950'],
      [1100, timer, 'note, arm 1250'],
      [1400, timer, 'become active, advertise 128, arm 1500'],
    ],
  ],
  [
    'lateness within an interval is jitter',
    [...toActive.slice(0, 2), [449, timer, 'become active, advertise 128, arm 549']],
  ],
  [
    'at short intervals, lateness of up to 20 ms is jitter',
    [
      [0, synced, ''],
      [0, start, 'become backup, arm 35'],
      [55, timer, 'become active, advertise 128, arm 65'],
    ],
    { intervalMs: 10 },
  ],
  [
    'an active router that was stalled listens for an interval before it speaks',
    [...toActive, [800, timer, 'note, arm 900'], [900, timer, 'advertise 128, arm 1000']],
  ],
  [
    'one that was stalled for a little less speaks at once, to keep backups from taking over',
    [...toActive, [749, timer, 'advertise 128, arm 849']],
  ],
  [
    'but if it hears one that has taken over by then, three intervals after it last spoke, it yields',
    [...toActive, [660, heard('10.0.0.3', 100), 'advertise 99, overtaken, become backup, arm 1010']],
  ],
  [
    'one that is always late speaks all the same',
    [
      ...toActive,
      [850, timer, 'note, arm 950'],
      [1200, timer, 'advertise 128, arm 1300'],
      [1550, timer, 'advertise 128, arm 1650'],
    ],
  ],
  [
    'an active router that was stalled yields to whoever took over, even with a lower priority, and does not drive it away',
    [
      ...toActive,
      [800, timer, 'note, arm 900'],
      [850, heard('10.0.0.3', 100), 'advertise 99, overtaken, become backup, arm 1200'],
    ],
  ],
  [
    'it yields as well if it hears the successor before its own timer',
    [...toActive, [800, heard('10.0.0.3', 100), 'advertise 99, overtaken, become backup, arm 1150']],
  ],
]

testEach(cases)
