/**
 * Which differences between tables last. Where connections come and go some are in one table and not yet, or not any more, in the other
 * whenever two are compared; these are others each time. What is really missing is the same each time, and so is its hash.
 *
 * A range's difference lasts if it is, bit for bit, the one that was seen a while ago, with this peer the last time or with any: where there
 * are many peers the same one is compared with rarely.
 */
import { differentRanges, RANGE_WORDS } from '../../../../protocol/wire/table-digest.ts'
import type { PeerName } from '../transport.ts'

/** Longer than what runs out takes to do so at all directors; two of them are compared no oftener. */
export const LASTS_MS = 400

export class LastingDifferences {
  readonly #withPeer = new Map<PeerName, Sightings>()
  /** Of each range the last difference that there was. */
  readonly #withAny: Sightings
  /** Of the digests that are compared. */
  readonly ranges: number

  constructor(ranges: number) {
    this.ranges = ranges
    this.#withAny = new Sightings(ranges)
  }

  /**
   * Notes a comparison.
   * @param difference as TableDigest.difference() makes it
   * @returns the ranges whose differences were there before
   */
  note(peer: PeerName, difference: Uint32Array, nowMs: number): number[] {
    const withPeer = this.#withPeer.get(peer) ?? new Sightings(this.ranges)
    this.#withPeer.set(peer, withPeer)
    const different = differentRanges(difference)
    withPeer.keepOnly(different)
    return different.filter((range) => {
      const sinceMs = Math.min(withPeer.see(difference, range, nowMs), this.#withAny.see(difference, range, nowMs))
      return nowMs - sinceMs >= LASTS_MS
    })
  }

  forget(peer: PeerName): void {
    this.#withPeer.delete(peer)
  }
}

/** The differences that were seen last, by range, and since when. */
class Sightings {
  readonly #words: Uint32Array
  readonly #sinceMs: Float64Array

  constructor(ranges: number) {
    this.#words = new Uint32Array(ranges * RANGE_WORDS)
    this.#sinceMs = new Float64Array(ranges)
  }

  /** @returns since when this range differs just so */
  see(difference: Uint32Array, range: number, nowMs: number): number {
    const words = this.#words
    const at = range * RANGE_WORDS
    if (words[at] === difference[at] && words[at + 1] === difference[at + 1]) return this.#sinceMs[range]
    words[at] = difference[at]
    words[at + 1] = difference[at + 1]
    this.#sinceMs[range] = nowMs
    return nowMs
  }

  /** The others are alike. @param ranges ascending */
  keepOnly(ranges: readonly number[]): void {
    let next = 0
    for (let range = 0; range < this.#sinceMs.length; range++) {
      if (ranges[next] === range) next++
      else this.#words.fill(0, range * RANGE_WORDS, (range + 1) * RANGE_WORDS)
    }
  }
}
