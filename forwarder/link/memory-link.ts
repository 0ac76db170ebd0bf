/**
 * A link without a kernel: a test puts frames in and takes what was transmitted, or two links are joined back to back.
 *
 * It keeps the whole contract of link.ts, and refuses to transmit what the kernel would refuse (packet_snd() in
 * net/packet/af_packet.c, inet_gso_segment() in net/ipv4/af_inet.c), so that an engine cannot pass here and fail on a wire.
 */
import { allocateFrameMemory } from '../sys/memory.ts'
import {
  type Frame,
  type FrameMemory,
  HEADROOM,
  type Link,
  type LinkStatistics,
  MAX_FRAME_LENGTH,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_HEADER_LENGTH,
  VNET_NEEDS_CSUM,
} from './link.ts'

const ETHERNET_HEADER_LENGTH = 14
const IPV4_PROTOCOL = 9
const IPPROTO_TCP = 6
const FRAME_OFFSET = 2 * 64 + VNET_HEADER_LENGTH // the headers fill one cache line, as in the packet ring
const SLOT_BYTES = 64 * 1027 // odd in cache lines, as in the packet ring
const noOffload = new Uint8Array(VNET_HEADER_LENGTH)

if (FRAME_OFFSET < HEADROOM + VNET_HEADER_LENGTH || FRAME_OFFSET + MAX_FRAME_LENGTH > SLOT_BYTES)
  throw new Error('the slot layout breaks the frame memory contract of link.ts')

export interface MemoryLinkOptions {
  readonly name?: string
  /** 6 bytes. */
  readonly mac?: Uint8Array
  readonly mtu?: number
  /** Frames that may wait to be received; each takes 65,728 bytes. Default 64. */
  readonly slots?: number
  /** Frames that transmit() takes between two flushes. Default 512. */
  readonly transmitQueue?: number
}

export class MemoryLink implements Link {
  readonly name: string
  readonly mac: Uint8Array
  readonly mtu: number
  readonly statistics: LinkStatistics = {
    receivedFrames: 0,
    receivedBytes: 0,
    transmittedFrames: 0,
    transmittedBytes: 0,
    transmitErrors: 0,
    overruns: 0,
  }
  readonly #memory: FrameMemory
  readonly #lengths: Int32Array
  /** Slots are used in turn: the oldest #held were received, the #waiting after them were not yet. */
  #oldest = 0
  #held = 0
  #waiting = 0
  readonly #queue: Frame[]
  #queued = 0
  #output: Uint8Array[] = []
  #peer: MemoryLink | undefined
  #isOpen = true

  constructor(options: MemoryLinkOptions = {}) {
    this.name = options.name ?? 'memory'
    this.mac = options.mac ?? Uint8Array.of(2, 0, 0, 0, 0, 1)
    this.mtu = options.mtu ?? 1500
    const slots = options.slots ?? 64
    const memory = allocateFrameMemory(slots * SLOT_BYTES)
    this.#memory = memory
    this.#lengths = new Int32Array(slots)
    this.#queue = Array.from({ length: options.transmitQueue ?? 512 }, () => ({ memory, start: 0, length: 0 }))
  }

  /**
   * A frame comes in from the network.
   * @param frame from the Ethernet header on, at most MAX_FRAME_LENGTH bytes
   * @param vnetHeader 10 bytes; left out: a finished frame of ordinary length
   * @returns false when the link had no room (counted as overrun) or is closed
   */
  inject(frame: Uint8Array, vnetHeader: Uint8Array = noOffload): boolean {
    if (!this.#isOpen) return false
    const used = this.#held + this.#waiting
    if (used === this.#lengths.length || frame.length > MAX_FRAME_LENGTH) {
      this.statistics.overruns++
      return false
    }
    const slot = (this.#oldest + used) % this.#lengths.length
    const start = slot * SLOT_BYTES + FRAME_OFFSET
    this.#memory.bytes.set(vnetHeader, start - VNET_HEADER_LENGTH)
    this.#memory.bytes.set(frame, start)
    this.#lengths[slot] = frame.length
    this.#waiting++
    return true
  }

  /** What was transmitted since the last call, in order: of each, the virtio header and then the frame. */
  take(): Uint8Array[] {
    return this.#output.splice(0)
  }

  /** From now on what one of the two flushes waits at the other, instead of for take(). */
  static join(one: MemoryLink, other: MemoryLink): void {
    one.#peer = other
    other.#peer = one
  }

  receive(frames: Frame[]): number {
    const count = Math.min(frames.length, this.#waiting)
    for (let index = 0; index < count; index++) {
      const slot = (this.#oldest + this.#held + index) % this.#lengths.length
      const frame = frames[index]
      frame.memory = this.#memory
      frame.start = slot * SLOT_BYTES + FRAME_OFFSET
      frame.length = this.#lengths[slot]
      this.statistics.receivedBytes += frame.length
    }
    this.#held += count
    this.#waiting -= count
    this.statistics.receivedFrames += count
    return count
  }

  transmit(frame: Frame): boolean {
    if (this.#queued === this.#queue.length || !this.#isOpen) {
      this.statistics.transmitErrors++
      return false
    }
    const queued = this.#queue[this.#queued++]
    queued.memory = frame.memory
    queued.start = frame.start
    queued.length = frame.length
    return true
  }

  flush(): void {
    for (let index = 0; index < this.#queued; index++) {
      const frame = this.#queue[index]
      if (isRefused(frame, this.mtu)) {
        this.statistics.transmitErrors++
        continue
      }
      const packet = frame.memory.bytes.slice(frame.start - VNET_HEADER_LENGTH, frame.start + frame.length)
      if (this.#peer) this.#peer.inject(packet.subarray(VNET_HEADER_LENGTH), packet.subarray(0, VNET_HEADER_LENGTH))
      else this.#output.push(packet)
      this.statistics.transmittedFrames++
      this.statistics.transmittedBytes += frame.length
    }
    this.#queued = 0
  }

  release(): void {
    this.#oldest = (this.#oldest + this.#held) % this.#lengths.length
    this.#held = 0
  }

  close(): void {
    this.#isOpen = false
    this.#held = 0
    this.#waiting = 0
    this.#queued = 0
  }
}

/** Whether the kernel would refuse to send this frame over an interface of this MTU. */
function isRefused({ memory: { bytes }, start, length }: Frame, mtu: number): boolean {
  if (length < ETHERNET_HEADER_LENGTH || length > MAX_FRAME_LENGTH) return true
  const header = new DataView(bytes.buffer, bytes.byteOffset + start - VNET_HEADER_LENGTH, VNET_HEADER_LENGTH)
  const gsoType = header.getUint8(1)
  const segmentBytes = header.getUint16(4, true)
  if (gsoType === VNET_GSO_NONE ? length > mtu + ETHERNET_HEADER_LENGTH : segmentBytes === 0) return true
  // Nobody cuts TCP segments behind another header for us: the kernel's inet_gso_segment() goes by the outer protocol.
  if (gsoType === VNET_GSO_TCPV4 && bytes[start + ETHERNET_HEADER_LENGTH + IPV4_PROTOCOL] !== IPPROTO_TCP) return true
  const checksumEnd = header.getUint16(6, true) + header.getUint16(8, true) + 2
  return (header.getUint8(0) & VNET_NEEDS_CSUM) !== 0 && checksumEnd > length
}
