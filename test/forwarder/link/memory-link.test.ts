/** The memory link keeps the contract, and joins. */
import { test } from 'tap'
import { createFrames } from '../../../forwarder/link/link.ts'
import { MemoryLink } from '../../../forwarder/link/memory-link.ts'
import { linkCompliance } from '../../compliance/link.ts'

test('a memory link is a link', async (t) => {
  linkCompliance(t, (slots) => {
    const link = new MemoryLink({ slots })
    return {
      link,
      farEnd: { inject: (frame, header) => link.inject(frame, header), take: () => link.take(), close() {} },
    }
  })
})

test('what one of two joined links transmits the other receives, offload header included', async (t) => {
  const one = new MemoryLink({ name: 'one' })
  const other = new MemoryLink({ name: 'other' })
  MemoryLink.join(one, other)
  const header = Uint8Array.of(1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0)
  const frame = Uint8Array.from({ length: 3000 }, (_, index) => index)
  frame[23] = 6 // TCP, as the offload header says
  one.inject(frame, header)
  const [place] = createFrames(1)
  t.equal(one.receive([place]), 1)
  one.transmit(place)
  one.flush()
  one.release()
  t.same(one.take(), [], 'a joined link keeps nothing for take()')
  t.equal(other.receive([place]), 1)
  t.same(place.memory.bytes.slice(place.start - 10, place.start), header)
  t.same(place.memory.bytes.slice(place.start, place.start + place.length), frame)
})

test('a frame longer than any link carries is lost, and counted', async (t) => {
  const link = new MemoryLink({ slots: 1 })
  t.equal(link.inject(new Uint8Array(70_000)), false)
  t.equal(link.statistics.overruns, 1)
  link.close()
  t.equal(link.inject(new Uint8Array(60)), false)
})
