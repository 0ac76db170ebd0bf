/**
 * What peers have told and is not in force yet, and how much of it there may be: no peer shall make what is configured grow for ever, nor
 * have it fill the memory while it waits.
 */
import type { KeyObject } from 'node:crypto'
import {
  CONFIGURED_MAX,
  CountedEntries,
  MEMBERSHIP_WEIGHT_MAX,
  PEERS_WEIGHT_SHARE,
  STRANGERS_MAX,
  WEIGHT_MAX,
} from './counted-entries.ts'
import { weightOf } from './entry-weight.ts'
import type { PeerIds } from './membership.ts'
import { admissionEntryKey, entryKey, isMembership, type PoolEntry } from './pool-entry.ts'

export interface HeardEntriesOptions {
  readonly inForce: CountedEntries
  readonly membership: PeerIds
  /** By which admissions prove themselves; none: they cannot here. */
  readonly poolKeys: readonly KeyObject[]
  /** Of all that is configured; WEIGHT_MAX if it is not given. */
  readonly weightMax?: number
}

export class HeardEntries {
  readonly #options: HeardEntriesOptions
  /** The newest of each key. */
  #waiting = new CountedEntries()
  /** Those of them that are about something new, and so take room. */
  #added = new CountedEntries()
  /** As those were when the merge began that is under way: what is not in force yet takes room all the same. */
  #merging = new CountedEntries()
  /** By how much all that waits would make what is configured heavier. */
  #growth = 0
  /** The same of what is being merged, until all of it is in force. */
  #mergingGrowth = 0

  constructor(options: HeardEntriesOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#waiting.size
  }

  get(key: string): PoolEntry | undefined {
    return this.#waiting.get(key)
  }

  put(key: string, entry: PoolEntry): void {
    const { inForce } = this.#options
    const weight = this.#waiting.weight + (this.#waiting.has(key) ? 0 : inForce.weightAt(key))
    this.#waiting.put(key, entry)
    this.#growth += this.#waiting.weight - weight
    if (!inForce.has(key) && !this.#merging.has(key)) this.#added.put(key, entry)
  }

  /** Those that wait are to be put in force. Until endMerge() they count nevertheless. */
  beginMerge(): PoolEntry[] {
    const entries = [...this.#waiting.values()]
    this.#merging = this.#added
    this.#mergingGrowth = this.#growth
    this.#waiting = new CountedEntries()
    this.#added = new CountedEntries()
    this.#growth = 0
    return entries
  }

  /** What has this key is about to be in force, and counts there. */
  settle(key: string): void {
    this.#merging.put(key, undefined)
  }

  endMerge(): void {
    this.#merging = new CountedEntries()
    this.#mergingGrowth = 0
  }

  /**
   * Never so for a director that is known to the pool, and never for an admission, which the pool's key bounds: whoever fills the rest must
   * not outlast his revocation. Without a key here anybody can have signed it. How many servers the forwarder has places for is not asked:
   * what has none is not forwarded to, and the rest is in force.
   */
  hasNoRoomFor(entry: PoolEntry): boolean {
    const { membership, poolKeys, inForce } = this.#options
    const all = [inForce, this.#merging, this.#added]
    const has = (key: string) => all.some((entries) => entries.has(key))
    const sum = (count: (entries: CountedEntries) => number) => all.reduce((total, each) => total + count(each), 0)
    const key = entryKey(entry)
    if (isMembership(entry) ? isHeavyMembership(entry) : this.#isTooHeavy(key, entry)) return true
    if (has(key)) return false
    if (!isMembership(entry)) return sum(({ configured }) => configured) >= CONFIGURED_MAX
    const isKnown =
      entry.kind === 'admission'
        ? poolKeys.length > 0
        : membership.isConfigured(entry.peer) || has(admissionEntryKey(entry.peer))
    return !isKnown && sum((entries) => entries.count(entry.kind)) >= STRANGERS_MAX
  }

  /** Whatever makes it lighter is taken. */
  #isTooHeavy(key: string, entry: PoolEntry): boolean {
    const { inForce, weightMax = WEIGHT_MAX } = this.#options
    const growth = weightOf(entry) - (this.#waiting.has(key) ? this.#waiting : inForce).weightAt(key)
    const sum = inForce.weight + this.#mergingGrowth + this.#growth + growth
    return growth > 0 && sum > PEERS_WEIGHT_SHARE * weightMax
  }
}

/** What its author knew has a bound of its own, and grows with each director that changes it. */
function isHeavyMembership({ seen, knew, ...entry }: PoolEntry): boolean {
  return weightOf(entry) > MEMBERSHIP_WEIGHT_MAX
}
