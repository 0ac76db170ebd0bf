/**
 * Memory for frames that the engine makes or keeps: answers of its own, segments of a frame that had to be cut, packets that
 * wait for an address to be resolved. A fixed number of slots; when they are out, the frame is dropped and counted.
 */
import { type Frame, type FrameMemory, HEADROOM, VNET_HEADER_LENGTH } from '../link/link.ts'

export interface PooledFrame extends Frame {
  /** Number of the link it shall leave by. */
  link: number
  /** Where the frame starts while nothing is put in front of it. */
  readonly home: number
}

export class FramePool {
  /** The longest frame that fits into a slot. */
  readonly maxLength: number
  readonly total: number
  readonly #free: PooledFrame[] = []

  /** @param slotLength bytes a slot, header room included */
  constructor(memory: FrameMemory, slotLength: number) {
    const room = HEADROOM + VNET_HEADER_LENGTH
    this.maxLength = slotLength - room
    for (let at = memory.bytes.length - slotLength; at >= 0; at -= slotLength) {
      this.#free.push({ memory, start: at + room, length: 0, link: 0, home: at + room })
    }
    this.total = this.#free.length
  }

  /** An empty frame with a clean virtio header, or undefined when all are in use. */
  take(): PooledFrame | undefined {
    const frame = this.#free.pop()
    if (frame === undefined) return undefined
    frame.start = frame.home
    frame.length = 0
    frame.memory.bytes.fill(0, frame.home - VNET_HEADER_LENGTH, frame.home)
    return frame
  }

  /** A copy of `frame`, virtio header included; undefined when it does not fit or no slot is free. */
  copy(frame: Frame): PooledFrame | undefined {
    if (frame.length > this.maxLength) return undefined
    const copy = this.take()
    if (copy === undefined) return undefined
    const from = frame.start - VNET_HEADER_LENGTH
    copy.memory.bytes.set(
      frame.memory.bytes.subarray(from, frame.start + frame.length),
      copy.start - VNET_HEADER_LENGTH,
    )
    copy.length = frame.length
    return copy
  }

  give(frame: PooledFrame): void {
    this.#free.push(frame)
  }

  get free(): number {
    return this.#free.length
  }
}
