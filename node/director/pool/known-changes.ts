/**
 * The latest change of each director that is known here, whatever it was to: a version vector of the whole configuration. It goes along with
 * every change, so that everybody can tell which others were made at the same time, by somebody who did not know of it.
 *
 * Source: D. S. Parker et al., "Detection of Mutual Inconsistency in Distributed Systems", IEEE TSE 9(3), 1983.
 */
import { isMembership, type PoolEntry, SEEN_MAX, type Seen } from './pool-entry.ts'

export class KnownChanges {
  readonly #latest = new Map<string, readonly [wallMs: number, counter: number]>()

  /** An entry that is in force. What its author knew is known here, too. */
  witness(entry: PoolEntry): void {
    if (isMembership(entry)) return
    const { wallMs, counter, director } = entry.stamp
    this.#raise(director, [wallMs, counter])
    for (const [each, latest] of Object.entries(entry.knew ?? {})) this.#raise(each, latest)
  }

  /** Of more directors than an entry has room for, those that made a change last. */
  vector(): Seen {
    const newestFirst = [...this.#latest].sort(([, a], [, b]) => b[0] - a[0] || b[1] - a[1])
    return Object.fromEntries(newestFirst.slice(0, SEEN_MAX).map(([director, [...latest]]) => [director, latest]))
  }

  #raise(director: string, latest: readonly [number, number]): void {
    const [wallMs, counter] = this.#latest.get(director) ?? [-1, 0]
    if (latest[0] > wallMs || (latest[0] === wallMs && latest[1] > counter)) this.#latest.set(director, latest)
  }
}
