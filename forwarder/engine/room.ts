/**
 * Which entry makes room in a full table: of those that nothing has proved, one that has waited long for it. What has proved right
 * never does. A stranger's packets under forged addresses leave nothing but entries that are not proved:
 *
 * - a half-open connection. Those wait in queues of their own (table/timer-wheel.ts);
 * - a template that has led nobody to an established connection, once it counts no connection: the end of one would be subtracted from the
 *   count of the template that comes after it;
 * - of UDP a connection whose server has not answered or, where answers do not pass here, whose client has sent one datagram;
 * - what waits for the reply to a single datagram.
 *
 * A hand seeks all but the first, going round the table place by place. What comes takes the place of what went, behind the hand. So the
 * oldest are found first, and no entry has a queue to be in, to leave and to move in.
 *
 * Source: F. J. Corbató, "A Paging Experiment with the Multics System", 1968 (later known as the clock algorithm).
 */
import {
  type ConnectionIndex,
  FLAG_HALF_OPEN,
  FLAG_ONE_PACKET,
  FLAG_ONE_WAY,
  FLAG_UNANSWERED,
  NO_CONNECTION,
  PACKETS_SHIFT,
} from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import type { Connections } from './connections.ts'
import { isTemplate } from './templates.ts'

/** Places that the hand moves on for one newcomer, at most: a microsecond or two. */
const FURTHEST = 1024
/** What an answer may still be under way to, or a confirmation, is not given up: a tick at least. */
const YOUNG_TICKS = 1
const UNPROVED = FLAG_UNANSWERED | FLAG_ONE_PACKET

export class Room {
  readonly #connections: Connections
  readonly #table: ConnectionTable
  /** Where the hand is. */
  #place = 1
  /** Places that it has passed since it found something. */
  #passed = 0
  /** The tick in which it has been all the way round in vain: till the next one it rests. */
  #vainTick = -1

  constructor(connections: Connections) {
    this.#connections = connections
    this.#table = connections.table
  }

  /** The entry to give up for a new one; NO_CONNECTION: none. */
  find(): ConnectionIndex {
    const halfOpen = this.#table.timers.oldestHalfOpen
    const other = this.#findOther()
    if (other === NO_CONNECTION) return halfOpen
    return halfOpen !== NO_CONNECTION && this.#idleTicks(halfOpen) > this.#idleTicks(other) ? halfOpen : other
  }

  #findOther(): ConnectionIndex {
    const { tick, fresh } = this.#table.memory
    if (this.#vainTick === tick) return NO_CONNECTION
    for (let left = FURTHEST; left > 0; left--) {
      if (this.#place >= fresh) this.#place = 1
      const index = this.#place as ConnectionIndex
      if (this.#isUnproved(index) && this.#idleTicks(index) > YOUNG_TICKS) {
        this.#passed = 0
        return index
      }
      this.#place++
      if (++this.#passed < fresh) continue
      this.#passed = 0
      this.#vainTick = tick
      break
    }
    return NO_CONNECTION
  }

  #isUnproved(index: ConnectionIndex): boolean {
    const flags = this.#table.flags(index)
    if ((flags & UNPROVED) === 0 || (flags & FLAG_HALF_OPEN) !== 0) return false
    const protocol = this.#table.protocol(index)
    if (protocol === 0) return false
    if (isTemplate(protocol)) return this.#connections.controlled(index) === 0
    return (flags & FLAG_ONE_WAY) === 0 || ((flags >>> PACKETS_SHIFT) & 15) < 2
  }

  /** How long nothing has put its end off. What has more time left than it would be given now has had it since before a setting's change. */
  #idleTicks(index: ConnectionIndex): number {
    const left = this.#table.expires(index) - this.#table.memory.tick
    const idle = this.#connections.lifetimeTicks(index) - left
    return idle < 0 ? Number.MAX_SAFE_INTEGER : idle
  }
}
