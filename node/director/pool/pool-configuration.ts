/**
 * The pool's configuration at this director: loaded from the store, changed by operators here, merged with what peers tell.
 *
 * For each virtual service, for the settings as a whole and for the mark rules as a whole, the newest change wins (last writer
 * wins by hybrid logical clock); a removed service leaves a tombstone. A change is kept in the store before it is answered and told. Changes travel twice: by gossip at once, and as the
 * whole configuration to a peer that connects, or whose digest is another than ours.
 *
 * Source: M. Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data Types", 2011, section 3.2.1.
 */
import { hash } from 'node:crypto'
import { type MarkRule, type ServiceAddress, serviceKey } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { PeerName, Transport } from '../cluster/transport.ts'
import type { MarkInput, PoolEdit, ServerAddress, ServerInput, ServiceInput } from '../control/api.ts'
import { startPace } from '../pace.ts'
import type { Store, StoreOperation } from '../store/store.ts'
import {
  DIGEST_BYTES,
  decodeConfigMessage,
  encodeDigest,
  encodeEntries,
  fitsMessage,
  packEntry,
  unpackEntry,
} from './config-message.ts'
import { compareStamps, HybridLogicalClock } from './hybrid-logical-clock.ts'
import { withMark, withoutMark } from './mark-changes.ts'
import { PoolDraft } from './pool-draft.ts'
import {
  entryKey,
  MARKS_KEY,
  type PoolEntry,
  type PoolService,
  peerEntryKey,
  SETTINGS_KEY,
  serviceEntryKey,
  tombstoneOf,
} from './pool-entry.ts'
import type { IsUnicast } from './service-changes.ts'
import { type SettingValues, withSettings } from './setting-changes.ts'

/** A director that was away for longer than this may bring back what was removed meanwhile. */
export const TOMBSTONE_LIFE_MS = 30 * 24 * 3_600_000
/** More than a pool has; what peers send beyond it is refused, so that they cannot make this director grow for ever. */
const ENTRIES_MAX = 65_536
/** Messages of peers that wait to be read: more than all of a pool's configuration takes. Further ones are told again later. */
const UNREAD_MAX = 1024
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

type ServiceEntry = Extract<PoolEntry, { kind: 'service' }>

export type PoolChange =
  | { readonly kind: 'set'; readonly service: PoolService }
  | { readonly kind: 'removed'; readonly service: ServiceAddress }

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
  /** These peer ids, and no others, are revoked; called when they are loaded too. */
  readonly onRevoked: (peerIds: ReadonlySet<string>) => void
  /** The id of a peer, or of this director. */
  readonly peerIdOf: (peer: PeerName) => string | undefined
  /** The store refused what peers told. It is in force all the same, and peers tell it again after a restart. */
  readonly onStoreFailure: (error: Error) => void
}

export class PoolConfiguration {
  /** Entries of peers that were not taken: stamped too far ahead, not understood, too many, or letting their sender in again. */
  readonly refused = { stamps: 0, invalid: 0, surplus: 0, revocations: 0 }
  readonly #options: PoolConfigurationOptions
  readonly #clock: HybridLogicalClock
  readonly #entries = new Map<string, PoolEntry>()
  /** Keys of the services in their order; undefined: there are others now. */
  #order: string[] | undefined
  /** Exclusive or of a hash of each entry's key and stamp: the same at every director that has the same entries. */
  readonly #digest = Buffer.alloc(DIGEST_BYTES)
  readonly #unread: { readonly from: PeerName; readonly bytes: Uint8Array }[] = []
  /** From peers, not yet merged; the newest of each key. */
  readonly #heard = new Map<string, PoolEntry>()
  readonly #beingSentTo = new Set<PeerName>()
  /** The end of the queue in which changes happen one after the other. */
  #last: Promise<unknown> = Promise.resolve()
  #isClosed = false

  constructor(options: PoolConfigurationOptions) {
    this.#options = options
    this.#clock = new HybridLogicalClock(options.transport.self, options.wallClockMs)
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
      this.#put(entryKey(entry), entry)
      // Whatever the wall clock says now, changes made here must be newer than those that were in force here.
      this.#clock.witness(entry.stamp)
    }
    const { transport, onChange, onSettings, onMarks } = this.#options
    transport.onMessage('config', (from, message) => this.#hear(from, message))
    transport.onPeer((peer, connected) => {
      if (connected) void this.#sendEverything(peer)
    })
    this.#options.onRevoked(this.revokedPeers())
    if (this.#entries.has(SETTINGS_KEY)) onSettings(this.settings())
    if (this.#entries.has(MARKS_KEY)) onMarks(this.marks())
    for (const service of this.services()) onChange({ kind: 'set', service })
  }

  /** Ends after the changes under way; later ones are refused. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#last
  }

  /** Ordered by protocol, address and port as text. */
  services(): PoolService[] {
    this.#order ??= [...this.#entries.keys()].filter((key) => this.#entries.get(key)?.kind === 'service').sort()
    return this.#order.map((key) => (this.#entries.get(key) as ServiceEntry).service)
  }

  service(address: ServiceAddress): PoolService | undefined {
    const entry = this.#entries.get(serviceEntryKey(address))
    return entry?.kind === 'service' ? entry.service : undefined
  }

  /** Those that somebody has set. */
  settings(): SettingValues {
    const entry = this.#entries.get(SETTINGS_KEY)
    return entry?.kind === 'settings' ? entry.settings : {}
  }

  /** The mark rules, in the order in which they are asked. */
  marks(): readonly MarkRule[] {
    const entry = this.#entries.get(MARKS_KEY)
    return entry?.kind === 'marks' ? entry.rules : []
  }

  /** Ids of the directors that are shut out of the pool. */
  revokedPeers(): ReadonlySet<string> {
    const revoked = new Set<string>()
    for (const entry of this.#entries.values()) if (entry.kind === 'peer' && entry.revoked) revoked.add(entry.peer)
    return revoked
  }

  /** Each of these resolves when the change is kept and in force here. @throws DirectorError; then nothing is changed */
  addService(service: ServiceInput): Promise<void> {
    return this.edit([{ do: 'add-service', service }])
  }

  editService(service: ServiceInput): Promise<void> {
    return this.edit([{ do: 'edit-service', service }])
  }

  removeService(service: ServiceAddress): Promise<void> {
    return this.edit([{ do: 'delete-service', service }])
  }

  clear(): Promise<void> {
    return this.edit([{ do: 'clear' }])
  }

  addServer(server: ServerInput): Promise<void> {
    return this.edit([{ do: 'add-server', server }])
  }

  editServer(server: ServerInput): Promise<void> {
    return this.edit([{ do: 'edit-server', server }])
  }

  removeServer(server: ServerAddress): Promise<void> {
    return this.edit([{ do: 'delete-server', server }])
  }

  /** Shuts a director out of the pool, or lets it in again. @throws DirectorError INPUT_INVALID for this director itself */
  setRevoked(peer: string, revoked: boolean): Promise<void> {
    return this.#change(async () => {
      const { transport, peerIdOf } = this.#options
      if (peer === peerIdOf(transport.self)) {
        const message = `${peer} is this director itself, which nobody would believe: run the command on another one`
        throw new DirectorError('INPUT_INVALID', message)
      }
      return [{ ...this.#entries.get(peerEntryKey(peer)), kind: 'peer', stamp: this.#stamp(), peer, revoked }]
    })
  }

  /**
   * Makes the changes of a document, all of them or, when one cannot be made, none. Resolves when they are kept and in force
   * here.
   * @param edits asked for one by one, so that of a large document only what comes of it is in memory
   * @throws EditRefused for the first change that is refused
   */
  edit(edits: Iterable<PoolEdit>): Promise<void> {
    return this.#change(async () => {
      const pace = startPace()
      const draft = new PoolDraft(this, this.#options.isUnicast())
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
      const entries: PoolEntry[] = []
      for (const { address, after } of draft.changes()) {
        const before = this.#entries.get(serviceEntryKey(address))
        entries.push(
          after === undefined
            ? tombstoneOf(address, this.#stamp())
            : { ...before, kind: 'service', stamp: this.#stamp(), service: after },
        )
        await pace()
      }
      return entries
    })
  }

  setSettings(changes: SettingValues): Promise<void> {
    return this.#change(async () => {
      const settings = withSettings(this.settings(), changes)
      return [{ ...this.#entries.get(SETTINGS_KEY), kind: 'settings', stamp: this.#stamp(), settings }]
    })
  }

  addMark({ rule, at }: MarkInput): Promise<void> {
    return this.#changeMarks((rules) => withMark(rules, rule, at))
  }

  removeMark(rule: MarkRule): Promise<void> {
    return this.#changeMarks((rules) => withoutMark(rules, rule))
  }

  /** Tells peers a digest of everything, and forgets old tombstones. To be called every few seconds. */
  announce(): void {
    this.#forgetTombstones()
    this.#options.transport.broadcast('config', encodeDigest(this.#digest))
  }

  #changeMarks(edit: (rules: readonly MarkRule[]) => MarkRule[]): Promise<void> {
    return this.#change(async () => {
      const rules = edit(this.marks())
      return [
        {
          ...this.#entries.get(MARKS_KEY),
          kind: 'marks',
          stamp: this.#stamp(),
          rules: rules.map((rule) => ({ ...rule })),
        },
      ]
    })
  }

  #stamp() {
    return { ...this.#clock.next() }
  }

  #change(decide: () => Promise<PoolEntry[]>): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isClosed) throw new DirectorError('STORE_FAILED', 'the director is stopping: nothing is changed')
      const entries = await decide()
      const packed = await this.#pack(entries)
      for (const [index, bytes] of packed.entries()) demandFits(entries[index], bytes)
      await this.#keep(entries, packed)
      await this.#apply(entries)
      const pace = startPace()
      for (const message of encodeEntries(packed)) {
        this.#options.transport.broadcast('config', message)
        await pace()
      }
    })
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#last.then(task)
    this.#last = done.catch(() => undefined)
    return done
  }

  async #pack(entries: readonly PoolEntry[]): Promise<Uint8Array[]> {
    const pace = startPace()
    const packed: Uint8Array[] = []
    for (const entry of entries) {
      packed.push(packEntry(entry))
      await pace()
    }
    return packed
  }

  async #keep(entries: readonly PoolEntry[], packed: readonly Uint8Array[]): Promise<void> {
    const operations = packed.map(
      (value, index): StoreOperation => ({ type: 'put', key: KEY_PREFIX + entryKey(entries[index]), value }),
    )
    await this.#options.store.batch(operations)
  }

  async #apply(entries: readonly PoolEntry[]): Promise<void> {
    const { onChange, onSettings, onMarks } = this.#options
    const pace = startPace()
    for (const entry of entries) {
      const before = this.#put(entryKey(entry), entry)
      if (entry.kind === 'settings') onSettings(entry.settings)
      else if (entry.kind === 'marks') onMarks(entry.rules)
      else if (entry.kind === 'peer') this.#options.onRevoked(this.revokedPeers())
      else if (entry.kind === 'service') onChange({ kind: 'set', service: entry.service })
      else if (before?.kind === 'service') onChange({ kind: 'removed', service: entry.service })
      await pace()
    }
  }

  /** @returns what was there before */
  #put(key: string, entry: PoolEntry | undefined): PoolEntry | undefined {
    const before = this.#entries.get(key)
    if (before?.kind !== entry?.kind) this.#order = undefined
    for (const { stamp } of [before, entry].filter((each) => each !== undefined)) {
      const line = hash('sha256', `${key} ${stamp.wallMs} ${stamp.counter} ${stamp.director}`, 'buffer')
      for (let at = 0; at < DIGEST_BYTES; at++) this.#digest[at] ^= line[at]
    }
    if (entry) this.#entries.set(key, entry)
    else this.#entries.delete(key)
    return before
  }

  #hear(from: PeerName, bytes: Uint8Array): void {
    if (this.#isClosed || this.#unread.length >= UNREAD_MAX) return
    this.#unread.push({ from, bytes })
    if (this.#unread.length === 1) void this.#readAll()
  }

  async #readAll(): Promise<void> {
    const pace = startPace()
    for (; this.#unread.length > 0; this.#unread.shift()) {
      const [{ from, bytes }] = this.#unread
      this.#read(from, bytes)
      await pace()
    }
  }

  #read(from: PeerName, bytes: Uint8Array): void {
    const message = decodeConfigMessage(bytes)
    if (!message) {
      this.refused.invalid++
      return
    }
    this.refused.invalid += message.invalidEntries
    if (message.digest && !this.#digest.equals(message.digest)) void this.#sendEverything(from)
    const wasIdle = this.#heard.size === 0
    for (const entry of message.entries) this.#take(entry, from)
    if (wasIdle && this.#heard.size > 0) void this.#inTurn(() => this.#merge())
  }

  #take(entry: PoolEntry, from: PeerName): void {
    const key = entryKey(entry)
    const waiting = this.#heard.get(key)
    // A revoked director that is faster than the news of it must not undo it.
    if (entry.kind === 'peer' && entry.peer === this.#options.peerIdOf(from)) {
      if (this.#isNews(entry)) this.refused.revocations++
    } else if (!this.#clock.isCredible(entry.stamp)) this.refused.stamps++
    else if (!this.#entries.has(key) && this.#entries.size + this.#heard.size >= ENTRIES_MAX) this.refused.surplus++
    else if (this.#isNews(entry) && (!waiting || compareStamps(entry.stamp, waiting.stamp) > 0))
      this.#heard.set(key, entry)
  }

  #isNews(entry: PoolEntry): boolean {
    const known = this.#entries.get(entryKey(entry))
    if (!known) return !this.#isExpired(entry)
    // What a clock far ahead has left behind here must not win for as long as that clock was ahead.
    return compareStamps(entry.stamp, known.stamp) > 0 || !this.#clock.isCredible(known.stamp)
  }

  async #merge(): Promise<void> {
    const entries = [...this.#heard.values()].filter((entry) => this.#isNews(entry))
    this.#heard.clear()
    if (entries.length === 0) return
    for (const { stamp } of entries) this.#clock.witness(stamp)
    try {
      await this.#keep(entries, await this.#pack(entries))
    } catch (error) {
      this.#options.onStoreFailure(error as Error)
    }
    await this.#apply(entries)
  }

  async #sendEverything(peer: PeerName): Promise<void> {
    if (this.#beingSentTo.has(peer)) return
    this.#beingSentTo.add(peer)
    try {
      for (const message of encodeEntries(this.#entries.values().map(packEntry))) {
        await this.#options.transport.send(peer, 'config', message)
      }
    } catch {
      // It is gone or does not keep up: it gets everything when it connects again or tells its digest.
    } finally {
      this.#beingSentTo.delete(peer)
    }
  }

  #isExpired(entry: PoolEntry): boolean {
    return entry.kind === 'tombstone' && this.#options.wallClockMs() - entry.stamp.wallMs > TOMBSTONE_LIFE_MS
  }

  #forgetTombstones(): void {
    const expired = [...this.#entries.values()].filter((entry) => this.#isExpired(entry))
    if (expired.length === 0) return
    for (const entry of expired) this.#put(entryKey(entry), undefined)
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
