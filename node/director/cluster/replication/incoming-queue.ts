/**
 * Records of peers on their way into the ring from which the forwarder takes them. When the ring is full the rest waits
 * here; a caller who finds too much waiting must not offer more.
 */
import type { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import type { RecordBlock } from '../../../../protocol/wire/record-block.ts'
import type { Clock } from '../../clock.ts'

export interface IncomingQueueOptions {
  readonly ring: RecordRing
  readonly clock: Clock
  /** Ends the forwarder's wait. */
  readonly wake: () => void
  /** Called when nothing waits any more. */
  readonly onEmpty: () => void
}

/** How soon a full ring is tried again. The reader tells nobody when it takes something out. */
const RETRY_MS = 1

export class IncomingQueue {
  readonly #options: IncomingQueueOptions
  readonly #waiting: RecordBlock[] = []
  /** Records of waiting[0] already written. */
  #position = 0
  #waitingBytes = 0
  #accepted = 0
  #written = 0
  #cancelRetry: (() => void) | undefined
  #isStopped = false

  constructor(options: IncomingQueueOptions) {
    this.#options = options
  }

  get waitingBytes(): number {
    return this.#waitingBytes
  }

  /** Records accepted so far, to be compared with `taken` later. */
  get accepted(): number {
    return this.#accepted
  }

  /** Records that the forwarder has taken. */
  get taken(): number {
    return this.#written - this.#options.ring.length
  }

  push(block: RecordBlock): void {
    if (block.count === 0 || this.#isStopped) return
    this.#accepted += block.count
    this.#waiting.push(block)
    this.#waitingBytes += block.byteLength
    if (this.#waiting.length === 1) this.#pump()
  }

  /** Messages come until the transport stops, too: what is pushed from now on is not taken. */
  stop(): void {
    this.#isStopped = true
    this.#cancelRetry?.()
  }

  #pump(): void {
    const { ring, clock, wake, onEmpty } = this.#options
    const before = this.#written
    while (this.#waiting.length > 0 && this.#writeFrom(this.#waiting[0])) {
      this.#waitingBytes -= (this.#waiting.shift() as RecordBlock).byteLength
      this.#position = 0
    }
    if (this.#written !== before) {
      ring.notify()
      wake()
    }
    if (this.#waiting.length === 0) onEmpty()
    else this.#cancelRetry = clock.schedule(RETRY_MS, () => this.#pump())
  }

  /** False when the ring was full before the block's end. */
  #writeFrom(block: RecordBlock): boolean {
    const { ring } = this.#options
    let free = ring.capacity - ring.length
    for (; this.#position < block.count; this.#position++, free--) {
      if (free === 0) return false
      block.read(this.#position, ring.bytes, ring.reserve())
      ring.commit()
      this.#written++
    }
    return true
  }
}
