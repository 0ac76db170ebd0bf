/**
 * What peers tell in more than one message: all of it counts, or, while a part is missing, nothing of it. Whoever dies while he tells of
 * a document must not leave half of it in force.
 *
 * Of each peer the two newest are waited for, a change and a whole configuration. Parts that never come cost nothing but that: the next
 * digest shows that something is missing, and all is told again. Messages are kept as they came, deflated, and of all peers together
 * there is a bound.
 */
import type { PeerName } from '../cluster/transport.ts'
import { keptBytes } from './unread-messages.ts'

/** One of the messages of a telling. */
export interface Part {
  /** What tells this telling from the sender's others. */
  readonly telling: string
  /** From 0 on. */
  readonly part: number
  readonly isLast: boolean
}

/** More than all of a pool's configuration takes, also where every service was changed by many directors. */
export const PARTS_MAX = 4096
/** Of all peers. Whoever has most of it waiting loses his oldest telling. */
export const HELD_BYTES_MAX = 64 * 1024 * 1024
const TELLINGS_MAX = 2

interface Telling {
  readonly messages: Map<number, Uint8Array>
  length: number | undefined
  bytes: number
}

export class Tellings {
  /** Of each peer by id, the oldest first. */
  readonly #tellings = new Map<PeerName, Map<string, Telling>>()

  /** @returns the messages of the telling, in their order, when this was the last that was missing */
  take(from: PeerName, { telling: id, part, isLast }: Part, message: Uint8Array): readonly Uint8Array[] | undefined {
    const known = this.#tellings.get(from) ?? new Map<string, Telling>()
    this.#tellings.set(from, known)
    const telling = known.get(id) ?? { messages: new Map(), length: undefined, bytes: 0 }
    known.set(id, telling)
    if (known.size > TELLINGS_MAX) forgetOldest(known)
    if (isLast) telling.length = part + 1
    const before = telling.messages.get(part)
    telling.bytes += keptBytes(message) - (before ? keptBytes(before) : 0)
    telling.messages.set(part, message)
    if (telling.messages.size === telling.length) {
      known.delete(id)
      const messages = Array.from({ length: telling.length }, (_, at) => telling.messages.get(at))
      return messages.filter((each) => each !== undefined)
    }
    if (this.#held() > HELD_BYTES_MAX) this.#makeRoom()
    return undefined
  }

  forget(peer: PeerName): void {
    this.#tellings.delete(peer)
  }

  #held(): number {
    return this.#tellings.values().reduce((sum, known) => sum + bytesOf(known), 0)
  }

  #makeRoom(): void {
    const all = [...this.#tellings.values()]
    forgetOldest(all.reduce((most, each) => (bytesOf(each) > bytesOf(most) ? each : most)))
  }
}

function forgetOldest(tellings: Map<string, Telling>): void {
  const [oldest] = tellings.keys()
  tellings.delete(oldest)
}

function bytesOf(tellings: ReadonlyMap<string, Telling>): number {
  return tellings.values().reduce((sum, { bytes }) => sum + bytes, 0)
}
