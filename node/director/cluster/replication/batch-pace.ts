/**
 * When the batch that is being gathered is due. What a session cannot go on without at another director waits only for what comes with it,
 * as long as such records are few. When they come all the time batches keep a distance, as interrupts of a network card do: a
 * batch costs every director much the same, however many records it has. How a connection ends can wait longer in any case.
 */

/** How long a record waits for company after a quiet moment. */
const COMPANY_MS = 2
/** From one batch to the next while there are many records. */
const DISTANCE_MS = 10
const ENDING_MS = 25

export class BatchPace {
  #sentAt = Number.NEGATIVE_INFINITY

  /** When a record that has come now has to leave; one that has to leave sooner takes it along. */
  dueAt(now: number, isEnding: boolean): number {
    return isEnding ? now + ENDING_MS : Math.max(now + COMPANY_MS, this.#sentAt + DISTANCE_MS)
  }

  /** A batch has been sent. */
  sent(now: number): void {
    this.#sentAt = now
  }
}
