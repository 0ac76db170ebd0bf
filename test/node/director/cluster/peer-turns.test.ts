/** Who of the peers is heard next on the main thread, and for how long. */
import { test } from 'tap'
import { monotonicMs } from '../../../../forwarder/clock.ts'
import { PeerTurns } from '../../../../node/director/cluster/peer-turns.ts'
import { until } from '../../../until.ts'

test('a peer that says much that takes long keeps neither the others nor the timers waiting', async (t) => {
  const handled: string[] = []
  const turns = new PeerTurns<string>((message) => {
    const endsMs = monotonicMs() + 2
    while (monotonicMs() < endsMs);
    handled.push(message)
  })
  for (let each = 0; each < 20; each++) turns.push('a', 'much')
  t.ok(handled.length < 5, `${handled.length} at once`)
  const before = handled.length
  turns.push('b', 'news')
  let handledWhenOthersRan = 0
  setImmediate(() => {
    handledWhenOthersRan = handled.length
  })
  await until(() => handled.length === 21)
  t.ok(handled.indexOf('news') <= before + 1, 'one of each in turn')
  t.ok(handledWhenOthersRan < before + 5, 'and others come between two slices')
})
