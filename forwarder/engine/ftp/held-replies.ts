/**
 * Beginnings of replies that have to be rewritten, which ended servers' segments and were not passed on: where each began. What comes
 * behind it is dropped until the server sends from there again. The client would acknowledge it out of order (RFC 2018), and the server,
 * which joins what it sends again only if none of that has arrived, would send the same beginning for ever. A bounded number of connections; the oldest is forgotten first.
 */
import type { ConnectionIndex } from '../../table/connection-layout.ts'

const MAX_HELD = 1024
/** Further on is another connection in the same place of the table, rather than what a server sends before it is answered. */
const WINDOW = 65_535
/** Segments behind it. A server sends fewer before it sends that again, unless its client has had it by way of another director. */
const MOST_BEHIND = 32

interface Held {
  readonly sequence: number
  behind: number
}

export class HeldReplies {
  readonly #held = new Map<ConnectionIndex, Held>()

  /** @param sequence of the first byte that was not passed on */
  hold(index: ConnectionIndex, sequence: number): void {
    this.#held.delete(index)
    this.#held.set(index, { sequence, behind: 0 })
    if (this.#held.size > MAX_HELD) this.#held.delete(this.#held.keys().next().value as ConnectionIndex)
  }

  /** Whether a segment with data is behind what was not passed on and has not been sent again. */
  isBehind(index: ConnectionIndex, sequence: number): boolean {
    const held = this.#held.get(index)
    if (held === undefined) return false
    const distance = (sequence - held.sequence) | 0
    if (distance > 0 && distance <= WINDOW && ++held.behind <= MOST_BEHIND) return true
    this.#held.delete(index)
    return false
  }
}
