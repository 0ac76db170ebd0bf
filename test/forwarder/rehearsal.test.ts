/** The rehearsal really walks the packet path: every method, both directions, to the end. */
import { test } from 'tap'
import { Engine } from '../../forwarder/engine/engine.ts'
import { CONSUMED, DROPPED, TO_HOST } from '../../forwarder/engine/verdict.ts'
import { rehearse } from '../../forwarder/rehearsal.ts'
import { allocateFrameMemory } from '../../forwarder/sys/memory.ts'
import { VIRTUAL_MAC_PREFIX } from '../../protocol/packet/virtual-router-mac.ts'

test('a rehearsal forwards packets in both directions by every method, and drops none', (t) => {
  const verdicts = new Map<number, number>()
  let toVirtualMac = 0
  const handle = Engine.prototype.handle
  t.teardown(() => {
    Engine.prototype.handle = handle
  })
  Engine.prototype.handle = function (frame, link) {
    const isToVirtualMac = frame.memory.view.getInt32(frame.start) === VIRTUAL_MAC_PREFIX
    const verdict = handle.call(this, frame, link)
    if (isToVirtualMac && verdict === 1) toVirtualMac++
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1)
    return verdict
  }
  rehearse(allocateFrameMemory(65_536), allocateFrameMemory(2 ** 21))
  t.equal(verdicts.get(DROPPED), undefined)
  t.ok(Number(verdicts.get(1)) > 8000, 'to servers')
  t.ok(toVirtualMac > 1000, 'some of them by way of a virtual MAC')
  t.ok(Number(verdicts.get(0)) > 4000, 'from the servers of NAT to clients')
  t.ok(Number(verdicts.get(CONSUMED)) > 100, 'and some wait until their next hop is known')
  t.ok(
    Number(verdicts.get(TO_HOST)) > 0,
    'what servers behind a tunnel or direct routing send does not concern the forwarder',
  )
  t.end()
})
