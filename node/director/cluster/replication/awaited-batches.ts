/**
 * Batches with records whose connections wait until a peer has them (forwarder/engine/confirmations.ts). One of them is under way at
 * a time as long as its answer comes soon: what comes meanwhile goes with the next, so that many connections cost few messages.
 */
import type { RecordRing } from '../../../../forwarder/table/record-ring.ts'

/** As long as the forwarder waits for an answer; an older batch keeps no other one back. */
const LIMIT_MS = 50

export class AwaitedBatches {
  readonly #ring: RecordRing
  /** The oldest first. */
  #batches: { readonly sequence: number; readonly position: number; readonly sentAt: number }[] = []
  /** In the ring, where the last batch ended. */
  #sentTo: number

  constructor(ring: RecordRing) {
    this.#ring = ring
    this.#sentTo = ring.position
  }

  /** Whether the forwarder waits for something that has not been sent. */
  get isMoreAwaited(): boolean {
    return this.#ring.isAwaitedAfter(this.#sentTo)
  }

  /** Whether to send at once, rather than with what comes next. */
  isUrgent(now: number): boolean {
    if (!this.isMoreAwaited) return false
    const last = this.#batches.at(-1)
    return last === undefined || now - last.sentAt > LIMIT_MS
  }

  /**
   * A batch is sent, with everything read from the ring by now.
   * @param isAwaited what isMoreAwaited was when it was made, as it tells the peers: the forwarder may want more since
   */
  sent(sequence: number, now: number, isAwaited: boolean): void {
    const { position } = this.#ring
    if (isAwaited) {
      this.#batches = this.#batches.filter(({ sentAt }) => now - sentAt <= LIMIT_MS)
      this.#batches.push({ sequence, position, sentAt: now })
    }
    this.#sentTo = position
  }

  /** A peer has all batches up to this one. Returns whether anything had waited for that. */
  confirm(sequence: number): boolean {
    const last = this.#batches.findLast((batch) => batch.sequence <= sequence)
    if (last === undefined) return false
    this.#batches = this.#batches.filter((batch) => batch.sequence > sequence)
    this.#ring.confirm(last.position)
    return true
  }
}
