/**
 * An eventfd(2): a counter in the kernel by which one thread ends another's poll. Any thread of the process may use the
 * descriptor by its number.
 */
import { checked } from './errors.ts'
import { addressOf, eventfd, read, write } from './libc.ts'

// sys/eventfd.h
const EFD_NONBLOCK = 0o4000
const EFD_CLOEXEC = 0o2000000

// One word to write and one to read into. The object refers to the buffer, so that the addresses stay good.
const words = new BigUint64Array(new ArrayBuffer(16))
words[0] = 1n
const counter = { words, oneAddress: addressOf(words.buffer), readAddress: addressOf(words.buffer) + 8 }

/** Returns the descriptor; closeDescriptor() gives it back. */
export function createEventFd(): number {
  return checked(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), 'cannot create an eventfd')
}

/** Makes the descriptor readable. A counter already full is readable too, so a refused write loses nothing. */
export function wake(descriptor: number): void {
  write(descriptor, counter.oneAddress, 8)
}

/** Takes all wakes so far; false when there were none. */
export function drain(descriptor: number): boolean {
  return read(descriptor, counter.readAddress, 8) === 8
}
