/** Entries, and how many there are of what is bounded: what this director changes, and what peers tell it, must not make it grow for ever. */
import { EntryState } from './entry-state.ts'
import type { PoolEntry } from './pool-entry.ts'

/** More than a pool configures. */
export const CONFIGURED_MAX = 65_536
/** Of directors that are neither configured nor were let in, those that are said to be shut out; and those that are said to be let in, where no key proves it. */
export const STRANGERS_MAX = 1024
/** Services and real servers together: as many as the forwarder has places for (forwarder/shared-state.ts), of which place 0 is nobody's. */
export const SLOTS_MAX = 2 ** 17 - 1

export class CountedEntries extends EntryState {
  readonly #counts = new Map<PoolEntry['kind'], number>()
  #slots = 0

  override put(key: string, entry: PoolEntry | undefined): PoolEntry | undefined {
    const before = super.put(key, entry)
    this.#add(before, -1)
    this.#add(entry, 1)
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

  #add(entry: PoolEntry | undefined, times: 1 | -1): void {
    if (!entry) return
    this.#counts.set(entry.kind, this.count(entry.kind) + times)
    this.#slots += times * slotsOf(entry)
  }
}

export function slotsOf(entry: PoolEntry | undefined): number {
  return entry?.kind === 'service' ? 1 + entry.service.servers.length : 0
}
