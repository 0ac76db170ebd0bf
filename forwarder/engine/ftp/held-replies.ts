/**
 * Servers' segments that ended within a reply which has to be rewritten, and were dropped: where each began. What comes behind it is
 * dropped as well until the server sends from there again. The client would acknowledge it out of order (RFC 2018), and the server,
 * which joins what it sends again only if none of that has arrived, would send the same beginning for ever. A bounded number of connections; the oldest is forgotten first.
 */
import type { ConnectionIndex } from '../../table/connection-layout.ts'

const MAX_HELD = 1024
/** Further on is another connection in the same place of the table, rather than what a server sends before it is answered. */
const WINDOW = 65_535

export class HeldReplies {
  readonly #beginnings = new Map<ConnectionIndex, number>()

  /** @param sequence of the dropped segment's first byte */
  hold(index: ConnectionIndex, sequence: number): void {
    this.#beginnings.delete(index)
    this.#beginnings.set(index, sequence)
    if (this.#beginnings.size > MAX_HELD)
      this.#beginnings.delete(this.#beginnings.keys().next().value as ConnectionIndex)
  }

  /** Whether a segment with data is behind one that was dropped and has not been sent again. */
  isBehind(index: ConnectionIndex, sequence: number): boolean {
    const beginning = this.#beginnings.get(index)
    if (beginning === undefined) return false
    const distance = (sequence - beginning) | 0
    if (distance > 0 && distance <= WINDOW) return true
    this.#beginnings.delete(index)
    return false
  }
}
