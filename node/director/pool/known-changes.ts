/**
 * The latest change of each director that is known here, whatever it was to: a version vector of the whole configuration. It goes along with
 * every change, so that everybody can tell which others were made at the same time, by somebody who did not know of it.
 *
 * Source: D. S. Parker et al., "Detection of Mutual Inconsistency in Distributed Systems", IEEE TSE 9(3), 1983.
 */
import { isMembership, type PoolEntry, SEEN_MAX, type Seen } from './pool-entry.ts'

type Latest = readonly [wallMs: number, counter: number]

/** Of more directors than that, those that made a change last are remembered: several times what goes along. A peer can invent any number. */
const REMEMBERED_MAX = 8 * SEEN_MAX

export class KnownChanges {
  #latest = new Map<string, Latest>()

  /** An entry that is in force. What its author knew is known here, too. */
  witness(entry: PoolEntry): void {
    if (isMembership(entry)) return
    const { wallMs, counter, director } = entry.stamp
    this.#raise(director, [wallMs, counter])
    for (const [each, latest] of Object.entries(entry.knew ?? {})) this.#raise(each, latest)
    if (this.#latest.size > REMEMBERED_MAX) this.#latest = new Map(this.#newestFirst().slice(0, REMEMBERED_MAX / 2))
  }

  /** Directors that are remembered. */
  get size(): number {
    return this.#latest.size
  }

  /** Of more directors than an entry has room for, those that made a change last. */
  vector(): Seen {
    const newest = this.#newestFirst().slice(0, SEEN_MAX)
    return Object.fromEntries(newest.map(([director, [...latest]]) => [director, latest]))
  }

  #newestFirst(): [director: string, latest: Latest][] {
    return [...this.#latest].sort(([, a], [, b]) => b[0] - a[0] || b[1] - a[1])
  }

  #raise(director: string, latest: Latest): void {
    const [wallMs, counter] = this.#latest.get(director) ?? [-1, 0]
    if (latest[0] > wallMs || (latest[0] === wallMs && latest[1] > counter)) this.#latest.set(director, latest)
  }
}
