/**
 * The pool's configuration at this director: loaded from the store, changed by operators here, merged with what peers tell.
 *
 * For each virtual service, for the settings as a whole and for the mark rules as a whole, the newest change wins (last writer
 * wins by hybrid logical clock); a removed service leaves a tombstone. A change, whose entries all have one stamp, is kept in the
 * store before it is answered and told, together with what it replaced (revision-history.ts).
 *
 * Source: M. Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data Types", 2011, section 3.2.1.
 */
import type { KeyObject } from 'node:crypto'
import { type MarkRule, type ServiceAddress, serviceKey } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { JoinToken } from '../../../protocol/wire/join-token.ts'
import type { PeerName, Transport } from '../cluster/transport.ts'
import type {
  ChangePreview,
  MarkInput,
  PoolEdit,
  RevisionListing,
  ServerAddress,
  ServerInput,
  ServiceInput,
} from '../control/api.ts'
import { paced, startPace } from '../pace.ts'
import type { Store, StoreOperation } from '../store/store.ts'
import { admissionEntry, admittedBy } from './admissions.ts'
import { fitsMessage, packEntry, unpackEntry } from './config-message.ts'
import { difference, draftDifference } from './difference.ts'
import { draftedEntries, peerEntry, restoredEntries } from './entry-changes.ts'
import { compareStamps, HybridLogicalClock, type Stamp } from './hybrid-logical-clock.ts'
import type { PoolMembers } from './membership.ts'
import { PeerExchange } from './peer-exchange.ts'
import { PoolDraft, type PoolState } from './pool-draft.ts'
import { PoolEntries } from './pool-entries.ts'
import { entryKey, isMembership, MARKS_KEY, type PoolEntry, type PoolService, SETTINGS_KEY } from './pool-entry.ts'
import { type HistoricChange, RevisionHistory } from './revision-history.ts'
import { demandRevision, historicChanges, listRevisions } from './revisions.ts'
import type { IsUnicast } from './service-changes.ts'
import type { SettingValues } from './setting-changes.ts'

/** A director that was away for longer than this may bring back what was removed meanwhile. */
export const TOMBSTONE_LIFE_MS = 30 * 24 * 3_600_000
/** More than a pool has; what peers send beyond it is refused, so that they cannot make this director grow for ever. */
const ENTRIES_MAX = 65_536
const KEY_PREFIX = 'pool/'

/** One change of a document cannot be made, and so none is. */
export class EditRefused extends DirectorError {
  /** Which change, from 0. */
  readonly at: number
  constructor(at: number, cause: DirectorError) {
    super(cause.code, cause.message, { cause })
    this.at = at
  }
}

export type PoolChange =
  | { readonly kind: 'set'; readonly service: PoolService }
  | { readonly kind: 'removed'; readonly service: ServiceAddress }

export interface RevisionState {
  readonly revision: string
  readonly state: PoolState
}

export interface PoolConfigurationOptions {
  readonly store: Store
  readonly transport: Pick<Transport, 'self' | 'broadcast' | 'send' | 'onMessage' | 'onPeer'>
  /** Milliseconds since 1970. */
  readonly wallClockMs: () => number
  /** Whether an address can be a real server's here, as of now. */
  readonly isUnicast: () => IsUnicast
  /** A service is other than before; called for each that there is when they are loaded. */
  readonly onChange: (change: PoolChange) => void
  /** The settings are other than before; called when they are loaded too, before onChange. */
  readonly onSettings: (settings: SettingValues) => void
  /** The mark rules, likewise. */
  readonly onMarks: (rules: readonly MarkRule[]) => void
  /** Whoever may sign tokens by which directors join; without any such keys no token counts. */
  readonly poolKeys: readonly KeyObject[]
  /** Others are revoked, or have shown a token, than before; called when they are loaded too. */
  readonly onMembers: (members: PoolMembers) => void
  /** The ids by which a peer, or this director, is known. */
  readonly peerIdsOf: (peer: PeerName) => readonly string[]
  /** A peer's change has replaced others of which whoever made it did not know: one line for each. */
  readonly onOverridden: (overridden: readonly string[], by: Stamp) => void
  /** The store refused what peers told. It is in force all the same, and peers tell it again after a restart. */
  readonly onStoreFailure: (error: Error) => void
}

export class PoolConfiguration implements PoolState {
  /**
   * Entries of peers that were not taken: stamped too far ahead, not understood, too many, letting their sender in again, or with a token
   * that the pool's key has not signed.
   */
  readonly refused = { stamps: 0, invalid: 0, surplus: 0, revocations: 0, admissions: 0 }
  readonly #options: PoolConfigurationOptions
  readonly #clock: HybridLogicalClock
  readonly #entries = new PoolEntries()
  readonly #history: RevisionHistory
  readonly #exchange: PeerExchange
  /** From peers, not yet merged; the newest of each key. */
  readonly #heard = new Map<string, PoolEntry>()
  /** The end of the queue in which changes happen one after the other. */
  #last: Promise<unknown> = Promise.resolve()
  #isClosed = false

  constructor(options: PoolConfigurationOptions) {
    this.#options = options
    this.#clock = new HybridLogicalClock(options.transport.self, options.wallClockMs)
    this.#history = new RevisionHistory(options.store)
    this.#exchange = new PeerExchange({
      transport: options.transport,
      entries: this.#entries,
      onEntries: (entries, from) => this.#hear(entries, from),
      onInvalid: (count) => {
        this.refused.invalid += count
      },
    })
  }

  /**
   * Reads the store, which must be open, and begins to listen to peers.
   * @throws DirectorError STORE_FAILED or STORE_CORRUPT
   */
  async load(): Promise<void> {
    for await (const [key, bytes] of this.#options.store.iterate(KEY_PREFIX)) {
      const entry = unpackEntry(bytes)
      if (!entry || key !== KEY_PREFIX + entryKey(entry)) {
        const message = `the store's entry ${JSON.stringify(key)} is nothing this version understands: start the version that wrote it`
        throw new DirectorError('STORE_CORRUPT', message)
      }
      // Its key is none of the pool's any more.
      if (entry.kind === 'admission' && !this.#admittedBy(entry)) continue
      this.#entries.put(entryKey(entry), entry)
      // Whatever the wall clock says now, changes made here must be newer than those that were in force here.
      this.#clock.witness(entry.stamp)
    }
    const newest = await this.#history.load(this.revision)
    // The change itself may have been lost with a part of the store, while peers have it.
    if (newest && this.#clock.isCredible(newest)) this.#clock.witness(newest)
    this.#exchange.start()
    const { onChange, onSettings, onMarks } = this.#options
    this.#options.onMembers(this.members())
    if (this.#entries.has(SETTINGS_KEY)) onSettings(this.settings())
    if (this.#entries.has(MARKS_KEY)) onMarks(this.marks())
    for (const service of this.services()) onChange({ kind: 'set', service })
  }

  /** Ends after the changes under way; later ones are refused. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#exchange.close()
    await this.#last
  }

  services(): PoolService[] {
    return this.#entries.services()
  }

  service(address: ServiceAddress): PoolService | undefined {
    return this.#entries.service(address)
  }

  settings(): SettingValues {
    return this.#entries.settings()
  }

  marks(): readonly MarkRule[] {
    return this.#entries.marks()
  }

  /** Who is shut out of the pool, and who was let in by a token. */
  members(): PoolMembers {
    const revoked = new Set<string>()
    const admitted: JoinToken[] = []
    for (const entry of this.#entries.values()) {
      if (entry.kind === 'peer' && entry.revoked) revoked.add(entry.peer)
      const token = entry.kind === 'admission' && this.#options.poolKeys.length > 0 && this.#admittedBy(entry)
      if (token) admitted.push(token)
    }
    return { revoked, admitted }
  }

  /** The same at every director that has the same configuration. */
  get revision(): string {
    return this.#entries.revision
  }

  /**
   * Each of these resolves when the change is kept and in force here.
   * @param basedOn the revision that it is a change of; any unless given
   * @throws DirectorError; then nothing is changed
   */
  addService(service: ServiceInput, basedOn?: string): Promise<void> {
    return this.edit([{ do: 'add-service', service }], basedOn)
  }

  editService(service: ServiceInput, basedOn?: string): Promise<void> {
    return this.edit([{ do: 'edit-service', service }], basedOn)
  }

  removeService(service: ServiceAddress, basedOn?: string): Promise<void> {
    return this.edit([{ do: 'delete-service', service }], basedOn)
  }

  clear(basedOn?: string): Promise<void> {
    return this.edit([{ do: 'clear' }], basedOn)
  }

  addServer(server: ServerInput, basedOn?: string): Promise<void> {
    return this.edit([{ do: 'add-server', server }], basedOn)
  }

  editServer(server: ServerInput, basedOn?: string): Promise<void> {
    return this.edit([{ do: 'edit-server', server }], basedOn)
  }

  removeServer(server: ServerAddress, basedOn?: string): Promise<void> {
    return this.edit([{ do: 'delete-server', server }], basedOn)
  }

  setSettings(settings: SettingValues, basedOn?: string): Promise<void> {
    return this.edit([{ do: 'edit-settings', settings }], basedOn)
  }

  addMark({ rule, at }: MarkInput, basedOn?: string): Promise<void> {
    return this.edit([{ do: 'add-mark', rule, at }], basedOn)
  }

  removeMark(rule: MarkRule, basedOn?: string): Promise<void> {
    return this.edit([{ do: 'delete-mark', rule }], basedOn)
  }

  /** Shuts a director out of the pool, or lets it in again. @throws DirectorError INPUT_INVALID for this director itself */
  setRevoked(peer: string, revoked: boolean): Promise<void> {
    return this.#change(undefined, async (stamp) => {
      const { transport, peerIdsOf } = this.#options
      if (peerIdsOf(transport.self).includes(peer)) {
        const message = `${peer} is this director itself, which nobody would believe: run the command on another one`
        throw new DirectorError('INPUT_INVALID', message)
      }
      return [peerEntry(this.#entries, { peer, revoked }, stamp)]
    })
  }

  /** Keeps and tells that a director has shown its token. @param token as it was read from `bytes` */
  admit(token: JoinToken, bytes: Uint8Array): Promise<void> {
    const entry = admissionEntry(token, bytes)
    return this.#change(undefined, async () => (this.#isNews(entry) ? [entry] : []))
  }

  /**
   * Makes the changes of a document, all of them or, when one cannot be made, none. Resolves when they are kept and in force
   * here.
   * @param edits asked for one by one, so that of a large document only what comes of it is in memory
   * @throws EditRefused for the first change that is refused
   */
  edit(edits: Iterable<PoolEdit>, basedOn?: string): Promise<void> {
    return this.#change(basedOn, async (stamp) => {
      const draft = await this.#draft(edits)
      return Array.fromAsync(paced(draftedEntries(this.#entries, draft, stamp)))
    })
  }

  /**
   * What the same would change. What would change nothing may be based on any revision: it has been done.
   * @throws EditRefused, or REVISION_CONFLICT
   */
  preview(edits: Iterable<PoolEdit>, basedOn?: string): Promise<ChangePreview> {
    return this.#inTurn(async () => {
      const lines = draftDifference(this.#entries, await this.#draft(edits))
      const difference = await Array.fromAsync(paced(lines))
      if (difference.length > 0) this.#demandBase(basedOn)
      return { revision: this.revision, difference }
    })
  }

  /**
   * Makes the configuration what it was at a revision, as one change; what is as it was then is not touched.
   * @throws DirectorError REVISION_MISSING
   */
  rollback(name: string, basedOn?: string): Promise<void> {
    return this.#change(basedOn, async (stamp) => {
      const { replaced } = await this.#replacedSince(name)
      return Array.fromAsync(paced(restoredEntries(this.#entries, replaced, stamp)))
    })
  }

  /** The configuration as it was at a revision, or as it is now. @throws DirectorError REVISION_MISSING */
  stateAt(name?: string): Promise<RevisionState> {
    return this.#inTurn(() => this.#stateAt(name))
  }

  /** One line for each difference between two revisions. @throws DirectorError REVISION_MISSING */
  difference(from?: string, to?: string): Promise<AsyncIterable<string>> {
    return this.#inTurn(async () =>
      paced(difference((await this.#stateAt(from)).state, (await this.#stateAt(to)).state)),
    )
  }

  /** Newest first. */
  revisions(): RevisionListing[] {
    return listRevisions(this.#history.revisions, this.revision)
  }

  /** Tells peers a digest of everything, and forgets old tombstones. To be called every few seconds. */
  announce(): void {
    this.#forgetTombstones()
    this.#exchange.announce()
  }

  async #stateAt(name = this.revision): Promise<RevisionState> {
    const { revision, replaced } = await this.#replacedSince(name)
    return { revision, state: this.#entries.with(replaced) }
  }

  /** The revision's name tells whether the way back to it is whole: a part of the store may have been lost. */
  async #replacedSince(name: string): Promise<{ revision: string; replaced: Map<string, PoolEntry | undefined> }> {
    const found = await this.#history.replacedSince(name, this.revision)
    const pace = startPace()
    const forecast = this.#entries.forecast()
    for (const [key, entry] of found.replaced) {
      forecast.put(key, entry)
      await pace()
    }
    if (forecast.revision === found.revision) return found
    const message = `this director has lost a part of its history, and cannot say what revision ${found.revision} was: ask another director`
    throw new DirectorError('REVISION_MISSING', message)
  }

  #demandBase(basedOn: string | undefined): void {
    if (basedOn !== undefined) demandRevision(basedOn, this.revision, this.#history.revisions)
  }

  async #draft(edits: Iterable<PoolEdit>): Promise<PoolDraft> {
    const pace = startPace()
    const draft = new PoolDraft(this.#entries, this.#options.isUnicast())
    let at = 0
    for (const edit of edits) {
      try {
        draft.apply(edit)
      } catch (error) {
        throw error instanceof DirectorError ? new EditRefused(at, error) : error
      }
      at++
      await pace()
    }
    return draft
  }

  #change(basedOn: string | undefined, decide: (stamp: Stamp) => Promise<PoolEntry[]>): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isClosed) throw new DirectorError('STORE_FAILED', 'the director is stopping: nothing is changed')
      this.#demandBase(basedOn)
      const entries = await decide(this.#clock.next())
      if (entries.length === 0) return
      const packed = await Array.fromAsync(paced(entries.values().map(packEntry)))
      for (const [index, bytes] of packed.entries()) demandFits(entries[index], bytes)
      await this.#keep(entries, packed, await historicChanges(this.#entries, entries))
      await this.#apply(entries)
      await this.#exchange.tell(packed)
    })
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#last.then(task)
    this.#last = done.catch(() => undefined)
    return done
  }

  /** In the store, and in the history. */
  async #keep(
    entries: readonly PoolEntry[],
    packed: readonly Uint8Array[],
    changes: readonly HistoricChange[],
  ): Promise<void> {
    const history = await this.#history.prepare(changes)
    const operations = packed.map(
      (value, index): StoreOperation => ({ type: 'put', key: KEY_PREFIX + entryKey(entries[index]), value }),
    )
    await this.#options.store.batch([...operations, ...history.operations])
    history.commit()
  }

  async #apply(entries: readonly PoolEntry[]): Promise<void> {
    const { onChange, onSettings, onMarks } = this.#options
    const pace = startPace()
    for (const entry of entries) {
      const before = this.#entries.put(entryKey(entry), entry)
      if (entry.kind === 'settings') onSettings(entry.settings)
      else if (entry.kind === 'marks') onMarks(entry.rules)
      else if (isMembership(entry)) continue
      else if (entry.kind === 'service') onChange({ kind: 'set', service: entry.service })
      else if (before?.kind === 'service') onChange({ kind: 'removed', service: entry.service })
      await pace()
    }
    if (entries.some(isMembership)) this.#options.onMembers(this.members())
  }

  #hear(entries: readonly PoolEntry[], from: PeerName): void {
    const wasIdle = this.#heard.size === 0
    for (const entry of entries) this.#take(entry, from)
    if (wasIdle && this.#heard.size > 0) void this.#inTurn(() => this.#merge())
  }

  #take(entry: PoolEntry, from: PeerName): void {
    const key = entryKey(entry)
    const waiting = this.#heard.get(key)
    // A revoked director that is faster than the news of it must not undo it.
    if (entry.kind === 'peer' && this.#options.peerIdsOf(from).includes(entry.peer)) {
      if (this.#isNews(entry)) this.refused.revocations++
    } else if (entry.kind === 'admission' && this.#isNews(entry) && !this.#admittedBy(entry)) this.refused.admissions++
    else if (!this.#clock.isCredible(entry.stamp)) this.refused.stamps++
    else if (!this.#entries.has(key) && this.#entries.size + this.#heard.size >= ENTRIES_MAX) this.refused.surplus++
    else if (this.#isNews(entry) && (!waiting || compareStamps(entry.stamp, waiting.stamp) > 0))
      this.#heard.set(key, entry)
  }

  #admittedBy(entry: Extract<PoolEntry, { kind: 'admission' }>): JoinToken | undefined {
    const { poolKeys } = this.#options
    return admittedBy(entry, poolKeys.length > 0 ? poolKeys : undefined)
  }

  #isNews(entry: PoolEntry): boolean {
    const known = this.#entries.get(entryKey(entry))
    if (!known) return !this.#isExpired(entry)
    // What a clock far ahead has left behind here must not win for as long as that clock was ahead.
    return compareStamps(entry.stamp, known.stamp) > 0 || !this.#clock.isCredible(known.stamp)
  }

  async #merge(): Promise<void> {
    const entries = [...this.#heard.values()].filter((entry) => this.#isNews(entry))
    entries.sort((a, b) => compareStamps(a.stamp, b.stamp))
    this.#heard.clear()
    if (entries.length === 0) return
    for (const { stamp } of entries) this.#clock.witness(stamp)
    const changes = await historicChanges(this.#entries, entries)
    try {
      await this.#keep(entries, await Array.fromAsync(paced(entries.values().map(packEntry))), changes)
    } catch (error) {
      this.#history.forget()
      this.#options.onStoreFailure(error as Error)
    }
    await this.#apply(entries)
    for (const { overridden, stamp } of changes) {
      if (overridden.length > 0) this.#options.onOverridden(overridden, stamp)
    }
  }

  #isExpired(entry: PoolEntry): boolean {
    return entry.kind === 'tombstone' && this.#options.wallClockMs() - entry.stamp.wallMs > TOMBSTONE_LIFE_MS
  }

  #forgetTombstones(): void {
    const expired = [...this.#entries.values()].filter((entry) => this.#isExpired(entry))
    if (expired.length === 0) return
    for (const entry of expired) this.#entries.put(entryKey(entry), undefined)
    const operations = expired.map((entry): StoreOperation => ({ type: 'delete', key: KEY_PREFIX + entryKey(entry) }))
    void this.#inTurn(() => this.#options.store.batch(operations)).catch(this.#options.onStoreFailure)
  }
}

/** @throws DirectorError INPUT_INVALID for a service that peers could not be told of */
function demandFits(entry: PoolEntry, packed: Uint8Array): void {
  if (entry.kind !== 'service' || fitsMessage(packed)) return
  const { service } = entry
  const message = `service ${serviceKey(service)} has ${service.servers.length} servers, more than a pool can share: use another service for some`
  throw new DirectorError('INPUT_INVALID', message)
}
