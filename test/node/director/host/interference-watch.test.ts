/** What interferes is told when it appears and when it goes, however often it is looked for. */
import { test } from 'tap'
import { InterferenceWatch } from '../../../../node/director/host/interference-watch.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'

test('each interference is told once when it appears, once when it is gone, and looked for at most every five seconds', async (t) => {
  const clock = new VirtualClock()
  let host: string[] = []
  const looked: number[] = []
  const told: string[] = []
  const watch = new InterferenceWatch({
    look: async () => {
      looked.push(clock.now())
      if (clock.now() === 10_000) throw new Error('ip(8) has failed')
      return host
    },
    onAppeared: (interference) => told.push(`+ ${interference}`),
    onGone: (interference) => told.push(`- ${interference}`),
    warn: (message) => t.fail(message),
    clock,
  })
  const change = async (now: string[]) => {
    host = now
    watch.mayHaveChanged()
    await clock.advance(2000)
  }
  await change([])
  await change(['forwarding'])
  t.same(told, [], 'it rests')
  await change(['forwarding'])
  t.same(told, ['+ forwarding'])
  await change(['forwarding', 'address'])
  t.same(watch.found, ['forwarding'])
  await change(['address'])
  t.same(told, ['+ forwarding'], 'looking has failed')
  await clock.advance(5000)
  t.same(told, ['+ forwarding', '+ address', '- forwarding'])
  t.same(watch.found, ['address'])
  t.same(looked, [0, 5000, 10_000, 15_000])
  await clock.advance(60_000)
  t.equal(looked.length, 4, 'nothing has changed')
  watch.stop()
  await change(['forwarding'])
  t.equal(looked.length, 4)
})

test('a watch that cannot look any more says so, and does not say it each time', async (t) => {
  const clock = new VirtualClock()
  const warnings: string[] = []
  const watch = new InterferenceWatch({
    look: () => Promise.reject(new Error('ip(8) has failed')),
    onAppeared: () => t.fail('it has seen nothing'),
    onGone: () => t.fail('it has seen nothing'),
    warn: (message) => warnings.push(message),
    clock,
  })
  t.teardown(() => watch.stop())
  watch.mayHaveChanged()
  await clock.advance(4000)
  t.same(warnings, [], 'one failure alone is ordinary')
  await clock.advance(60_000)
  t.same(warnings, ['how the host is set up cannot be read, and changes go unseen: ip(8) has failed'])
})
