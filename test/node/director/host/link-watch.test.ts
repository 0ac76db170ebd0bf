/** What a watch makes of what ip(8) says, one look after another: with a host, host-in-namespace.ts. */
import { type Test, test } from 'tap'
import type { RunIp } from '../../../../node/director/host/ip-command.ts'
import { type Watched, watchLinks } from '../../../../node/director/host/link-watch.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'
import { until } from '../../../until.ts'

/** Retried this often by itself. */
const RETRY_MS = 1000

/** @param run what ip(8) says at each look */
function watching(t: Test, all: readonly Watched[], run: RunIp) {
  const clock = new VirtualClock()
  const told: string[] = []
  const note =
    (what: string) =>
    ({ name }: Watched, fault: string | undefined) =>
      void told.push(`${what} ${name}: ${fault ?? 'well'}`)
  const watch = watchLinks(
    all,
    {
      onFault: note('fault'),
      onReplaced: note('replaced'),
      onActivity: () => {},
      warn: (message) => told.push(message),
    },
    { run, clock },
  )
  t.teardown(() => watch.close())
  return { clock, told, watch }
}

test('a watch that cannot read the links says so, but not of one failure alone', async (t) => {
  let looks = 0
  const { clock, told, watch } = watching(t, [{ name: 'eth0' }], async () => {
    if (++looks < 4) throw new Error('ip(8) has failed')
    return []
  })
  await until(() => looks === 1)
  await clock.advance(RETRY_MS - 1)
  t.same(told, [])
  const warning = 'the interfaces and their addresses cannot be read, and changes go unseen: ip(8) has failed'
  await clock.advance(1)
  t.same(told, [warning])
  await clock.advance(2 * RETRY_MS)
  await watch.known
  t.same(told, [warning, 'fault eth0: eth0 is gone'])
})
