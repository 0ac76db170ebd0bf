/**
 * The entries that directors have in common, at this one: loaded from the store, changed here, merged with what peers tell.
 *
 * Of the entries with one key the newest wins (last writer wins by hybrid logical clock). A change, whose entries all have one stamp, is
 * kept in the store before it is answered and told, together with what it replaced (revision-history.ts).
 *
 * Source: M. Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data Types", 2011, section 3.2.1.
 */
import type { KeyObject } from 'node:crypto'
import { type ServiceAddress, serviceKey } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { PeerName, Transport } from '../cluster/transport.ts'
import { paced, startPace } from '../pace.ts'
import type { Store, StoreOperation } from '../store/store.ts'
import { fitsMessage, isTellable, packEntry, unpackEntry } from './config-message.ts'
import { CONFIGURED_MAX, SLOTS_MAX, slotsOf, WEIGHT_MAX } from './counted-entries.ts'
import { peerEntry } from './entry-changes.ts'
import { weightOf } from './entry-weight.ts'
import { HeardEntries } from './heard-entries.ts'
import { HistoryExchange } from './history-exchange.ts'
import { compareStamps, HybridLogicalClock, type Stamp } from './hybrid-logical-clock.ts'
import { KnownChanges } from './known-changes.ts'
import type { MemberRefusal } from './member-entries.ts'
import type { PeerIds } from './membership.ts'
import { PeerExchange } from './peer-exchange.ts'
import { PoolEntries } from './pool-entries.ts'
import { entryKey, hasSeen, isMembership, type PoolEntry, peerEntryKey, seenAfter, seenStamps } from './pool-entry.ts'
import { type HistoricChange, RevisionHistory } from './revision-history.ts'
import { describeEntry, historicChanges } from './revisions.ts'

/** A director that was away for longer than this may bring back what was removed meanwhile. */
export const TOMBSTONE_LIFE_MS = 30 * 24 * 3_600_000
/** Announcements after which a change that no peer has taken is made anew: each is answered by all of a peer's entries that are others. */
const UNCONFIRMED_MAX = 3
const KEY_PREFIX = 'pool/'

/** Peers could not be told of it. */
export class ServiceTooLarge extends DirectorError {
  readonly service: ServiceAddress
  constructor(service: ServiceAddress, message: string) {
    super('INPUT_INVALID', message)
    this.service = service
  }
}

export interface ReplicationOptions {
  readonly store: Store
  readonly transport: Pick<Transport, 'self' | 'broadcast' | 'send' | 'onMessage' | 'onPeer' | 'connectedPeers'>
  readonly membership: PeerIds
  /** By which admissions prove themselves; none: they cannot here. */
  readonly poolKeys: readonly KeyObject[]
  /** Of all that is configured; WEIGHT_MAX if it is not given. */
  readonly weightMax?: number
  /** Milliseconds since 1970. */
  readonly wallClockMs: () => number
  /** A peer's change has replaced others of which whoever made it did not know: one line for each. */
  readonly onOverridden: (overridden: readonly string[], by: Stamp) => void
  /** A peer's change was made at the same time as these, and neither author knew of the other's: all are in force. One line for each. */
  readonly onBeside: (beside: readonly string[], by: Stamp) => void
  /** The store refused what peers told. It is in force all the same, and stored when the store takes changes again. */
  readonly onStoreFailure: (error: Error) => void
  /** So many changes were made here while the clock was ahead, and refused by everybody else: they have been made anew. */
  readonly onCorrected: (changes: number) => void
  /** A peer has said whether its configuration is the same as this one. */
  readonly onCompared?: (peer: PeerName, isSame: boolean) => void
  /** All that a peer had when it connected is in force. */
  readonly onToldAll?: (peer: PeerName) => void
}

/** For whoever knows what the entries say. */
export interface EntryHandler {
  /** Why an entry is not taken. @param from id of who tells of it; undefined: it was in the store */
  refusal(entry: PoolEntry, from?: string): MemberRefusal | undefined
  /** An entry is in force now. */
  onEntry(entry: PoolEntry, before: PoolEntry | undefined): void
  /** So are all of a change. */
  onApplied(entries: readonly PoolEntry[]): void
}

export class ReplicatedEntries {
  readonly inForce = new PoolEntries()
  readonly history: RevisionHistory
  /**
   * Entries of peers that were not taken: stamped too far ahead (a revocation counts, under another stamp), not understood, too many, letting
   * their sender in again, or with a token that the pool's key has not signed.
   */
  readonly refused = { stamps: 0, invalid: 0, surplus: 0, revocations: 0, admissions: 0 }
  readonly #options: ReplicationOptions
  readonly #handler: EntryHandler
  readonly #clock: HybridLogicalClock
  readonly #exchange: PeerExchange
  readonly #known = new KnownChanges()
  readonly #histories: HistoryExchange
  /** From peers, not yet merged. */
  readonly #heard: HeardEntries
  /** Then a part of what a peer tells is among them, and the rest is to come. */
  #isHearing = false
  /** Keys of what came into force while the store failed. */
  readonly #unstored = new Set<string>()
  /** What this director has made and its clock says is not made yet, until a peer is known to have it: announcements since. */
  #unconfirmed = new Map<PoolEntry, number>()
  /** Ahead of the clock as well, and a peer has them. */
  readonly #confirmed = new WeakSet<PoolEntry>()
  #isPuttingRight = false
  /** The end of the queue in which changes happen one after the other. */
  #last: Promise<unknown> = Promise.resolve()
  #isClosed = false

  constructor(options: ReplicationOptions, handler: EntryHandler) {
    this.#options = options
    this.#handler = handler
    this.#clock = new HybridLogicalClock(options.transport.self, options.wallClockMs)
    this.history = new RevisionHistory(options.store)
    this.#heard = new HeardEntries({ ...options, inForce: this.inForce })
    this.#histories = new HistoryExchange({
      transport: options.transport,
      store: options.store,
      entries: this.inForce,
      history: this.history,
      inTurn: (task) => this.inTurn(task),
      isCredible: (stamp) => this.#clock.isCredible(stamp),
    })
    this.#exchange = new PeerExchange({
      transport: options.transport,
      entries: this.inForce,
      inTurn: (task) => this.inTurn(task),
      idOf: (peer) => options.membership.idOf(peer),
      onCompared: (peer, isSame) => {
        if (isSame) for (const entry of this.#unconfirmed.keys()) this.#confirmed.add(entry)
        if (isSame) this.#histories.agreed(peer)
        options.onCompared?.(peer, isSame)
      },
      onToldAll: (peer) => options.onToldAll?.(peer),
      onEntries: (entries, from) => this.#hear(entries, from),
      onHistory: (message, from) => this.#histories.hear(from, message),
      onInvalid: (count) => {
        this.refused.invalid += count
      },
    })
  }

  /**
   * Reads the store, which must be open, and begins to listen to peers. The handler is not told of what was there.
   * @throws DirectorError STORE_FAILED or STORE_CORRUPT
   */
  async load(): Promise<void> {
    for await (const [key, bytes] of this.#options.store.iterate(KEY_PREFIX)) {
      const entry = unpackEntry(bytes)
      if (!entry || key !== KEY_PREFIX + entryKey(entry)) {
        const message = `the store's entry ${JSON.stringify(key)} is nothing this version understands: start the version that wrote it`
        throw new DirectorError('STORE_CORRUPT', message)
      }
      if (this.#handler.refusal(entry)) continue
      this.inForce.put(entryKey(entry), entry)
      // Whatever the wall clock says now, changes made here must be newer than those that were in force here. If it is the stamps that
      // are wrong, peers show it (#correctStamps).
      this.#clock.witness(entry.stamp)
      this.#known.witness(entry)
    }
    const newest = await this.history.load(this.inForce.revision)
    // The change itself may have been lost with a part of the store, while peers have it.
    if (newest && this.#clock.isCredible(newest)) this.#clock.witness(newest)
    this.#histories.start()
    this.#exchange.start()
  }

  /** Ends after the changes under way; later ones are refused. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#exchange.close()
    await this.#last
  }

  /**
   * Resolves when the entries that are decided on, each of another key, are kept and in force here.
   * @param decide with the stamp of the change, and nothing else under way; no entries: there is no change
   * @throws DirectorError; then nothing is changed
   */
  change(decide: (stamp: Stamp) => Promise<readonly PoolEntry[]>): Promise<void> {
    return this.inTurn(async () => {
      this.#demandOpen()
      const entries = await decide(this.#clock.next())
      if (entries.length === 0) return
      const knew = this.#known.vector()
      // Who belongs to the pool is beside nothing, and an admission is the same wherever it is made.
      const known = entries.values().map((entry) => (isMembership(entry) ? entry : { ...entry, knew }))
      await this.#make(await Array.fromAsync(paced(known)))
    })
  }

  /**
   * Shuts a director out of the pool at once, whatever is under way. Resolves when that is stored as well.
   * @param told what a peer says of it, under a stamp that is not believed
   * @throws DirectorError STORE_FAILED; it is in force all the same, and told, unless this director is stopping
   */
  async revoke(peer: string, told?: PoolEntry): Promise<void> {
    this.#demandOpen()
    const key = peerEntryKey(peer)
    for (const { stamp } of [this.inForce.get(key), this.#heard.get(key)].filter((entry) => entry !== undefined))
      if (this.#clock.isCredible(stamp)) this.#clock.witness(stamp)
    const made = peerEntry(this.inForce, { peer, revoked: true }, this.#clock.next())
    const entry = told ? { ...made, seen: seenAfter({ ...told, seen: made.seen }) } : made
    const stored = this.#enforce(entry).catch((cause: Error) => {
      const message = `${peer} is shut out, here and wherever that is heard, but it could not be stored, which is tried until the disk takes it: ${cause.message}`
      throw new DirectorError('STORE_FAILED', message, { cause })
    })
    await Promise.all([stored, this.#exchange.tell([packEntry(entry)])])
  }

  /** While nothing else is under way. */
  inTurn<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#last.then(task)
    this.#last = done.catch(() => undefined)
    return done
  }

  isNews(entry: PoolEntry): boolean {
    const known = this.inForce.get(entryKey(entry))
    if (!known) return !this.#isExpired(entry)
    const order = compareStamps(entry.stamp, known.stamp)
    if (order >= 0 || this.#clock.isCredible(known.stamp)) return order > 0
    // What a clock far ahead has left behind must not win for as long as that clock was ahead; nor be undone by what its change knew, which
    // is as likely to be told while this clock is behind. Of two that know each other's director as later, the one made of the other is.
    return !hasSeen(known, entry.stamp) || (entry.seen !== undefined && hasSeen(entry, known.stamp))
  }

  /** Tells peers a digest of everything, and puts right what could not be right before. To be called every few seconds. */
  announce(): void {
    // One at a time: each stands for an announcement that peers have had the time to answer.
    if (!this.#isPuttingRight) {
      this.#isPuttingRight = true
      const done = this.inTurn(() => this.#putRight()).catch(this.#options.onStoreFailure)
      void done.finally(() => {
        this.#isPuttingRight = false
      })
    }
    this.#histories.announced()
    this.#exchange.announce()
  }

  async #make(entries: readonly PoolEntry[]): Promise<void> {
    await this.#demandRoom(entries)
    const packed = await Array.fromAsync(paced(entries.values().map(packFitting)))
    await this.#keep(entries, packed, await historicChanges(this.inForce, entries, this.history.revisions))
    await this.#apply(entries)
    await this.#exchange.tell(packed)
  }

  #demandOpen(): void {
    if (this.#isClosed) throw new DirectorError('STORE_FAILED', 'the director is stopping: nothing is changed')
  }

  /** @throws DirectorError INPUT_INVALID for more than peers would take, or than can be forwarded */
  async #demandRoom(entries: readonly PoolEntry[]): Promise<void> {
    const pace = startPace()
    let added = 0
    let slots = 0
    let growth = 0
    for (const entry of entries) {
      const key = entryKey(entry)
      const before = this.inForce.get(key)
      if (!before && !isMembership(entry)) added++
      slots += slotsOf(entry) - slotsOf(before)
      if (isMembership(entry)) continue
      // What comes into force meanwhile, out of turn, is of who belongs to the pool, and is not counted.
      await pace()
      const change = weightOf(entry) - this.inForce.weightAt(key)
      // What was removed must go, although it may be lighter than what stays of it.
      growth += entry.kind === 'tombstone' ? Math.min(0, change) : change
    }
    const { configured } = this.inForce
    if (added > 0 && configured + added > CONFIGURED_MAX) {
      const message = `a pool holds ${CONFIGURED_MAX} services, those that were removed in the last thirty days included, and there are ${configured}: edit services instead of replacing them by others`
      throw new DirectorError('INPUT_INVALID', message)
    }
    if (slots > 0 && this.inForce.slots + slots > SLOTS_MAX) {
      const message = `services and real servers would be ${this.inForce.slots + slots} together, and a director has room for ${SLOTS_MAX}: remove some first`
      throw new DirectorError('INPUT_INVALID', message)
    }
    const { weightMax = WEIGHT_MAX } = this.#options
    if (growth > 0 && this.inForce.weight + growth > weightMax) {
      const [wanted, room] = [this.inForce.weight + growth, weightMax].map((bytes) => Math.ceil(bytes / 1024 / 1024))
      const message = `the pool's configuration would take some ${wanted} MiB of memory, and a pool holds ${room} MiB: remove some of it first`
      throw new DirectorError('INPUT_INVALID', message)
    }
  }

  /** In the store, and in the history. */
  async #keep(
    entries: readonly PoolEntry[],
    packed: readonly Uint8Array[],
    changes: readonly HistoricChange[],
  ): Promise<void> {
    const history = await this.history.prepare(changes)
    const late = await Array.fromAsync(paced(this.#unstored.values().map((key) => this.#storing(key))))
    const operations = packed.map(
      (value, index): StoreOperation => ({ type: 'put', key: KEY_PREFIX + entryKey(entries[index]), value }),
    )
    await this.#options.store.batch([...late, ...operations, ...history.operations])
    this.#unstored.clear()
    history.commit()
  }

  #storing(key: string): StoreOperation {
    const entry = this.inForce.get(key)
    return entry
      ? { type: 'put', key: KEY_PREFIX + key, value: packEntry(entry) }
      : { type: 'delete', key: KEY_PREFIX + key }
  }

  async #apply(entries: readonly PoolEntry[]): Promise<void> {
    const pace = startPace()
    for (const entry of entries) {
      // A revocation may have come into force since this was decided.
      if (entry.kind === 'peer' && !this.isNews(entry)) continue
      this.#known.witness(entry)
      const key = entryKey(entry)
      this.#heard.settle(key)
      this.#handler.onEntry(entry, this.inForce.put(key, entry))
      await pace()
    }
    this.#handler.onApplied(entries)
  }

  /**
   * A revocation is in force at once, and is stored in its turn: whoever it is about may be what keeps this director busy, and a disk that
   * takes nothing must not keep him in.
   */
  async #enforce(entry: PoolEntry): Promise<void> {
    const key = entryKey(entry)
    const before = this.inForce.put(key, entry)
    this.#handler.onEntry(entry, before)
    this.#handler.onApplied([entry])
    if (before && !hasSeen(entry, before.stamp)) this.#options.onOverridden([describeEntry(before)], entry.stamp)
    await this.inTurn(() => {
      this.#unstored.add(key)
      return this.#keep([], [], [])
    })
  }

  async #hear(entries: Iterable<PoolEntry>, from: string): Promise<void> {
    const pace = startPace()
    this.#isHearing = true
    try {
      for (const entry of entries) {
        this.#take(entry, from)
        await pace()
      }
    } finally {
      this.#isHearing = false
    }
    if (this.#heard.size > 0) void this.inTurn(() => this.#merge())
  }

  #take(entry: PoolEntry, from: string): void {
    const key = entryKey(entry)
    const known = this.inForce.get(key)
    if (known && compareStamps(entry.stamp, known.stamp) === 0) {
      if (!this.#clock.isCredible(known.stamp)) this.#confirmed.add(known)
      return
    }
    if (!this.isNews(entry)) return
    const waiting = this.#heard.get(key)
    const refusal = this.#refusal(entry, from)
    if (refusal) this.refused[refusal]++
    // Whoever is shut out where a clock is ahead is shut out all the same, under a stamp of this director's; but only once, as whoever lets
    // him in again has seen it.
    const newest = waiting ?? known
    if (refusal === 'stamps' && this.#endsMembership(entry) && !(newest?.seen && hasSeen(newest, entry.stamp)))
      void this.revoke(entry.peer, entry).catch(this.#options.onStoreFailure)
    if (refusal || (waiting && compareStamps(entry.stamp, waiting.stamp) <= 0)) return
    if (this.#endsMembership(entry)) {
      this.#clock.witness(entry.stamp)
      void this.#enforce(entry).catch(this.#options.onStoreFailure)
      return
    }
    this.#heard.put(key, entry)
  }

  /** Only then is a revocation urgent: what is said of others, or again, would let a peer make this director do much for little. */
  #endsMembership(entry: PoolEntry): entry is Extract<PoolEntry, { kind: 'peer' }> {
    return entry.kind === 'peer' && entry.revoked && this.#options.membership.isPeer(entry.peer)
  }

  #refusal(entry: PoolEntry, from: string): keyof ReplicatedEntries['refused'] | undefined {
    const refusal = this.#handler.refusal(entry, from)
    if (refusal) return refusal
    if (!this.#clock.isCredible(entry.stamp)) return 'stamps'
    if (!isTellable(entry)) return 'invalid'
    return this.#heard.hasNoRoomFor(entry) ? 'surplus' : undefined
  }

  async #merge(): Promise<void> {
    if (this.#isHearing) return
    const entries = this.#heard.beginMerge().filter((entry) => this.isNews(entry))
    entries.sort((a, b) => compareStamps(a.stamp, b.stamp))
    if (entries.length > 0) await this.#mergeAll(entries)
    this.#heard.endMerge()
  }

  async #mergeAll(entries: readonly PoolEntry[]): Promise<void> {
    for (const { stamp } of entries) this.#clock.witness(stamp)
    const changes = await historicChanges(this.inForce, entries, this.history.revisions)
    try {
      await this.#keep(entries, await Array.fromAsync(paced(entries.values().map(packEntry))), changes)
    } catch (error) {
      this.history.defer(changes)
      for (const entry of entries) this.#unstored.add(entryKey(entry))
      this.#options.onStoreFailure(error as Error)
    }
    await this.#apply(entries)
    this.#histories.heard(changes)
    for (const { overridden, beside, stamp } of changes) {
      if (overridden.length > 0) this.#options.onOverridden(overridden, stamp)
      if (beside.length > 0) this.#options.onBeside(beside, stamp)
    }
  }

  #isExpired(entry: PoolEntry): boolean {
    return entry.kind === 'tombstone' && this.#options.wallClockMs() - entry.stamp.wallMs > TOMBSTONE_LIFE_MS
  }

  async #putRight(): Promise<void> {
    if (this.#isClosed) return
    await this.#forgetTombstones()
    await this.#correctStamps()
    if (this.#unstored.size > 0) await this.#keep([], [], [])
  }

  async #forgetTombstones(): Promise<void> {
    const expired = [...this.inForce.values()].filter((entry) => this.#isExpired(entry)).map(entryKey)
    if (expired.length === 0) return
    await this.#options.store.batch(expired.map((key) => ({ type: 'delete', key: KEY_PREFIX + key })))
    for (const key of expired) this.inForce.put(key, undefined)
  }

  /**
   * A stamp of this director's that lies ahead of its clock: either the clock was ahead when the change was made, and then everybody
   * else refuses it; or the clock is behind now, and then peers have the change, as they say. When they do not say so of one in time, it is
   * the clock that was ahead, and all are made anew: those as well that a peer believes whose clock was ahead too.
   */
  async #correctStamps(): Promise<void> {
    const ahead = [...this.inForce.values()].filter((entry) => this.#isAhead(entry))
    const announcements = this.#options.transport.connectedPeers().length > 0 ? 1 : 0
    const unconfirmed = ahead.filter((entry) => !this.#confirmed.has(entry))
    this.#unconfirmed = new Map(
      unconfirmed.map((entry) => [entry, (this.#unconfirmed.get(entry) ?? 0) + announcements]),
    )
    if (!this.#unconfirmed.values().some((times) => times > UNCONFIRMED_MAX)) return
    this.#unconfirmed.clear()
    const pace = startPace()
    this.#clock.setBack()
    for (const entry of this.inForce.values()) {
      for (const stamp of [entry.stamp, ...seenStamps(entry)])
        if (this.#clock.isCredible(stamp)) this.#clock.witness(stamp)
      await pace()
    }
    const stamp = this.#clock.next()
    await this.#make(ahead.map((entry) => ({ ...entry, stamp: { ...stamp }, seen: seenAfter(entry) })))
    this.#options.onCorrected(ahead.length)
  }

  /** An admission has its token's stamp for good. */
  #isAhead({ kind, stamp }: PoolEntry): boolean {
    const isOwn = kind !== 'admission' && stamp.director === this.#options.transport.self
    return isOwn && !this.#clock.isCredible(stamp)
  }
}

/** @throws ServiceTooLarge */
function packFitting(entry: PoolEntry): Uint8Array {
  const packed = packEntry(entry)
  if (entry.kind !== 'service' || fitsMessage(packed)) return packed
  const { service } = entry
  const message = `service ${serviceKey(service)} has ${service.servers.length} servers, more than a pool can share: use another service for some`
  throw new ServiceTooLarge(service, message)
}
