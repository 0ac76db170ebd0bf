/**
 * Puts whole Ethernet frames on an interface: `inject INTERFACE`, frames on stdin, each after its length (16 bits, big endian).
 */
import { buffer } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { VNET_HEADER_LENGTH } from '../../forwarder/link/link.ts'
import { PacketRingLink } from '../../forwarder/link/packet-ring.ts'
import { allocateFrameMemory } from '../../forwarder/sys/memory.ts'

/** Few enough a millisecond that a director on a busy machine need not lose them. */
const BURST = 128
const SLOT_BYTES = 2048

const link = new PacketRingLink(process.argv[2], { slots: 64 })
const memory = allocateFrameMemory(BURST * SLOT_BYTES)
const frames = await buffer(process.stdin)
let inBurst = 0
for (let at = 0; at < frames.length; ) {
  const length = frames.readUInt16BE(at)
  // The virtio header before it stays zero: nothing is left to finish.
  const start = inBurst * SLOT_BYTES + VNET_HEADER_LENGTH
  memory.bytes.set(frames.subarray(at + 2, at + 2 + length), start)
  link.transmit({ memory, start, length })
  at += 2 + length
  if (++inBurst < BURST && at < frames.length) continue
  link.flush()
  inBurst = 0
  await delay(1)
}
link.close()
