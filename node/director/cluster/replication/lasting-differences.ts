/**
 * Which differences between tables last. Where connections come and go some are in one table and not yet, or not any more, in the other
 * whenever two are compared; these are others each time. What is really missing is the same each time, and so is its hash.
 *
 * A range's difference lasts if it is, bit for bit, the one that this peer, or the one that any peer's table showed last: with many peers the
 * same one is compared with rarely.
 */
import { DIGEST_WORDS, differentRanges } from '../../../../protocol/wire/table-digest.ts'
import type { PeerName } from '../transport.ts'

export class LastingDifferences {
  /** As of the last comparison with each. */
  readonly #withPeer = new Map<PeerName, Uint32Array>()
  /** Of each range the last that there was, with whomever. */
  readonly #withAny = new Uint32Array(DIGEST_WORDS)

  /**
   * Notes a comparison.
   * @param difference as TableDigest.difference() makes it; kept
   * @returns the ranges whose differences were there before
   */
  note(peer: PeerName, difference: Uint32Array): number[] {
    const before = this.#withPeer.get(peer)
    const different = differentRanges(difference)
    const lasting = different.filter(
      (range) => isSame(difference, this.#withAny, range) || (before && isSame(difference, before, range)),
    )
    for (const range of different) {
      this.#withAny[range * 2] = difference[range * 2]
      this.#withAny[range * 2 + 1] = difference[range * 2 + 1]
    }
    this.#withPeer.set(peer, difference)
    return lasting
  }

  forget(peer: PeerName): void {
    this.#withPeer.delete(peer)
  }
}

function isSame(one: Uint32Array, other: Uint32Array, range: number): boolean {
  return one[range * 2] === other[range * 2] && one[range * 2 + 1] === other[range * 2 + 1]
}
