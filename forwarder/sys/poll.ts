/**
 * Waiting for any of several descriptors: poll(2), over a pollfd array that is built once.
 *
 * struct pollfd (asm-generic/poll.h): descriptor i32 | events u16 | returned events u16.
 */
import { EBADF, systemError } from './errors.ts'
import { addressOf, poll } from './libc.ts'
import { getOption, SO_ERROR, SOL_SOCKET } from './socket.ts'

const POLLIN = 1
const POLLERR = 8
const POLLNVAL = 32
const RETURNED = 3 // in 16-bit words

/** A thread that waits in the kernel cannot be stopped; this bounds how long stopping takes. */
export const LONGEST_WAIT_MS = 50

export class PollSet {
  readonly #descriptors: readonly number[]
  readonly #entries: Uint16Array
  readonly #address: number
  readonly #error = new Int32Array(1)

  constructor(descriptors: readonly number[]) {
    this.#descriptors = [...descriptors]
    const buffer = new ArrayBuffer(descriptors.length * 8)
    const words = new Int32Array(buffer)
    this.#entries = new Uint16Array(buffer)
    this.#address = addressOf(buffer)
    for (const [index, descriptor] of descriptors.entries()) {
      words[index * 2] = descriptor
      this.#entries[index * 4 + 2] = POLLIN
    }
  }

  /**
   * Blocks until a descriptor is readable, at most timeoutMs (cut to 50 ms; 0 only looks).
   * @returns how many are ready; 0 also when a signal ended the wait
   * @throws when a descriptor can never be waited for again, for instance because it was closed
   */
  wait(timeoutMs: number): number {
    const ready = poll(this.#address, this.#descriptors.length, Math.max(0, Math.min(timeoutMs, LONGEST_WAIT_MS)))
    if (ready > 0) this.#takeErrors()
    return Math.max(0, ready)
  }

  /** Whether the descriptor at this place of the constructor's list was readable in the last wait(). */
  isReadable(index: number): boolean {
    return (this.#entries[index * 4 + RETURNED] & POLLIN) !== 0
  }

  /** A socket whose interface went down reports an error until it is fetched; left there, wait() would never block again. */
  #takeErrors(): void {
    for (let index = 0; index < this.#descriptors.length; index++) {
      const descriptor = this.#descriptors[index]
      const returned = this.#entries[index * 4 + RETURNED]
      if (returned & POLLNVAL) throw systemError(`descriptor ${descriptor} was closed while it was waited for`, EBADF)
      if (returned & POLLERR)
        getOption(descriptor, SOL_SOCKET, SO_ERROR, this.#error, `descriptor ${descriptor} failed`)
    }
  }
}
