/**
 * When connections end: a hashed timer wheel over the links in the connections themselves, and beside it the queues of
 * half-open connections, each of which is sorted by itself because all in it wait equally long.
 *
 * A packet only writes the new expiry into its connection. The wheel finds out when the old slot comes round and files
 * the connection again; only a shorter timeout needs a move at once.
 *
 * Source: G. Varghese, T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 6.
 */
import { type ConnectionIndex, STATE, STATE_WORDS } from './connection-layout.ts'

/** Slots of one tick each: at 128 ms they span 17 minutes, longer than IPVS's longest protocol timeout. */
const SLOTS = 8192
/** One for each timeout that a half-open connection can have. */
export const HALF_OPEN_QUEUES = 5
/** Heads from here on are the half-open queues'. */
const HALF_OPEN = SLOTS

export class TimerWheel {
  readonly #states: Int32Array
  readonly #heads = new Int32Array(SLOTS + HALF_OPEN_QUEUES)
  readonly #halfOpenTails = new Int32Array(HALF_OPEN_QUEUES)
  #tick: number

  constructor(states: Int32Array, tick: number) {
    this.#states = states
    this.#tick = tick
  }

  /** Files by the connection's expiry tick. */
  file(index: ConnectionIndex): void {
    const expires = this.#states[index * STATE_WORDS + STATE.expires]
    const ahead = expires - this.#tick
    const slot = ahead < 1 ? this.#tick + 1 : ahead >= SLOTS ? this.#tick + SLOTS - 1 : expires
    this.#push(index, slot & (SLOTS - 1))
  }

  /** Appends to a half-open queue. */
  fileHalfOpen(index: ConnectionIndex, queue: number): void {
    const tail = this.#halfOpenTails[queue]
    if (tail === 0) {
      this.#push(index, HALF_OPEN + queue)
    } else {
      const at = index * STATE_WORDS
      this.#states[tail * STATE_WORDS + STATE.timerNext] = index
      this.#states[at + STATE.timerPrevious] = tail
      this.#states[at + STATE.timerNext] = 0
    }
    this.#halfOpenTails[queue] = index
  }

  /** Takes a connection out of whichever list it is in. */
  unfile(index: ConnectionIndex): void {
    const states = this.#states
    const at = index * STATE_WORDS
    const next = states[at + STATE.timerNext]
    const previous = states[at + STATE.timerPrevious]
    if (previous < 0) this.#heads[-previous - 1] = next
    else states[previous * STATE_WORDS + STATE.timerNext] = next
    if (next !== 0) states[next * STATE_WORDS + STATE.timerPrevious] = previous
    if (next !== 0) return
    for (let queue = 0; queue < HALF_OPEN_QUEUES; queue++) {
      if (this.#halfOpenTails[queue] === index) this.#halfOpenTails[queue] = Math.max(previous, 0)
    }
  }

  /** The half-open connection that would be the first to expire, 0 when there is none. */
  get oldestHalfOpen(): ConnectionIndex {
    let oldest = 0
    for (let queue = HALF_OPEN; queue < this.#heads.length; queue++) {
      const head = this.#heads[queue]
      if (head !== 0 && (oldest === 0 || this.#expires(head) - this.#expires(oldest) < 0)) oldest = head
    }
    return oldest as ConnectionIndex
  }

  /** Calls `visit` for at most `limit` half-open connections of each queue, the newest first. It may take each out of its queue. */
  forEachNewestHalfOpen(limit: number, visit: (index: ConnectionIndex) => void): void {
    for (const tail of this.#halfOpenTails) {
      for (let index = tail, left = limit; index > 0 && left > 0; left--) {
        const previous = this.#states[index * STATE_WORDS + STATE.timerPrevious]
        visit(index as ConnectionIndex)
        index = previous
      }
    }
  }

  /**
   * Moves time on and calls `expire` for connections whose time has come; `expire` must take the connection out.
   * Looks at no more than `budget` connections, so that a crowd that ends together does not stop the loop; what is left is
   * done by the next calls.
   */
  advance(tick: number, budget: number, expire: (index: ConnectionIndex) => void): void {
    const states = this.#states
    while (budget > 0) {
      const oldest = this.oldestHalfOpen
      if (oldest === 0 || this.#expires(oldest) - tick > 0) break
      expire(oldest)
      budget--
    }
    while (this.#tick - tick < 0) {
      const slot = (this.#tick + 1) & (SLOTS - 1)
      while (this.#heads[slot] !== 0) {
        if (budget-- <= 0) return
        const index = this.#heads[slot] as ConnectionIndex
        if (states[index * STATE_WORDS + STATE.expires] - tick <= 0) {
          expire(index)
        } else {
          this.unfile(index)
          this.#refile(index)
        }
      }
      this.#tick++
    }
  }

  /** As file(), but from within the slot of #tick + 1, which must not be chosen again. */
  #refile(index: ConnectionIndex): void {
    const ahead = this.#states[index * STATE_WORDS + STATE.expires] - this.#tick
    const slot = ahead <= 1 ? this.#tick + 2 : ahead >= SLOTS ? this.#tick + SLOTS - 1 : this.#tick + ahead
    this.#push(index, slot & (SLOTS - 1))
  }

  #expires(index: number): number {
    return this.#states[index * STATE_WORDS + STATE.expires]
  }

  #push(index: ConnectionIndex, list: number): void {
    const states = this.#states
    const at = index * STATE_WORDS
    const first = this.#heads[list]
    states[at + STATE.timerNext] = first
    states[at + STATE.timerPrevious] = -(list + 1)
    if (first !== 0) states[first * STATE_WORDS + STATE.timerPrevious] = index
    this.#heads[list] = index
  }
}
