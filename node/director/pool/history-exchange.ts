/**
 * How a director comes by the revisions of the time when it was away: it asks each peer once, as soon as they have the same
 * configuration, and takes what leads from there to a configuration that it had itself.
 *
 * What a peer says is proved by names. A revision is named by the keys and stamps of its entries; what comes of putting back, newest
 * first, all that each revision has replaced must have the name of the revision before it. What an entry under a stamp said is the peer's
 * word, but where this director has that entry in its own history.
 */
import { pack } from '../../../protocol/message-pack.ts'
import type { PeerName, Transport } from '../cluster/transport.ts'
import { startPace } from '../pace.ts'
import type { Store } from '../store/store.ts'
import { type Replacement, summarise } from './change-summary.ts'
import { packEntry, unpackEntry } from './config-message.ts'
import {
  decodeHistoryMessage,
  encodeAnswer,
  encodeQuestion,
  type HistoryQuestion,
  packRevision,
} from './history-message.ts'
import { compareStamps, type Stamp } from './hybrid-logical-clock.ts'
import { isRevised, PoolEntries } from './pool-entries.ts'
import { addressOf, type PoolEntry } from './pool-entry.ts'
import {
  type HistoricChange,
  type ProvedRevision,
  REVISIONS_MAX,
  type Revision,
  type RevisionHistory,
} from './revision-history.ts'
import { ANSWER_BYTES_MAX, revisionsIn, type ToldRevision } from './told-revisions.ts'

/** More than that fills. */
const ANSWER_MESSAGES_MAX = 256
/** Announcements of this director without news of an answer, after which another peer is asked. */
const PATIENCE = 2
const BEGINNING = new PoolEntries().revision

export interface HistoryExchangeOptions {
  readonly transport: Pick<Transport, 'self' | 'send' | 'onPeer'>
  readonly store: Store
  readonly entries: PoolEntries
  readonly history: RevisionHistory
  readonly inTurn: <T>(task: () => Promise<T>) => Promise<T>
  readonly isCredible: (stamp: Stamp) => boolean
}

interface Awaited {
  readonly peer: PeerName
  /** In force when the question was asked. */
  readonly revision: string
  /** As they came, deflated. */
  readonly messages: Uint8Array[]
  announcements: number
}

export class HistoryExchange {
  readonly #options: HistoryExchangeOptions
  /** Since they connected. */
  readonly #asked = new Set<PeerName>()
  /** One at a time: what one has told the others need not tell. */
  #awaited: Awaited | undefined
  #isTaking = false
  readonly #answering = new Set<PeerName>()
  /** Changes of this director that peers have told it of: it was made anew, or has lost them, and has them as anybody who hears of them late. */
  readonly #heardBack = new Set<string>()

  constructor(options: HistoryExchangeOptions) {
    this.#options = options
  }

  start(): void {
    this.#options.transport.onPeer((peer, connected) => {
      if (connected) return
      this.#asked.delete(peer)
      if (this.#awaited?.peer === peer) this.#awaited = undefined
    })
  }

  /** A peer has said that it has exactly the entries that are in force here. */
  agreed(peer: PeerName): void {
    const { entries, history, transport } = this.#options
    if (this.#awaited || this.#isTaking || this.#asked.has(peer) || history.isDeferring) return
    this.#asked.add(peer)
    const { revision } = entries
    const awaited: Awaited = { peer, revision, messages: [], announcements: 0 }
    this.#awaited = awaited
    const { whole } = history
    const have = whole.map(({ id, stamp }) => ({ id, stamp }))
    const question = encodeQuestion({ revision, before: whole.at(-1)?.before ?? revision, have })
    transport.send(peer, 'config', question).catch(() => this.#giveUp(awaited))
  }

  /** Peers' news is in the history. */
  heard(changes: readonly HistoricChange[]): void {
    for (const { stamp } of changes) {
      if (stamp.director === this.#options.transport.self) this.#heardBack.add(textOf(stamp))
      if (this.#heardBack.size > REVISIONS_MAX) this.#heardBack.delete(this.#heardBack.values().next().value as string)
    }
  }

  /** To be called with each announcement: who does not answer, as earlier versions, must not keep this director from asking others. */
  announced(): void {
    const awaited = this.#awaited
    if (awaited && ++awaited.announcements >= PATIENCE) this.#giveUp(awaited)
  }

  /** @returns whether this version understands it */
  hear(from: PeerName, bytes: Uint8Array): boolean {
    const message = decodeHistoryMessage(bytes)
    if (message?.kind === 'question') void this.#answer(from, message.question)
    else if (message) this.#hearAnswer(from, bytes, message.isLast)
    return message !== undefined
  }

  #hearAnswer(from: PeerName, bytes: Uint8Array, isLast: boolean): void {
    const awaited = this.#awaited
    if (awaited?.peer !== from) return
    awaited.messages.push(bytes)
    awaited.announcements = 0
    if (!isLast && awaited.messages.length < ANSWER_MESSAGES_MAX) return
    this.#awaited = undefined
    this.#isTaking = true
    const { inTurn } = this.#options
    // What the store refuses is asked for again when a peer connects.
    const taken = inTurn(() => this.#take(awaited)).catch(() => {})
    void taken.finally(() => {
      this.#isTaking = false
    })
  }

  /** A question about a configuration that has changed since may be put to the same peer again. */
  #giveUp(awaited: Awaited): void {
    if (this.#awaited !== awaited) return
    this.#awaited = undefined
    if (awaited.revision !== this.#options.entries.revision) this.#asked.delete(awaited.peer)
  }

  async #answer(peer: PeerName, question: HistoryQuestion): Promise<void> {
    const { entries, history, transport } = this.#options
    if (this.#answering.has(peer) || history.isDeferring || entries.revision !== question.revision) return
    this.#answering.add(peer)
    try {
      const wanted = wantedOf(history.whole, question)
      for await (const message of encodeAnswer(this.#valuesOf(wanted))) await transport.send(peer, 'config', message)
    } catch {
      // It is gone or does not keep up, or the store fails: then another peer is asked.
    } finally {
      this.#answering.delete(peer)
    }
  }

  /** What is dropped from the history meanwhile proves nothing there. */
  async *#valuesOf(revisions: readonly Revision[]): AsyncGenerator<Uint8Array> {
    const pace = startPace()
    let bytes = 0
    for (const revision of revisions) {
      bytes += revision.bytes
      if (bytes > ANSWER_BYTES_MAX) return
      yield packRevision(revision.before, revision.stamp)
      for await (const [key, packed] of this.#options.history.replacedBy(revision)) {
        yield packed.length > 0 ? packed : pack(key)
        await pace()
      }
    }
  }

  async #take({ peer, revision, messages }: Awaited): Promise<void> {
    const { entries, history, store, transport } = this.#options
    if (history.isDeferring || entries.revision !== revision) {
      this.#asked.delete(peer)
      return
    }
    const told = await Array.fromAsync(revisionsIn(messages))
    const taken = await Array.fromAsync(this.#prove(told, await this.#seenHere(told)))
    taken.reverse()
    const own = history.stored.toReversed()
    const isOurs = ({ stamp, overridden }: Revision) => {
      const isMadeHere = stamp.director === transport.self && !this.#heardBack.has(textOf(stamp))
      return isMadeHere || overridden.length > 0
    }
    const kept = keptBefore(own, taken, isOurs, new Set(history.whole))
    if (kept === undefined) return
    const known = new Map(own.map((each) => [textOf(each.stamp), each]))
    const others = taken.map((each) => withNotes(each, known.get(textOf(each.stamp))))
    const { operations, commit } = await history.prepareOthers(kept, others)
    await store.batch(operations)
    commit()
  }

  /** Of what revisions are told to have replaced, that which this director has in its own history: names do not prove what it said. */
  async #seenHere(told: readonly ToldRevision[]): Promise<Map<string, PoolEntry>> {
    const pace = startPace()
    const { history } = this.#options
    const keys = new Set(told.flatMap(({ replaced }) => [...replaced.keys()]))
    const seen = new Map<string, PoolEntry>()
    if (keys.size === 0) return seen
    for (const revision of history.stored) {
      for await (const [key, packed] of history.replacedBy(revision)) {
        const entry = keys.has(key) && packed.length > 0 ? unpackEntry(packed) : undefined
        if (entry) seen.set(versionOf(key, entry), entry)
        await pace()
      }
    }
    return seen
  }

  /** Newest first, as far as it is proved. */
  async *#prove(told: readonly ToldRevision[], seen: ReadonlyMap<string, PoolEntry>): AsyncGenerator<ProvedRevision> {
    const pace = startPace()
    const forecast = this.#options.entries.forecast()
    let count = 0
    for (const { before, stamp, replaced } of told) {
      const id = forecast.revision
      const replacements: Replacement[] = []
      const packed = new Map<string, Uint8Array>()
      for (const [key, claimed] of replaced) {
        const entry = claimed && (seen.get(versionOf(key, claimed)) ?? claimed)
        const after = forecast.get(key)
        // All entries of a change have its stamp.
        if (after && isRevised(after) && compareStamps(after.stamp, stamp) !== 0) return
        const replacement = replacementOf(entry, after, stamp)
        if (replacement) replacements.push(replacement)
        const value = entry ? packEntry(entry) : new Uint8Array()
        packed.set(key, value)
        forecast.put(key, entry)
        await pace()
      }
      if (forecast.revision !== before || before === id || !this.#options.isCredible(stamp)) return
      const size = packed.values().reduce((sum, value) => sum + value.length, 0)
      yield {
        id,
        before,
        stamp: { ...stamp },
        summary: summarise(replacements),
        overridden: [],
        bytes: size,
        replaced: packed,
      }
      if (++count === REVISIONS_MAX) return
    }
  }
}

/** For the summary; undefined where nothing was configured before or after. @param after may have been a tombstone, and forgotten since */
function replacementOf(
  before: PoolEntry | undefined,
  after: PoolEntry | undefined,
  stamp: Stamp,
): Replacement | undefined {
  if (after) return { before, after }
  if (before?.kind !== 'service') return undefined
  return { before, after: { kind: 'tombstone', stamp: { ...stamp }, service: addressOf(before.service) } }
}

/**
 * What whoever asks must be told: all from the first that it has not, and as much before that as leads to a configuration that it
 * has had; else everything. What it has dropped for its age it does not lack.
 * @param revisions newest first
 */
function wantedOf(revisions: readonly Revision[], { before, have }: HistoryQuestion): readonly Revision[] {
  const known = new Set(have.map(({ stamp }) => textOf(stamp)))
  const states = new Set([before, ...have.map(({ id }) => id)])
  const oldest = have.length === REVISIONS_MAX ? have.at(-1) : undefined
  const isOutlived = (stamp: Stamp) => oldest !== undefined && compareStamps(stamp, oldest.stamp) < 0
  const first = revisions.findLastIndex(({ stamp }) => !known.has(textOf(stamp)) && !isOutlived(stamp))
  if (first === -1) return []
  const end = revisions.findIndex((each, at) => at >= first && states.has(each.before))
  return end === -1 ? revisions : revisions.slice(0, end + 1)
}

/**
 * How many of its oldest revisions a director keeps when it takes these in the place of the others; undefined: it takes nothing.
 * @param own oldest first, as the next
 * @param taken proved
 * @param isOurs made here, or has overridden something here: it is replaced only by the same
 * @param whole those of its own to which the way back is whole: others are no match for a peer's
 */
function keptBefore(
  own: readonly Revision[],
  taken: readonly ProvedRevision[],
  isOurs: (revision: Revision) => boolean,
  whole: ReadonlySet<Revision>,
): number | undefined {
  if (taken.length === 0) return undefined
  const [oldest] = taken
  const stamps = new Set(taken.map(({ stamp }) => textOf(stamp)))
  const identities = new Set(taken.map(identityOf))
  const shared = own.findIndex(({ stamp }) => stamps.has(textOf(stamp)))
  let kept = shared === -1 ? own.length : shared
  while (kept > 0 && own[kept - 1].id !== oldest.before) kept--
  const isJoined = kept > 0 || own.at(0)?.before === oldest.before
  let rivals = own.slice(kept)
  if (!isJoined) {
    // Older ones have no room beside a hundred, and who is new has only made them up from what there was.
    const isNew = own.at(0)?.before === BEGINNING && !own.some(isOurs)
    if (isNew || taken.length === REVISIONS_MAX) {
      rivals = rivals.filter(({ stamp }) => compareStamps(stamp, oldest.stamp) >= 0)
    } else if (!own.every(({ stamp }) => stamps.has(textOf(stamp)))) return undefined
  }
  const isForgotten = rivals.some((each) => isOurs(each) && !identities.has(identityOf(each)))
  return isForgotten || taken.length <= rivals.filter((each) => whole.has(each)).length ? undefined : kept
}

/** What was noted of a change when it was merged here stays with it. */
function withNotes(told: ProvedRevision, own: Revision | undefined): ProvedRevision {
  if (!own) return told
  const { overridden, beside, knew } = own
  const counts = { overridden: own.summary.overridden, beside: own.summary.beside }
  return { ...told, overridden, beside, knew, summary: { ...told.summary, ...counts } }
}

/** Tells a change from all others. */
function textOf({ wallMs, counter, director }: Stamp): string {
  return `${wallMs} ${counter} ${director}`
}

/** What was in force of one thing at a time. */
function versionOf(key: string, { stamp }: PoolEntry): string {
  return `${key} ${textOf(stamp)}`
}

/** The same change, of the same configuration. */
function identityOf({ id, before, stamp }: Pick<Revision, 'id' | 'before' | 'stamp'>): string {
  return `${id} ${before} ${textOf(stamp)}`
}
