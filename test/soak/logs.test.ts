/** What a soak reads in the logs of directors. */
import { test } from 'tap'
import { VirtualRouter } from '../../node/director/vip/virtual-router.ts'
import { monotonicMs } from '../../node/drill/load-messages.ts'
import { ORDINARY } from '../node/director/vip/router-steps.ts'
import { logsAround, standstills } from './logs.ts'

/** What an active router says that has stood still for 700 ms, and hears its successor. */
function saidAfterStandstill(): string {
  const router = new VirtualRouter(ORDINARY)
  router.handle({ kind: 'sync', inSync: true }, 0)
  router.handle({ kind: 'start' }, 0)
  router.handle({ kind: 'timer' }, 350)
  const heard = { kind: 'advertisement', from: '10.0.0.3', priority: 100, intervalMs: 100 } as const
  for (const action of router.handle(heard, 1150)) if (action.kind === 'become') return action.reason
  throw new Error('it does not yield')
}

test('a standstill that cost a director its addresses is found by what the director says of it', (t) => {
  const time = Date.now()
  const lines = [
    { time, text: `vrid 51: backup: ${saidAfterStandstill()}` },
    { time, text: 'vrid 51: backup: 10.0.0.3 advertises priority 200, this director 128' },
  ]
  const found = standstills([{ host: 'd1', lines }])
  t.match(found, [{ host: 'd1' }])
  t.ok(Math.abs(found[0].atMs - (monotonicMs() - 700)) < 300, `${found[0].atMs}`)
  t.end()
})

test('around a time stands what all directors wrote then, in its order', (t) => {
  const now = Date.now()
  const lines = (...afterMs: number[]) => afterMs.map((ms) => ({ time: now + ms, text: `at ${ms}` }))
  const logs = [
    { host: 'd1', lines: lines(-9000, 100, 200) },
    { host: 'd2', lines: lines(-100, 150, 9000) },
  ]
  const around = logsAround(logs, monotonicMs())
  t.same(
    around.map((line) => line.replace(/^.* ms, /, '')),
    ['d2: at -100', 'd1: at 100', 'd2: at 150', 'd1: at 200'],
  )
  t.end()
})
