/**
 * Which way batches of records go. Ordinarily by gossip: it brings them past a broken link too. But gossip signs, verifies, announces and
 * passes on every message, which takes each director more than the records do; so when there are very many, and for what the forwarder waits
 * for, they go straight to each peer over our own streams. A peer that is not connected would miss those, and while there is one only what is
 * awaited goes so.
 */

/** Records in a batch: as many in GATHER_MS are more than 50,000 a second. Then it stays so until there are clearly fewer. */
const DENSE_FROM = 100
const DENSE_UNTIL = 50

export class BatchPath {
  #isDense = false

  /**
   * Decides it for the next batch.
   * @param isAwaited the forwarder waits until a peer has it
   * @param isWhole every peer is connected
   */
  isStraight(records: number, isAwaited: boolean, isWhole: boolean): boolean {
    this.#isDense = records >= (this.#isDense ? DENSE_UNTIL : DENSE_FROM)
    return isAwaited || (this.#isDense && isWhole)
  }
}
