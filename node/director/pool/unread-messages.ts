/**
 * What peers have said and nobody has read yet: bounded for one peer, and for all together, where whoever has most waiting makes room for the
 * others. What is dropped is told again later.
 */
import type { PeerName } from '../cluster/transport.ts'

/** Of one peer: several times all of a pool's configuration, deflated. */
export const UNREAD_OF_ONE_BYTES_MAX = 32 * 1024 * 1024
export const UNREAD_BYTES_MAX = 64 * 1024 * 1024
/** At least what a message takes besides its bytes, so that many small ones are no way around the bounds. */
const OVERHEAD_BYTES = 1024

export interface Unread {
  /** Of the peer at that time: a name may be another's by the time it is read. */
  readonly id: string
  readonly bytes: Uint8Array
}

interface Queue {
  readonly messages: Unread[]
  bytes: number
}

export class UnreadMessages {
  readonly #queues = new Map<PeerName, Queue>()
  #bytes = 0

  push(from: PeerName, message: Unread): void {
    const queue = this.#queues.get(from) ?? { messages: [], bytes: 0 }
    const bytes = queue.bytes + keptBytes(message.bytes)
    if (bytes > UNREAD_OF_ONE_BYTES_MAX) return
    while (this.#bytes + keptBytes(message.bytes) > UNREAD_BYTES_MAX) if (!this.#makeRoom(bytes)) return
    queue.messages.push(message)
    this.#count(queue, keptBytes(message.bytes))
    this.#queues.set(from, queue)
  }

  /** One of each peer in turn, so that whoever says much does not keep the others waiting; until none is left. */
  *take(): Generator<[PeerName, Unread]> {
    while (this.#queues.size > 0) {
      for (const [from, queue] of this.#queues) {
        const message = queue.messages.shift() as Unread
        this.#count(queue, -keptBytes(message.bytes))
        if (queue.messages.length === 0) this.#queues.delete(from)
        yield [from, message]
      }
    }
  }

  /** For a peer of which so much would wait. Returns whether more of another does, which has lost its newest. */
  #makeRoom(bytes: number): boolean {
    const longest = this.#queues.values().reduce((most, each) => (each.bytes > most.bytes ? each : most))
    if (longest.bytes <= bytes || longest.messages.length === 1) return false
    this.#count(longest, -keptBytes((longest.messages.pop() as Unread).bytes))
    return true
  }

  #count(queue: Queue, bytes: number): void {
    queue.bytes += bytes
    this.#bytes += bytes
  }
}

/** What a message counts that is kept. */
export function keptBytes(message: Uint8Array): number {
  return message.length + OVERHEAD_BYTES
}
