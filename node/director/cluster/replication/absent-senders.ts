/**
 * What is known of senders that cannot be asked any more: directors that are gone, and what directors said before they restarted.
 *
 * Not all of the pool need have heard their last words. So every director tells in its presence how far it had followed
 * them, and one that had not come as far takes the table of one that had.
 */
import type { Position } from '../../../../protocol/wire/presence.ts'
import type { Epoch } from '../../../../protocol/wire/record-batch.ts'
import type { PeerName } from '../transport.ts'
import type { SenderView } from './sender-view.ts'

const MAX_REMEMBERED = 512
/** The latest of them are told of; more would only make presence larger. */
const MAX_TOLD = 32
/** A sender that a peer has not heard for this long has no more to say to it; before, the peer is still hearing. */
const SILENCE_MS = 1000
/** A table is a lot to ask for. */
const PAUSE_MS = 3000

interface Observation {
  readonly position: Position
  readonly sinceMs: number
}

export class AbsentSenders {
  readonly #positions = new Map<Epoch, Position>()
  /** By epoch and peer: how far the peer has come with it. */
  readonly #observed = new Map<string, Observation>()
  readonly #askedMs = new Map<Epoch, number>()

  /** Everything of this sender up to here is in the table. */
  note(position: Position): void {
    const known = this.#positions.get(position.epoch)
    if (known && !isAhead(position, known)) return
    this.#positions.delete(position.epoch)
    this.#positions.set(position.epoch, position)
    dropOldest(this.#positions)
  }

  /** The sender is met: from now on it is not absent. */
  take(epoch: Epoch): Position | undefined {
    const position = this.#positions.get(epoch)
    this.#positions.delete(epoch)
    return position
  }

  positions(): Position[] {
    return [...this.#positions.values()].slice(-MAX_TOLD)
  }

  /** The peers whose tables have something that was said by a sender which cannot be asked here, and is missing here. */
  *rescuers(views: readonly SenderView[], self: Epoch, nowMs: number): Generator<{ peer: PeerName; reason: string }> {
    for (const peer of views) {
      if (!peer.connected) continue
      for (const theirs of peer.presence?.applied ?? []) {
        const sender = views.find(({ epoch }) => epoch === theirs.epoch)
        if (theirs.epoch === self || sender?.connected || !this.#isMissing(theirs, peer.name, sender, nowMs)) continue
        const whom = sender ? `${sender.name}, which is gone` : 'a director that is gone'
        yield { peer: peer.name, reason: `${peer.name} has seen more of ${whom}` }
      }
    }
  }

  #isMissing(theirs: Position, peer: PeerName, sender: SenderView | undefined, nowMs: number): boolean {
    const { epoch } = theirs
    const own = sender?.applied ?? this.#positions.get(epoch)
    if (own && !isAhead(theirs, own)) return false
    const key = `${epoch} ${peer}`
    const before = this.#observed.get(key)
    if (!before || isAhead(theirs, before.position)) {
      this.#observed.set(key, { position: theirs, sinceMs: nowMs })
      dropOldest(this.#observed)
      return false
    }
    if (nowMs - before.sinceMs < SILENCE_MS) return false
    if (nowMs - (this.#askedMs.get(epoch) ?? Number.NEGATIVE_INFINITY) < PAUSE_MS) return false
    this.#askedMs.set(epoch, nowMs)
    dropOldest(this.#askedMs)
    return true
  }
}

function isAhead(one: Position, other: Position): boolean {
  return one.sequence > other.sequence || one.records > other.records
}

function dropOldest<Key>(map: Map<Key, unknown>): void {
  if (map.size > MAX_REMEMBERED) map.delete(map.keys().next().value as Key)
}
