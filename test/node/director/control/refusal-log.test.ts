/** How often a refusal is told of. */
import { test } from 'tap'
import { RefusalLog } from '../../../../node/director/control/refusal-log.ts'

function noted() {
  const told: string[] = []
  const clock = { nowMs: 0 }
  const log = new RefusalLog(
    (address, reason) => told.push(`${address} ${reason}`),
    () => clock.nowMs,
  )
  return { told, clock, log }
}

test('an address is told of once a minute, and counted every time', async (t) => {
  const { told, clock, log } = noted()
  for (clock.nowMs of [0, 1, 59_999]) log.refuse('10.0.0.1', `at ${clock.nowMs}`)
  log.refuse('10.0.0.2', 'too')
  t.same(told, ['10.0.0.1 at 0', '10.0.0.2 too'])
  clock.nowMs = 60_000
  log.refuse('10.0.0.2', 'again')
  log.refuse('10.0.0.1', 'again')
  t.same(told.slice(2), ['10.0.0.1 again'], 'each has a minute of its own')
  t.equal(log.count, 6)
})

test('of a flood from everywhere 64 addresses a minute are told of', async (t) => {
  const { told, clock, log } = noted()
  for (let host = 0; host < 1000; host++) log.refuse(`2001:db8::${host}`, 'no handshake')
  t.equal(told.length, 64)
  t.equal(log.count, 1000)
  clock.nowMs = 60_000
  for (let host = 0; host < 1000; host++) log.refuse(`2001:db8::${host}`, 'no handshake')
  t.equal(told.length, 128)
})
