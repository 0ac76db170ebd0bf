/** When the main thread believes the cluster thread that this director is in sync. */
import { test } from 'tap'
import { KnownStatus } from '../../../../node/director/cluster/known-status.ts'

const IN_SYNC = { inSync: true, reason: 'has all that the peers sent' }

function createKnown() {
  const pulse = { silentForMs: 0 }
  return { pulse, known: new KnownStatus(() => pulse.silentForMs) }
}

test('after a doubt a director is in sync when its cluster thread says so that knows of it', async (t) => {
  const { known } = createKnown()
  known.take({ ...IN_SYNC, doubts: 0 })
  t.match(known.current, IN_SYNC)
  known.doubt('a link was down')
  t.match(known.current, { inSync: false, reason: 'a link was down' })
  known.take({ ...IN_SYNC, doubts: 0 })
  t.match(known.current, { inSync: false, reason: 'a link was down' }, 'what was on its way')
  known.take({ ...IN_SYNC, doubts: 1 })
  t.match(known.current, IN_SYNC)
})

test('a director whose cluster thread hangs is not in sync until it breathes again', async (t) => {
  const { pulse, known } = createKnown()
  pulse.silentForMs = 1e9
  t.equal(known.current, undefined, 'it has not begun yet')
  pulse.silentForMs = 450
  known.take({ ...IN_SYNC, doubts: 0 })
  t.match(known.current, IN_SYNC)
  pulse.silentForMs = 501
  t.match(known.current, { inSync: false, reason: 'the cluster thread has stood still for 501 ms' })
  pulse.silentForMs = 20
  t.match(known.current, IN_SYNC)
})

test('a director that is out of sync says why, whether its cluster thread hangs or not', async (t) => {
  const { pulse, known } = createKnown()
  known.take({ inSync: false, reason: 'reaches no peer any more', doubts: 0 })
  pulse.silentForMs = 501
  t.match(known.current, { inSync: false, reason: 'reaches no peer any more' })
})
