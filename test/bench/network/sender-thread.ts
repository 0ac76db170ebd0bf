/** One thread of sender.ts: frames made beforehand, one for each flow, sent in bursts as the rate allows. */
import { workerData } from 'node:worker_threads'
import type { Frame } from '../../../forwarder/link/link.ts'
import { HEADROOM } from '../../../forwarder/link/link.ts'
import { PacketRingLink } from '../../../forwarder/link/packet-ring.ts'
import { allocateFrameMemory } from '../../../forwarder/sys/memory.ts'
import { formatMac } from '../../../protocol/packet/bytes.ts'
import { udpFrame } from '../../support/frames.ts'
import { RATE, SENT, type SenderThreadInput } from './sender-options.ts'

const FLOWS = 256
const FIRST_PORT = 20_000
/** A frame of 60 bytes, the shortest that Ethernet carries. */
const PAYLOAD_BYTES = 18
const SLOT_BYTES = 256
const BURST = 64
const LARGEST_CREDIT = 2 * BURST
const PAUSE_MS = 0.2

const input = workerData as SenderThreadInput
const words = new Int32Array(input.shared)
const link = new PacketRingLink(input.link, { slots: 64, transmitQueue: BURST })
const frames = makeFrames()
const never = new Int32Array(new SharedArrayBuffer(4))

let flow = 0
let credit = 0
let last = performance.now()
for (;;) {
  const now = performance.now()
  credit = Math.min(LARGEST_CREDIT, credit + ((now - last) * words[RATE]) / 1000)
  last = now
  const burst = Math.min(BURST, Math.floor(credit))
  if (burst === 0) {
    Atomics.wait(never, 0, 0, PAUSE_MS)
    continue
  }
  for (let i = 0; i < burst; i++) {
    link.transmit(frames[flow])
    flow = (flow + 1) % FLOWS
  }
  link.flush()
  credit -= burst
  words[SENT + input.number] += burst
}

function makeFrames(): Frame[] {
  const memory = allocateFrameMemory(FLOWS * SLOT_BYTES)
  return Array.from({ length: FLOWS }, (_, flow) => {
    const bytes = udpFrame({
      sourceMac: formatMac(link.mac),
      destinationMac: input.nextHopMac,
      from: `${input.source}:${FIRST_PORT + input.number * FLOWS + flow}`,
      to: input.destination,
      payload: new Uint8Array(PAYLOAD_BYTES),
    })
    const start = flow * SLOT_BYTES + HEADROOM
    memory.bytes.set(bytes, start)
    return { memory, start, length: bytes.length }
  })
}
