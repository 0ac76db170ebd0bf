/**
 * What the templates of SIP calls were made from: whom the call is of and its Call-ID, by their hash (call-hash.ts). In shared memory,
 * which the forwarding loop writes and anyone reads.
 *
 * Nothing is decided by it. Templates are found by the hash alone; a listing says what it is of, and peers are told. So a call that
 * finds no room here, or whose description has not come whole from a peer, is forwarded as any other.
 */
import { CALL_LENGTH_MAX, CALL_PIECE_LENGTH } from '../../protocol/wire/connection-record.ts'
import { hashAddress } from './keyed-hash.ts'

const HASH_WORDS = 4
const ENTRY_WORDS = 2 + HASH_WORDS
/** `size`: pieces that are there << 16 | length. */
const ENTRY = { next: 0, size: 1, hash: 2 } as const
const PIECES_SHIFT = 16
/** Entry 0 is nobody. */
export const NO_CALL = 0
/** A chain that a reader meets while it is written may lead it anywhere, but not for ever. */
const LONGEST_CHAIN = 64

export class CallBook {
  readonly #entries: Int32Array
  readonly #heads: Int32Array
  readonly #contents: Uint8Array
  readonly #mask: number
  readonly #secret: number
  /** Writer only: templates of the call; it may have one at each of several services. */
  readonly #holders: Uint32Array
  readonly #free: number[] = []
  #fresh = 1

  /**
   * @param capacity a power of two
   * @param secret random bits, the same for every thread
   */
  constructor(shared: SharedArrayBuffer, byteOffset: number, capacity: number, secret: number) {
    this.#entries = new Int32Array(shared, byteOffset, capacity * ENTRY_WORDS)
    this.#heads = new Int32Array(shared, byteOffset + this.#entries.byteLength, capacity)
    const contentsAt = byteOffset + this.#entries.byteLength + this.#heads.byteLength
    this.#contents = new Uint8Array(shared, contentsAt, capacity * CALL_LENGTH_MAX)
    this.#holders = new Uint32Array(capacity)
    this.#mask = capacity - 1
    this.#secret = secret
  }

  static bytesFor(capacity: number): number {
    return capacity * ((ENTRY_WORDS + 1) * 4 + CALL_LENGTH_MAX)
  }

  /** The entry of the call whose hash is in the four words at `at`; NO_CALL when there is none. */
  find(hash: Int32Array, at: number): number {
    const entries = this.#entries
    let entry = this.#heads[this.#bucket(hash, at)]
    for (let steps = 0; entry !== NO_CALL && steps < LONGEST_CHAIN; steps++) {
      const words = entry * ENTRY_WORDS + ENTRY.hash
      if (
        entries[words] === hash[at] &&
        entries[words + 1] === hash[at + 1] &&
        entries[words + 2] === hash[at + 2] &&
        entries[words + 3] === hash[at + 3]
      ) {
        return entry
      }
      entry = entries[entry * ENTRY_WORDS + ENTRY.next]
    }
    return NO_CALL
  }

  /** There is a template more of a call: an entry that says nothing yet is made, if there is none, and room. Writer only. */
  retain(hash: Int32Array, at: number): void {
    const known = this.find(hash, at)
    if (known !== NO_CALL) {
      this.#holders[known]++
      return
    }
    const entry = this.#free.pop() ?? (this.#fresh <= this.#mask ? this.#fresh++ : NO_CALL)
    if (entry === NO_CALL) return
    this.#holders[entry] = 1
    const words = entry * ENTRY_WORDS
    const bucket = this.#bucket(hash, at)
    this.#entries[words + ENTRY.next] = this.#heads[bucket]
    this.#entries[words + ENTRY.size] = 0
    for (let word = 0; word < HASH_WORDS; word++) this.#entries[words + ENTRY.hash + word] = hash[at + word]
    Atomics.store(this.#heads, bucket, entry)
  }

  /** There is one less. Writer only. */
  release(hash: Int32Array, at: number): void {
    const entry = this.find(hash, at)
    if (entry === NO_CALL || --this.#holders[entry] > 0) return
    const entries = this.#entries
    const next = entries[entry * ENTRY_WORDS + ENTRY.next]
    const bucket = this.#bucket(hash, at)
    if (this.#heads[bucket] === entry) {
      this.#heads[bucket] = next
    } else {
      let before = this.#heads[bucket]
      while (entries[before * ENTRY_WORDS + ENTRY.next] !== entry) before = entries[before * ENTRY_WORDS + ENTRY.next]
      entries[before * ENTRY_WORDS + ENTRY.next] = next
    }
    this.#free.push(entry)
  }

  /** Writes one piece of a description of `length` bytes: CALL_PIECE_LENGTH of them, or what is left. Writer only. */
  writePiece(entry: number, piece: number, length: number, bytes: Uint8Array, from: number): void {
    const start = piece * CALL_PIECE_LENGTH
    if (entry === NO_CALL || length > CALL_LENGTH_MAX || start >= length) return
    const to = entry * CALL_LENGTH_MAX + start
    const count = Math.min(CALL_PIECE_LENGTH, length - start)
    for (let i = 0; i < count; i++) this.#contents[to + i] = bytes[from + i]
    const at = entry * ENTRY_WORDS + ENTRY.size
    this.#entries[at] = ((this.#entries[at] | (1 << (piece + PIECES_SHIFT))) & ~0xffff) | length
  }

  /** Length of the description; 0 while it is not whole. */
  lengthOf(entry: number): number {
    const size = this.#entries[entry * ENTRY_WORDS + ENTRY.size]
    const pieces = Math.ceil((size & 0xffff) / CALL_PIECE_LENGTH)
    return entry !== NO_CALL && size >>> PIECES_SHIFT === (1 << pieces) - 1 ? size & 0xffff : 0
  }

  /** The descriptions of all calls, and where one of them begins. */
  get contents(): Uint8Array {
    return this.#contents
  }

  startOf(entry: number): number {
    return entry * CALL_LENGTH_MAX
  }

  #bucket(hash: Int32Array, at: number): number {
    return hashAddress(hash[at], hash[at + 1], hash[at + 2], hash[at + 3], this.#secret) & this.#mask
  }
}
