/** Entries, and how many there are of what is bounded: what this director changes, and what peers tell it, must not make it grow for ever. */
import { EntryState } from './entry-state.ts'
import { weightOf } from './entry-weight.ts'
import { isMembership, type PoolEntry } from './pool-entry.ts'

/** More than a pool configures. */
export const CONFIGURED_MAX = 65_536
/** Of directors that are neither configured nor were let in, those that are said to be shut out; and those that are said to be let in, where no key proves it. */
export const STRANGERS_MAX = 1024
/**
 * Of all that is configured, or was, in bytes of memory (entry-weight.ts): room for as many entries as there may be, each with a server or two and changed
 * by some fifteen directors.
 */
export const WEIGHT_MAX = 256 * 1024 * 1024
/** So much more is taken from peers: what two halves of a pool have added while they were apart must come together. */
export const PEERS_WEIGHT_SHARE = 1.5
/** Of an entry that says who belongs to the pool, besides what its author knew: a token and its names take less than half. */
export const MEMBERSHIP_WEIGHT_MAX = 4096
/** Services and real servers together: as many as the forwarder has places for (forwarder/shared-state.ts), of which place 0 is nobody's. */
export const SLOTS_MAX = 2 ** 17 - 1

export class CountedEntries extends EntryState {
  readonly #counts = new Map<PoolEntry['kind'], number>()
  readonly #weights = new Map<string, number>()
  #weight = 0
  #slots = 0

  override put(key: string, entry: PoolEntry | undefined): PoolEntry | undefined {
    const before = super.put(key, entry)
    this.#add(before, -1)
    this.#add(entry, 1)
    this.#weigh(key, entry && !isMembership(entry) ? weightOf(entry) : 0)
    return before
  }

  count(kind: PoolEntry['kind']): number {
    return this.#counts.get(kind) ?? 0
  }

  /** What is configured, or was: all but who belongs to the pool. */
  get configured(): number {
    return this.size - this.count('peer') - this.count('admission')
  }

  /** Services and real servers together. */
  get slots(): number {
    return this.#slots
  }

  /** Of what is configured, or was. */
  get weight(): number {
    return this.#weight
  }

  weightAt(key: string): number {
    return this.#weights.get(key) ?? 0
  }

  #weigh(key: string, weight: number): void {
    this.#weight += weight - this.weightAt(key)
    if (weight > 0) this.#weights.set(key, weight)
    else this.#weights.delete(key)
  }

  #add(entry: PoolEntry | undefined, times: 1 | -1): void {
    if (!entry) return
    this.#counts.set(entry.kind, this.count(entry.kind) + times)
    this.#slots += times * slotsOf(entry)
  }
}

export function slotsOf(entry: PoolEntry | undefined): number {
  return entry?.kind === 'service' ? 1 + entry.service.servers.length : 0
}
