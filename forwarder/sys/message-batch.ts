/**
 * Many datagrams with one system call: sendmmsg(2) and recvmmsg(2) over message headers that are built once.
 *
 * Layouts of 64-bit Linux (bits/types/struct_iovec.h, bits/socket.h), little endian:
 * struct iovec    0 base u64 | 8 length u64
 * struct mmsghdr  0 name u64 | 8 name length u32 | 16 iovec u64 | 24 iovec count u64 | 32 control u64 |
 *                 40 control length u64 | 48 flags u32 | 56 bytes moved u32
 *
 * Beside the bytes of a datagram the kernel can tell its sender's address (the name) and what else was asked for by socket options
 * (control messages); both go into memory of the batch's own.
 */
import type { FrameMemory } from '../link/link.ts'
import { addressOf, errno, recvmmsg, sendmmsg } from './libc.ts'

const HEADER_BYTES = 64
const HEADER_WORDS = HEADER_BYTES / 4
const IOVEC_BYTES = 16
const IOVEC_WORDS = IOVEC_BYTES / 4
const NAME_LENGTH_WORD = 2
const CONTROL_LENGTH_WORD = 10
const MOVED_WORD = 14
/** Room for a struct sockaddr_in6. */
const NAME_BYTES = 32
const MSG_DONTWAIT = 0x40 // bits/socket.h
/** What one call takes at most: UIO_MAXIOV, linux/uio.h. */
export const MESSAGES_MAX = 1024

export class MessageBatch {
  readonly capacity: number
  readonly #headers: Uint32Array
  readonly #vectors: Uint32Array
  readonly #headersAddress: number
  readonly #controlBytes: number
  /** What came beside each datagram, if control messages were asked for: see nameAt() and controlAt(). */
  readonly beside: DataView

  /** @param controlBytes room for a datagram's control messages; with 0 the sender's address is not asked for either */
  constructor(capacity: number, controlBytes = 0) {
    if (!(capacity >= 1 && capacity <= MESSAGES_MAX))
      throw new RangeError(`a batch has 1 to ${MESSAGES_MAX} messages, not ${capacity}`)
    this.capacity = capacity
    const headers = new BigUint64Array(capacity * (HEADER_BYTES / 8))
    const vectors = new ArrayBuffer(capacity * IOVEC_BYTES)
    const vectorsAddress = addressOf(vectors)
    const beside = new ArrayBuffer(controlBytes === 0 ? 0 : capacity * (NAME_BYTES + controlBytes))
    this.beside = new DataView(beside)
    this.#controlBytes = controlBytes
    for (let index = 0; index < capacity; index++) {
      headers[index * 8 + 2] = BigInt(vectorsAddress + index * IOVEC_BYTES)
      headers[index * 8 + 3] = 1n
      if (controlBytes === 0) continue
      headers[index * 8] = BigInt(addressOf(beside) + this.nameAt(index))
      headers[index * 8 + 4] = BigInt(addressOf(beside) + this.controlAt(index))
    }
    this.#headers = new Uint32Array(headers.buffer)
    this.#headersAddress = addressOf(headers.buffer)
    this.#vectors = new Uint32Array(vectors)
  }

  /** Points a message at memory.bytes[start .. start + length); the memory must outlive the call that moves it. */
  set(index: number, memory: FrameMemory, start: number, length: number): void {
    const word = index * IOVEC_WORDS
    const low = memory.addressLow + start
    this.#vectors[word] = low
    this.#vectors[word + 1] = memory.addressHigh + (low >= 0x1_0000_0000 ? 1 : 0)
    this.#vectors[word + 2] = length
  }

  /** The length given to set(). */
  length(index: number): number {
    return this.#vectors[index * IOVEC_WORDS + 2]
  }

  /**
   * Sends messages from `first` on, in order, until one is refused.
   * @returns how many went out; if that is none, the negative errno of the first
   */
  send(descriptor: number, first: number, count: number): number {
    const sent = sendmmsg(descriptor, this.#headersAddress + first * HEADER_BYTES, count, MSG_DONTWAIT)
    return sent < 0 ? -errno() : sent
  }

  /** Fills messages from index 0 on; returns how many, or the negative errno. */
  receive(descriptor: number, count: number): number {
    if (this.#controlBytes > 0) this.#makeRoomBeside(count)
    const received = recvmmsg(descriptor, this.#headersAddress, count, MSG_DONTWAIT, 0)
    return received < 0 ? -errno() : received
  }

  /** Where in `beside` the struct sockaddr of a datagram's sender is. */
  nameAt(index: number): number {
    return index * (NAME_BYTES + this.#controlBytes)
  }

  /** Where in `beside` a datagram's control messages begin. */
  controlAt(index: number): number {
    return this.nameAt(index) + NAME_BYTES
  }

  /** Bytes of a datagram's control messages. */
  controlLength(index: number): number {
    return this.#headers[index * HEADER_WORDS + CONTROL_LENGTH_WORD]
  }

  /** The kernel has put the lengths used in place of those that there were. */
  #makeRoomBeside(count: number): void {
    for (let index = 0; index < count; index++) {
      this.#headers[index * HEADER_WORDS + NAME_LENGTH_WORD] = NAME_BYTES
      this.#headers[index * HEADER_WORDS + CONTROL_LENGTH_WORD] = this.#controlBytes
    }
  }

  /** Bytes that the last receive() put into this message. */
  moved(index: number): number {
    return this.#headers[index * HEADER_WORDS + MOVED_WORD]
  }
}
