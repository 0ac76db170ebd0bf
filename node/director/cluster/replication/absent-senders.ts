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

  /** What the position tells of this sender is in the table. */
  note(position: Position): void {
    const known = this.#positions.get(position.epoch)
    if (known && !isAhead(position, known)) return
    this.#positions.delete(position.epoch)
    this.#positions.set(position.epoch, known ? furthest(position, known) : position)
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
  rescuers(views: readonly SenderView[], self: Epoch, nowMs: number): { peer: PeerName; reason: string }[] {
    const rescuers: { peer: PeerName; reason: string }[] = []
    for (const peer of views) {
      if (!peer.connected) continue
      for (const theirs of peer.presence?.applied ?? []) {
        const { epoch } = theirs
        const sender = views.find((view) => view.epoch === epoch)
        if (epoch === self || sender?.connected) continue
        const own = sender?.applied ?? this.#positions.get(epoch)
        if (own && !isAhead(theirs, own)) continue
        const isSilent = nowMs - this.#standsSince(theirs, peer.name, nowMs) >= SILENCE_MS
        if (!isSilent || nowMs - (this.#askedMs.get(epoch) ?? Number.NEGATIVE_INFINITY) < PAUSE_MS) continue
        this.#askedMs.set(epoch, nowMs)
        dropOldest(this.#askedMs)
        const whom = sender ? `${sender.name}, which is gone` : 'a director that is gone'
        rescuers.push({ peer: peer.name, reason: `${peer.name} has seen more of ${whom}` })
      }
    }
    return rescuers
  }

  /** Since when the peer has told nothing newer of this sender. */
  #standsSince(theirs: Position, peer: PeerName, nowMs: number): number {
    const key = `${theirs.epoch} ${peer}`
    const before = this.#observed.get(key)
    if (before && !isAhead(theirs, before.position)) return before.sinceMs
    this.#observed.set(key, { position: theirs, sinceMs: nowMs })
    dropOldest(this.#observed)
    return nowMs
  }
}

function isAhead(one: Position, other: Position): boolean {
  return one.sequence > other.sequence || one.records > other.records
}

/** Of two peers who lack different batches neither is behind the other: who has the tables of both has what either counts. */
function furthest({ epoch, ...one }: Position, other: Position): Position {
  return { epoch, sequence: Math.max(one.sequence, other.sequence), records: Math.max(one.records, other.records) }
}

function dropOldest<Key>(map: Map<Key, unknown>): void {
  if (map.size > MAX_REMEMBERED) map.delete(map.keys().next().value as Key)
}
