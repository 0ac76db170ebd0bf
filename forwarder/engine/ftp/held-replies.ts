/**
 * Beginnings of replies that have to be rewritten, which ended servers' segments and were not passed on: where each began, and how much
 * there was of it. What comes behind it is dropped until the server sends from there again. The client would acknowledge it out of order
 * (RFC 2018), and the server, which joins what it sends again only if none of that has arrived, would send the same beginning for ever. A
 * bounded number of connections; the oldest is forgotten first.
 */
import type { ConnectionIndex } from '../../table/connection-layout.ts'

const MAX_HELD = 1024
/** Further on is another connection in the same place of the table, rather than what a server sends before it is answered. */
const WINDOW = 65_535
/** Segments behind it. A server sends fewer before it sends that again, unless its client has had it by way of another director. */
const MOST_BEHIND = 32

/** From release(): the segment waits. */
export const BEHIND = -1

interface Held {
  readonly sequence: number
  readonly length: number
  behind: number
}

export class HeldReplies {
  readonly #held = new Map<ConnectionIndex, Held>()

  /**
   * @param sequence of the first byte that was not passed on
   * @param length bytes of it that there were
   */
  hold(index: ConnectionIndex, sequence: number, length: number): void {
    this.#held.delete(index)
    this.#held.set(index, { sequence, length, behind: 0 })
    if (this.#held.size > MAX_HELD) this.#held.delete(this.#held.keys().next().value as ConnectionIndex)
  }

  /**
   * To be asked for each segment with data, for which a beginning is held no longer unless it is behind that.
   * @returns BEHIND when what was not passed on has not been sent again; otherwise how many bytes were held of what it begins with
   */
  release(index: ConnectionIndex, sequence: number): number {
    const held = this.#held.get(index)
    if (held === undefined) return 0
    const distance = (sequence - held.sequence) | 0
    if (distance > 0 && distance <= WINDOW && ++held.behind <= MOST_BEHIND) return BEHIND
    this.#held.delete(index)
    return distance === 0 ? held.length : 0
  }
}
