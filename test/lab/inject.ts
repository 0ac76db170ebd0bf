/**
 * Puts whole Ethernet frames on an interface: `inject INTERFACE [FRAMES_PER_SECOND]`, frames on stdin, each after its length (16 bits,
 * big endian). Without a rate, as fast as a director on a busy machine need not lose any.
 */
import { buffer } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { VNET_HEADER_LENGTH } from '../../forwarder/link/link.ts'
import { PacketRingLink } from '../../forwarder/link/packet-ring.ts'
import { allocateFrameMemory } from '../../forwarder/sys/memory.ts'

/** The most that go at once, and the most in a millisecond without a rate. */
const BURST = 128
const SLOT_BYTES = 2048

const [interfaceName, perSecond] = process.argv.slice(2)
const link = new PacketRingLink(interfaceName, { slots: 64 })
const memory = allocateFrameMemory(BURST * SLOT_BYTES)
const frames = await buffer(process.stdin)
const startedMs = performance.now()
let sent = 0
for (let at = 0; at < frames.length; ) {
  // By the clock, whatever the pauses of this process.
  const due = perSecond ? ((performance.now() - startedMs) * Number(perSecond)) / 1000 - sent : BURST
  for (let slot = 0; slot < Math.min(due, BURST) && at < frames.length; slot++, sent++) {
    const length = frames.readUInt16BE(at)
    // The virtio header before it stays zero: nothing is left to finish.
    const start = slot * SLOT_BYTES + VNET_HEADER_LENGTH
    memory.bytes.set(frames.subarray(at + 2, at + 2 + length), start)
    link.transmit({ memory, start, length })
    at += 2 + length
  }
  link.flush()
  if (at < frames.length) await delay(1)
}
link.close()
