/** How a director stops: its addresses are handed over before it ends. */
import { test } from 'tap'
import { Pool, type PoolMember, placed, settled, watch } from './pool.ts'

function stopOf({ service }: PoolMember, isForwarding = true): { isOver: boolean } {
  const stop = { isOver: false }
  void service.stop(isForwarding).then(() => {
    stop.isOver = true
  })
  return stop
}

test('an orderly stop hands over without a moment in which nobody forwards', async (t) => {
  const { pool, best, second, third } = await settled()
  let stopped = false
  const stopping = best.service.stop().then(() => {
    stopped = true
  })
  let unserved = 0
  let inTransition = 0
  for (let ms = 0; !stopped; ms++) {
    await pool.clock.advance(1)
    const serving = pool.members.filter(({ placedState }) => placedState !== 'standby').length
    if (serving === 0) unserved++
    if (second.state !== 'active' && third.state !== 'active') inTransition++
    if (ms > 5000) throw new Error('the stop does not end')
  }
  await stopping
  t.equal(unserved, 0)
  t.ok(inTransition <= 35, `the successor came after ${inTransition} ms: the skew, not the silence`)
  t.equal(best.placedState, 'standby')
})

test('a stop waits until the announcements of the successor are out', async (t) => {
  const { pool, best, second, third } = await settled()
  const before = pool.clock.now()
  const stopping = best.service.stop()
  await pool.clock.until(() => second.state === 'active' || third.state === 'active', 500)
  const takenMs = pool.clock.now()
  await pool.clock.advance(240)
  t.equal(best.placedState, 'lingering', 'still forwarding what comes')
  await pool.clock.advance(60)
  await stopping
  t.equal(best.placedState, 'standby')
  t.ok(takenMs - before < 50)
})

test('a stop of the only director ends after a bounded wait', async (t) => {
  const pool = new Pool()
  const only = pool.add(1)
  pool.start()
  await pool.clock.advance(1000)
  const stop = stopOf(only)
  await pool.clock.until(() => stop.isOver, 600)
  t.equal(only.placedState, 'standby')
})

test('a stop right after a fault goes on forwarding until a successor has come, as any other does', async (t) => {
  const pool = new Pool()
  const best = pool.add(1, { priority: 150, advertisementIntervalMs: 1000 })
  const second = pool.add(2, { advertisementIntervalMs: 1000 })
  pool.start()
  await pool.clock.advance(6000)
  best.service.setFault('director', 'the cluster thread has died')
  t.equal(best.state, 'fault')
  const stop = stopOf(best)
  await pool.clock.advance(500)
  t.equal(placed([best, second]), 'lingering standby', 'its skew is longer')
  await pool.clock.until(() => second.state === 'active', 200)
  t.equal(best.placedState, 'lingering')
  await pool.clock.until(() => stop.isOver, 300)
  t.equal(placed([best, second]), 'standby active')
})

test('a stop of a director that has heard its successor waits for no other', async (t) => {
  const { pool, best, second, third } = await settled()
  best.service.setFault('director', 'the cluster thread has died')
  await pool.clock.until(() => second.state === 'active' || third.state === 'active', 500)
  await pool.clock.advance(100)
  const stop = stopOf(best)
  await pool.clock.until(() => stop.isOver, 200)
  t.equal(best.placedState, 'standby')
})

test('a stop of a director whose forwarder has died waits for nobody: nothing would be forwarded meanwhile', async (t) => {
  const { pool, best } = await settled()
  best.service.setFault('director', 'the forwarding thread has died')
  const stop = stopOf(best, false)
  await pool.clock.advance(0)
  t.ok(stop.isOver)
  t.equal(best.placedState, 'standby')
})

test('a stop of a backup ends at once and disturbs nobody', async (t) => {
  const { pool, best, third } = await settled()
  await third.service.stop()
  t.same(await watch(pool, [best], 500), { 1: 500 })
})
