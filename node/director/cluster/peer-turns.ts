/**
 * What peers say to the main thread, one message of each in turn, and in slices of time: neither the other peers nor VRRP's timers, which run
 * there too, wait for one who says much that takes long to read.
 *
 * The slices are not those that pace.ts shares out: while a long change is under way, what is told meanwhile would wait until it is dropped
 * (untaken-messages.ts).
 */
import { setImmediate } from 'node:timers/promises'
import { monotonicMs } from '../../../forwarder/clock.ts'

const SLICE_MS = 5

export class PeerTurns<Message> {
  readonly #handle: (message: Message) => void
  /** By peer; none is empty. */
  readonly #waiting = new Map<string, Message[]>()
  #isHandling = false
  #sliceEndsMs = 0

  /** @param handle does not throw */
  constructor(handle: (message: Message) => void) {
    this.#handle = handle
  }

  /** The message is handled at once, unless there is no time for it now or others wait. */
  push(peer: string, message: Message): void {
    const queue = this.#waiting.get(peer)
    if (queue) queue.push(message)
    else this.#waiting.set(peer, [message])
    if (!this.#isHandling) void this.#handleAll()
  }

  async #handleAll(): Promise<void> {
    this.#isHandling = true
    if (monotonicMs() >= this.#sliceEndsMs) this.#beginSlice()
    for (const message of this.#take()) {
      this.#handle(message)
      if (monotonicMs() < this.#sliceEndsMs) continue
      await setImmediate()
      this.#beginSlice()
    }
    this.#isHandling = false
  }

  *#take(): Generator<Message> {
    while (this.#waiting.size > 0) {
      for (const [peer, queue] of this.#waiting) {
        const message = queue.shift() as Message
        if (queue.length === 0) this.#waiting.delete(peer)
        yield message
      }
    }
  }

  #beginSlice(): void {
    this.#sliceEndsMs = monotonicMs() + SLICE_MS
  }
}
