/**
 * What peers tell in more than one message: all of it counts, or, while a part is missing, nothing of it. Whoever dies while he tells of
 * a document must not leave half of it in force.
 *
 * Of each peer the two newest are waited for, a change and a whole configuration. Parts that never come cost nothing but that: the next
 * digest shows that something is missing, and all is told again. Who belongs to the pool does not wait (pool-entry.ts isMembership).
 */
import type { PeerName } from '../cluster/transport.ts'
import { isMembership, type PoolEntry } from './pool-entry.ts'

/** One of the messages of a telling. */
export interface Part {
  /** What tells this telling from the sender's others. */
  readonly telling: string
  /** From 0 on. */
  readonly part: number
  readonly isLast: boolean
}

/** More than all of a pool's configuration takes. */
export const PARTS_MAX = 512
const TELLINGS_MAX = 2

interface Telling {
  readonly parts: Map<number, readonly PoolEntry[]>
  length: number | undefined
}

export class Tellings {
  /** Of each peer by id, the oldest first. */
  readonly #tellings = new Map<PeerName, Map<string, Telling>>()

  /** @returns the entries that count now, in the order in which they were told */
  take(from: PeerName, { telling: id, part, isLast }: Part, entries: readonly PoolEntry[]): readonly PoolEntry[] {
    const known = this.#tellings.get(from) ?? new Map<string, Telling>()
    this.#tellings.set(from, known)
    const telling = known.get(id) ?? { parts: new Map(), length: undefined }
    known.set(id, telling)
    const [oldest] = known.keys()
    if (known.size > TELLINGS_MAX) known.delete(oldest)
    if (isLast) telling.length = part + 1
    telling.parts.set(part, entries)
    if (telling.parts.size !== telling.length) return entries.filter(isMembership)
    known.delete(id)
    return Array.from({ length: telling.length }, (_, at) => telling.parts.get(at) ?? []).flat()
  }

  forget(peer: PeerName): void {
    this.#tellings.delete(peer)
  }
}
