/**
 * The pool's configuration at this director: loaded from the store, changed by operators here, merged with what peers tell.
 *
 * For each virtual service, for the settings as a whole and for the mark rules as a whole, the newest change wins (last writer
 * wins by hybrid logical clock); a removed service leaves a tombstone. A change is kept in the store before it is answered and told. Changes travel twice: by gossip at once, and as the
 * whole configuration to a peer that connects, or whose digest is another than ours.
 *
 * Source: M. Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data Types", 2011, section 3.2.1.
 */
import { createHash } from 'node:crypto'
import { type MarkRule, type ServiceAddress, serviceKey } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { PeerName, Transport } from '../cluster/transport.ts'
import type { MarkInput, PoolEdit, ServerAddress, ServerInput, ServiceInput } from '../control/api.ts'
import { startPace } from '../pace.ts'
import type { Store, StoreOperation } from '../store/store.ts'
import {
  decodeConfigMessage,
  encodeDigest,
  encodeEntries,
  fitsMessage,
  packEntry,
  unpackEntry,
} from './config-message.ts'
import { compareStamps, HybridLogicalClock } from './hybrid-logical-clock.ts'
import { withMark, withoutMark } from './mark-changes.ts'
import { type DraftedService, PoolDraft } from './pool-draft.ts'
import {
  entryKey,
  MARKS_KEY,
  type PoolEntry,
  type PoolService,
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
const KEY_PREFIX = 'pool/'
/** Services that the forwarder is told of before others get their turn. */
const APPLIED_AT_ONCE = 20

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

export interface PoolConfigurationOptions {
  readonly store: Store
  readonly transport: Pick<Transport, 'self' | 'broadcast' | 'send' | 'onMessage' | 'onPeer'>
  /** Milliseconds since 1970. */
  readonly wallClockMs: () => number
  /** Whether an address can be a real server's here, as of now. */
  readonly isUnicast: () => IsUnicast
  /** What is other than before; everything there is when it is loaded. */
  readonly onChange: (changes: readonly PoolChange[]) => void
  /** The settings are other than before; called when they are loaded too, before onChange. */
  readonly onSettings: (settings: SettingValues) => void
  /** The mark rules, likewise. */
  readonly onMarks: (rules: readonly MarkRule[]) => void
  /** The store refused what peers told. It is in force all the same, and peers tell it again after a restart. */
  readonly onStoreFailure: (error: Error) => void
}

export class PoolConfiguration {
  /** Entries of peers that were not taken: stamped too far ahead, not understood, or too many. */
  readonly refused = { stamps: 0, invalid: 0, surplus: 0 }
  readonly #options: PoolConfigurationOptions
  readonly #clock: HybridLogicalClock
  readonly #entries = new Map<string, PoolEntry>()
  /** From peers, not yet merged; the newest of each key. */
  readonly #heard = new Map<string, PoolEntry>()
  readonly #beingSentTo = new Set<PeerName>()
  /** The end of the queue in which changes happen one after the other. */
  #last: Promise<unknown> = Promise.resolve()
  #digest: Buffer | undefined
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
      this.#entries.set(entryKey(entry), entry)
      // Whatever the wall clock says now, changes made here must be newer than those that were in force here.
      this.#clock.witness(entry.stamp)
    }
    const { transport, onChange, onSettings, onMarks } = this.#options
    transport.onMessage('config', (from, message) => this.#hear(from, message))
    transport.onPeer((peer, connected) => {
      if (connected) void this.#sendEverything(peer)
    })
    if (this.#entries.has(SETTINGS_KEY)) onSettings(this.settings())
    if (this.#entries.has(MARKS_KEY)) onMarks(this.marks())
    const changes = this.services().map((service): PoolChange => ({ kind: 'set', service }))
    if (changes.length > 0) onChange(changes)
  }

  /** Ends after the changes under way; later ones are refused. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#last
  }

  /** Ordered by protocol, address and port as text. */
  services(): PoolService[] {
    return [...this.#entries]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([, entry]) => (entry.kind === 'service' ? [entry.service] : []))
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

  /**
   * Makes the changes of a document, all of them or, when one cannot be made, none. Resolves when they are kept and in force
   * here.
   * @throws DirectorError with the first change that is refused (`at`, from 0)
   */
  edit(edits: readonly PoolEdit[]): Promise<void> {
    return this.#change(async () => {
      const pace = startPace()
      const draft = new PoolDraft(this, this.#options.isUnicast())
      for (const [at, edit] of edits.entries()) {
        try {
          draft.apply(edit)
        } catch (error) {
          throw error instanceof DirectorError ? new EditRefused(at, error) : error
        }
        await pace()
      }
      const entries: PoolEntry[] = []
      for (const drafted of draft.changes()) {
        entries.push(this.#entryOf(drafted))
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
    this.#options.transport.broadcast('config', encodeDigest(this.#currentDigest()))
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

  #entryOf({ address, after }: DraftedService): PoolEntry {
    if (after === undefined) return tombstoneOf(address, this.#stamp())
    const before = this.#entries.get(serviceEntryKey(address))
    const entry: PoolEntry = { ...before, kind: 'service', stamp: this.#stamp(), service: after }
    if (fitsMessage(entry)) return entry
    const message = `service ${serviceKey(address)} has ${after.servers.length} servers, more than a pool can share: use another service for some`
    throw new DirectorError('INPUT_INVALID', message)
  }

  #stamp() {
    return { ...this.#clock.next() }
  }

  #change(decide: () => Promise<PoolEntry[]>): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isClosed) throw new DirectorError('STORE_FAILED', 'the director is stopping: nothing is changed')
      const entries = await decide()
      await this.#keep(entries)
      await this.#apply(entries)
      const pace = startPace()
      for (const message of encodeEntries(entries)) {
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

  async #keep(entries: readonly PoolEntry[]): Promise<void> {
    const pace = startPace()
    const operations: StoreOperation[] = []
    for (const entry of entries) {
      operations.push({ type: 'put', key: KEY_PREFIX + entryKey(entry), value: packEntry(entry) })
      await pace()
    }
    await this.#options.store.batch(operations)
  }

  /** Many entries take effect a few at a time. */
  async #apply(entries: readonly PoolEntry[]): Promise<void> {
    const pace = startPace()
    for (let from = 0; from < entries.length; from += APPLIED_AT_ONCE) {
      const changes: PoolChange[] = []
      for (const entry of entries.slice(from, from + APPLIED_AT_ONCE)) {
        const before = this.#entries.get(entryKey(entry))
        this.#entries.set(entryKey(entry), entry)
        if (entry.kind === 'settings') this.#options.onSettings(entry.settings)
        else if (entry.kind === 'marks') this.#options.onMarks(entry.rules)
        else if (entry.kind === 'service') changes.push({ kind: 'set', service: entry.service })
        else if (before?.kind === 'service') changes.push({ kind: 'removed', service: entry.service })
      }
      this.#digest = undefined
      if (changes.length > 0) this.#options.onChange(changes)
      await pace()
    }
  }

  #hear(from: PeerName, bytes: Uint8Array): void {
    if (this.#isClosed) return
    const message = decodeConfigMessage(bytes)
    if (!message) {
      this.refused.invalid++
      return
    }
    this.refused.invalid += message.invalidEntries
    if (message.digest && !this.#currentDigest().equals(message.digest)) void this.#sendEverything(from)
    const wasIdle = this.#heard.size === 0
    for (const entry of message.entries) this.#take(entry)
    if (wasIdle && this.#heard.size > 0) void this.#inTurn(() => this.#merge())
  }

  #take(entry: PoolEntry): void {
    const key = entryKey(entry)
    const waiting = this.#heard.get(key)
    if (!this.#clock.isCredible(entry.stamp)) this.refused.stamps++
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
      await this.#keep(entries)
    } catch (error) {
      this.#options.onStoreFailure(error as Error)
    }
    await this.#apply(entries)
  }

  async #sendEverything(peer: PeerName): Promise<void> {
    if (this.#beingSentTo.has(peer)) return
    this.#beingSentTo.add(peer)
    try {
      for (const message of encodeEntries(this.#entries.values())) {
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
    for (const entry of expired) this.#entries.delete(entryKey(entry))
    this.#digest = undefined
    const operations = expired.map((entry): StoreOperation => ({ type: 'delete', key: KEY_PREFIX + entryKey(entry) }))
    void this.#inTurn(() => this.#options.store.batch(operations)).catch(this.#options.onStoreFailure)
  }

  /** The same at every director that has the same entries: the stamps tell them apart. */
  #currentDigest(): Buffer {
    if (!this.#digest) {
      const lines = [...this.#entries].map(
        ([key, { stamp }]) => `${key} ${stamp.wallMs} ${stamp.counter} ${stamp.director}\n`,
      )
      this.#digest = createHash('sha256').update(lines.sort().join('')).digest()
    }
    return this.#digest
  }
}
