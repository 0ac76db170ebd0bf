/**
 * A ring of connection records between two threads: one writer, one reader, no locks, in shared memory.
 *
 * The forwarding loop writes what changed into one such ring for replication to read, and reads what the peers said
 * from another. Positions only grow (modulo 2^32); a slot is RECORD_LENGTH bytes. When the ring is full the writer
 * counts the record as lost instead of waiting: the reader sees `lost` grow and must compare tables by other means.
 *
 * The writer may wait until what it wrote is known elsewhere too: it says so with awaitConfirmation(), and before with
 * wantsConfirmation, since the reader may take a record and send it on as soon as it is written; and the reader answers with confirm(). Both positions stand still while nothing is waited for, for longer than positions take to come round: then they seem to
 * lie ahead of everything that was written, and count for nothing.
 *
 * Source: L. Lamport, "Specifying Concurrent Program Modules", 1983 (the single-producer single-consumer queue).
 */
import { RECORD_LENGTH } from '../../protocol/wire/connection-record.ts'

const HEAD = 0 // next position to read
/** Written by the reader, too: what it had no room for. */
const UNPLACED = 1
const TAIL = 16 // next position to write; on a cache line of its own
const LOST = 32
/** Up to which position the writer waits for a confirmation. */
const WANTED = 33
const UNCONFIRMED = 34
/** Written by the reader: up to which position a peer has everything, and how many peers there are to confirm. */
const CONFIRMED = 48
const WITNESSES = 49
const HEADER_BYTES = 256

export class RecordRing {
  readonly shared: SharedArrayBuffer
  /** Record memory; offsets given by reserve() and peek() point into it. */
  readonly bytes: Uint8Array
  /** Writer: whether it is going to wait for what it writes now. If it then does not, nobody does. */
  wantsConfirmation = false
  readonly #header: Int32Array
  readonly #mask: number

  /** @param shared memory made by RecordRing.allocate() */
  constructor(shared: SharedArrayBuffer) {
    this.shared = shared
    this.#header = new Int32Array(shared, 0, HEADER_BYTES / 4)
    this.bytes = new Uint8Array(shared, HEADER_BYTES)
    this.#mask = this.bytes.length / RECORD_LENGTH - 1
  }

  /** @param slots a power of two */
  static allocate(slots: number): SharedArrayBuffer {
    if (slots < 1 || (slots & (slots - 1)) !== 0)
      throw new RangeError(`ring slots must be a power of two, not ${slots}`)
    return new SharedArrayBuffer(HEADER_BYTES + slots * RECORD_LENGTH)
  }

  /** Writer: offset of a free slot to fill, or -1 when the ring is full (counted as lost). */
  reserve(): number {
    const tail = this.#header[TAIL]
    if (((tail - Atomics.load(this.#header, HEAD)) | 0) > this.#mask) {
      Atomics.add(this.#header, LOST, 1)
      return -1
    }
    return (tail & this.#mask) * RECORD_LENGTH
  }

  /** Writer: makes the reserved slot visible to the reader. */
  commit(): void {
    const tail = (this.#header[TAIL] + 1) | 0
    if (this.wantsConfirmation && this.hasWitness) this.#want(tail)
    Atomics.store(this.#header, TAIL, tail)
  }

  /** Writer: wakes a reader that waits in whenWritten(). Call once after a batch of commits. */
  notify(): void {
    Atomics.notify(this.#header, TAIL, 1)
  }

  /** Writer: whether there is anybody who could confirm. */
  get hasWitness(): boolean {
    return Atomics.load(this.#header, WITNESSES) > 0
  }

  /** Writer: wants everything that it has written to be confirmed. Returns the position for isConfirmed(). */
  awaitConfirmation(): number {
    const tail = this.#header[TAIL]
    this.#want(tail)
    return tail
  }

  #want(position: number): void {
    const confirmed = Atomics.load(this.#header, CONFIRMED)
    if (((confirmed - position) | 0) > 0)
      Atomics.compareExchange(this.#header, CONFIRMED, confirmed, (position - 1) | 0)
    Atomics.store(this.#header, WANTED, position)
  }

  isConfirmed(position: number): boolean {
    return ((Atomics.load(this.#header, CONFIRMED) - position) | 0) >= 0
  }

  /** Writer: something that should have been confirmed went on without. */
  countUnconfirmed(): void {
    Atomics.add(this.#header, UNCONFIRMED, 1)
  }

  /** Reader: the position of the next record that it will read. */
  get position(): number {
    return this.#header[HEAD]
  }

  /** Reader: whether the writer waits for something from `position` on. */
  isAwaitedAfter(position: number): boolean {
    const wanted = Atomics.load(this.#header, WANTED)
    // It may be about to write the last of it: what it had wanted before is wanted still.
    return ((wanted - position) | 0) > 0 && ((Atomics.load(this.#header, TAIL) - wanted) | 0) >= -1
  }

  /** Reader: a peer has everything from before `position`. */
  confirm(position: number): void {
    if (((position - this.#header[CONFIRMED]) | 0) > 0) Atomics.store(this.#header, CONFIRMED, position)
  }

  setWitnesses(count: number): void {
    Atomics.store(this.#header, WITNESSES, count)
  }

  /** How often the writer went on unconfirmed, since the ring was made. */
  get unconfirmed(): number {
    return Atomics.load(this.#header, UNCONFIRMED)
  }

  /** Reader: offset of the oldest unread slot, or -1 when there is none. */
  peek(): number {
    const head = this.#header[HEAD]
    return head === Atomics.load(this.#header, TAIL) ? -1 : (head & this.#mask) * RECORD_LENGTH
  }

  /** Reader: gives the slot that peek() returned back to the writer. */
  advance(): void {
    Atomics.store(this.#header, HEAD, (this.#header[HEAD] + 1) | 0)
  }

  /** Reader: had no room for what the slot holds. To be said before it is given back. */
  countUnplaced(): void {
    Atomics.add(this.#header, UNPLACED, 1)
  }

  /** Records that the reader had no room for, since the ring was made. */
  get unplaced(): number {
    return Atomics.load(this.#header, UNPLACED)
  }

  /** Reader: resolves when there is something to read, at the latest after timeoutMs. Never blocks the thread. */
  async whenWritten(timeoutMs: number): Promise<void> {
    const result = Atomics.waitAsync(this.#header, TAIL, this.#header[HEAD], timeoutMs)
    if (result.async) await result.value
  }

  /** Unread records. */
  get length(): number {
    return (Atomics.load(this.#header, TAIL) - Atomics.load(this.#header, HEAD)) | 0
  }

  get capacity(): number {
    return this.#mask + 1
  }

  /** Records that found no room, since the ring was made. */
  get lost(): number {
    return Atomics.load(this.#header, LOST)
  }
}
