/** What a trace says of a director. */
import { test } from 'tap'
import type { DirectorStatus } from '../../node/director/control/answers.ts'
import { VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { describeDirector } from './trace.ts'

test('what a director lost at its links stands beside what it dropped', async (t) => {
  const status = {
    vips: [{ addresses: [VIRTUAL_ADDRESS], state: 'active', effectivePriority: 200, waiting: null }],
    drops: { 'outbox-full': 3, malformed: 0 },
    links: [
      { name: 'outside', overruns: 12, transmitErrors: 0 },
      { name: 'inside', overruns: 0, transmitErrors: 4 },
    ],
  }
  t.equal(
    describeDirector(status as unknown as DirectorStatus),
    'active, priority 200; dropped outbox-full 3; ' +
      'outside: 12 overruns, 0 transmit errors; inside: 0 overruns, 4 transmit errors',
  )
  t.equal(describeDirector(undefined), 'says nothing')
})
