/**
 * Whether the own forwarder has had room for all that it was given of the peers' connections. It counts what it had no room for in the ring
 * that it reads them from.
 *
 * While a table is too small for the pool's, comparisons (table-comparison.ts) bring what it lacks again and again, every few seconds. So a
 * table that has refused nothing for longer holds everything, and nobody needs to know which records were refused. Not so where comparisons
 * are farther apart, of tables of many millions, or find no lasting difference, while most connections are seconds old.
 */
import type { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import type { Clock } from '../../clock.ts'

/** Twice as long as a comparison takes to bring what is lacking (docs/protocol.md, Repair). */
const LASTS_MS = 10_000

export class Placement {
  readonly #ring: Pick<RecordRing, 'unplaced'>
  readonly #clock: Pick<Clock, 'now'>
  #known = 0
  #grewMs = Number.NEGATIVE_INFINITY

  constructor(ring: Pick<RecordRing, 'unplaced'>, clock: Pick<Clock, 'now'>) {
    this.#ring = ring
    this.#clock = clock
  }

  /** Records for which there was no room, since the start. */
  get unplaced(): number {
    return this.#ring.unplaced
  }

  /** Of late something found no room. To be asked several times a second. */
  get isFull(): boolean {
    const { unplaced } = this.#ring
    if (unplaced !== this.#known) {
      this.#known = unplaced
      this.#grewMs = this.#clock.now()
    }
    return this.#clock.now() - this.#grewMs < LASTS_MS
  }
}
