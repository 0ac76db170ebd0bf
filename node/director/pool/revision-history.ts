/**
 * The last changes of the pool's configuration as this director made or heard of them (history-exchange.ts: also later), in its store, and
 * the way back.
 *
 * A revision is kept as what it replaced, so that it takes the room of what it changed and not that of the configuration. The
 * configuration that was in force then is today's, with what each later revision replaced put back, newest first.
 *
 * ```
 * revision/0000000042                             msgpack: Revision without `number`
 * replaced/0000000042/service/tcp 10.0.0.100:80   msgpack: the entry that was there before; nothing: there was none
 * ```
 * What this version does not understand, or what does not lead to the configuration that is in force (another version of the
 * program has changed it meanwhile), is forgotten: history begins anew there.
 */
import { z } from 'zod'
import { DirectorError } from '../../../protocol/errors.ts'
import { pack, unpack } from '../../../protocol/message-pack.ts'
import { startPace } from '../pace.ts'
import type { Store, StoreOperation } from '../store/store.ts'
import {
  addSummaries,
  type ChangeSummary,
  entriesOf,
  type Replacement,
  summarise,
  summarySchema,
} from './change-summary.ts'
import { packEntry, unpackEntry } from './config-message.ts'
import { compareStamps, type Stamp } from './hybrid-logical-clock.ts'
import { entryKey, type PoolEntry, type Seen, seenSchema, stampSchema } from './pool-entry.ts'

export const REVISIONS_MAX = 100
/** Of all that is kept; the newest revision is, whatever it takes. */
const HISTORY_BYTES_MAX = 64 * 1024 * 1024
/** Of changes that wait for the store: what they replaced is kept in memory. */
const DEFERRED_ENTRIES_MAX = 65_536
/** Changes that are overridden, or were made at the same time: so many are told one by one. */
export const TOLD_MAX = 20
const REVISION_PREFIX = 'revision/'
const REPLACED_PREFIX = 'replaced/'

const revisionSchema = z.strictObject({
  /** Of the configuration after the change, and before it. */
  id: z.string(),
  before: z.string(),
  /** Of all entries of the change. */
  stamp: stampSchema,
  summary: summarySchema,
  overridden: z.array(z.string()),
  beside: z.array(z.string()).optional(),
  knew: seenSchema.optional(),
  /** What it takes in the store. */
  bytes: z.int(),
})

export interface Revision extends z.infer<typeof revisionSchema> {
  /** Later ones have greater numbers; this director's own. */
  readonly number: number
}

/** A change on its way into the history: entries with one stamp. */
export interface HistoricChange {
  readonly id: string
  readonly before: string
  readonly stamp: Stamp
  /** What whoever made it knew of other changes. */
  readonly knew: Seen | undefined
  readonly replacements: readonly Replacement[]
  /** What it replaced without having known of it. */
  readonly overridden: readonly string[]
  /** Changes to other things that were made at the same time. */
  readonly beside: readonly string[]
}

/** A revision that a peer told of, with what it replaced: by key, packed as in the store. */
export interface ProvedRevision extends Omit<Revision, 'number'> {
  readonly replaced: ReadonlyMap<string, Uint8Array>
}

export interface PreparedHistory {
  /** To be kept together with the change itself. */
  readonly operations: readonly StoreOperation[]
  /** To be called when they are. */
  commit(): void
}

export class RevisionHistory {
  readonly #store: Store
  /** Oldest first. */
  #revisions: Revision[] = []
  /** Later than those: the store did not take them yet. */
  #deferred: HistoricChange[] = []
  /** In the store, but no longer part of this. */
  #forgotten: number[] = []
  /** The store has lost a part of what they replaced. */
  readonly #broken = new Set<number>()
  #lastNumber = 0

  constructor(store: Store) {
    this.#store = store
  }

  /**
   * @param current the revision that is in force
   * @returns the stamp of the newest change in the store, whether or not it is in force
   */
  async load(current: string): Promise<Stamp | undefined> {
    let newest: Stamp | undefined
    for await (const [key, bytes] of this.#store.iterate(REVISION_PREFIX)) {
      this.#lastNumber = Number(key.slice(REVISION_PREFIX.length))
      const revision = read(this.#lastNumber, bytes)
      if (revision?.before !== this.#revisions.at(-1)?.id) this.forget()
      if (revision) this.#revisions.push(revision)
      else this.#forgotten.push(this.#lastNumber)
      if (revision && (!newest || compareStamps(revision.stamp, newest) > 0)) newest = revision.stamp
    }
    await this.#countReplaced()
    if (this.#revisions.at(-1)?.id !== current) this.forget()
    return newest
  }

  /**
   * Finds what the store has lost a part of. What was replaced by a revision that is lost must not come to be another one's, which would get
   * its number.
   */
  async #countReplaced(): Promise<void> {
    const forgotten = new Set(this.#forgotten)
    const missing = new Map(
      this.#revisions.map(({ number, summary, bytes }) => [number, { entries: entriesOf(summary), bytes }]),
    )
    for await (const [key, packed] of this.#store.iterate(REPLACED_PREFIX)) {
      const number = Number(key.split('/', 2)[1])
      const rest = missing.get(number)
      if (rest) {
        rest.entries--
        rest.bytes -= packed.length
      } else if (!forgotten.has(number)) {
        forgotten.add(number)
        this.#forgotten.push(number)
        this.#lastNumber = Math.max(this.#lastNumber, number)
      }
    }
    for (const [number, { entries, bytes }] of missing) if (entries > 0 || bytes > 0) this.#broken.add(number)
  }

  /** Newest first. */
  get revisions(): readonly Omit<Revision, 'number' | 'bytes'>[] {
    const deferred = this.#deferred.map(({ replacements, ...change }) => ({
      ...change,
      stamp: { ...change.stamp },
      summary: summaryOf({ replacements, ...change }),
      overridden: change.overridden.slice(0, TOLD_MAX),
      beside: change.beside.slice(0, TOLD_MAX),
    }))
    return [...this.#revisions, ...deferred].toReversed()
  }

  /** What is in the store, newest first. */
  get stored(): readonly Revision[] {
    return this.#revisions.toReversed()
  }

  /** Of those, newest first, up to where the way back is whole. */
  get whole(): readonly Revision[] {
    const { stored } = this
    const end = stored.findIndex(({ number }) => this.#broken.has(number))
    return end === -1 ? stored : stored.slice(0, end)
  }

  /** Whether changes wait for the store. Without them what is stored does not lead to what is in force. */
  get isDeferring(): boolean {
    return this.#deferred.length > 0
  }

  /** By key, the entries that a revision replaced, as packed; empty: there was none. */
  async *replacedBy({ number }: Pick<Revision, 'number'>): AsyncGenerator<readonly [key: string, packed: Uint8Array]> {
    const prefix = replacedPrefix(number)
    for await (const [key, packed] of this.#store.iterate(prefix)) yield [key.slice(prefix.length), packed]
  }

  /** Changes that are in force though the store did not take them. They come with the next that it takes. */
  defer(changes: readonly HistoricChange[]): void {
    this.#deferred.push(...changes.filter(({ replacements }) => replacements.length > 0))
    const entries = this.#deferred.reduce((sum, { replacements }) => sum + replacements.length, 0)
    if (this.#deferred.length > REVISIONS_MAX || entries > DEFERRED_ENTRIES_MAX) this.forget()
  }

  /** Begins anew: what is in the store does not lead to what is in force. */
  forget(): void {
    this.#forgotten.push(...this.#revisions.map(({ number }) => number))
    this.#revisions = []
    this.#deferred = []
  }

  /** @param later one after the other; one with the stamp of the newest revision is the rest of that */
  async prepare(later: readonly HistoricChange[]): Promise<PreparedHistory> {
    const pace = startPace()
    const changes = [...this.#deferred, ...later].filter(({ replacements }) => replacements.length > 0)
    // More than there is room for: of what was before them nothing stays.
    const outlived = changes.length > REVISIONS_MAX ? this.#revisions : []
    const revisions = changes.length > REVISIONS_MAX ? [] : [...this.#revisions]
    let lastNumber = this.#lastNumber
    const operations: StoreOperation[] = []
    for (const change of changes.slice(-REVISIONS_MAX)) {
      const newest = revisions.at(-1)
      const begun = newest && compareStamps(newest.stamp, change.stamp) === 0 ? revisions.pop() : undefined
      const number = begun?.number ?? ++lastNumber
      let bytes = begun?.bytes ?? 0
      for (const { before, after } of change.replacements) {
        const value = before ? packEntry(before) : new Uint8Array()
        bytes += value.length
        operations.push({ type: 'put', key: replacedPrefix(number) + entryKey(after), value })
        await pace()
      }
      const summary = summaryOf(change)
      const revision: Revision = {
        number,
        id: change.id,
        before: begun?.before ?? change.before,
        stamp: { ...change.stamp },
        summary: begun ? addSummaries(begun.summary, summary) : summary,
        overridden: [...(begun?.overridden ?? []), ...change.overridden].slice(0, TOLD_MAX),
        beside: [...(begun?.beside ?? []), ...change.beside].slice(0, TOLD_MAX),
        knew: begun?.knew ?? change.knew,
        bytes,
      }
      revisions.push(revision)
      operations.push({ type: 'put', key: revisionKey(number), value: write(revision) })
      await pace()
    }
    return this.#prepared(revisions, outlived, lastNumber, operations)
  }

  /**
   * Nothing may be deferred.
   * @param kept so many of the oldest stay
   * @param others in place of those behind them, oldest first
   */
  async prepareOthers(kept: number, others: readonly ProvedRevision[]): Promise<PreparedHistory> {
    const pace = startPace()
    const revisions = this.#revisions.slice(0, kept)
    const operations: StoreOperation[] = []
    let lastNumber = this.#lastNumber
    for (const { replaced, ...other } of others) {
      const revision: Revision = { number: ++lastNumber, ...other }
      for (const [key, value] of replaced) {
        operations.push({ type: 'put', key: replacedPrefix(revision.number) + key, value })
        await pace()
      }
      revisions.push(revision)
      operations.push({ type: 'put', key: revisionKey(revision.number), value: write(revision) })
    }
    return this.#prepared(revisions, this.#revisions.slice(kept), lastNumber, operations)
  }

  /** @param revisions as they are to be, less those for which there is no room @param outlived no longer among them */
  async #prepared(
    revisions: readonly Revision[],
    outlived: readonly Revision[],
    lastNumber: number,
    puts: readonly StoreOperation[],
  ): Promise<PreparedHistory> {
    let operations = [...puts]
    const surplus = surplusOf(revisions)
    const kept = revisions.slice(surplus)
    const dropped = [...outlived, ...revisions.slice(0, surplus)].map(({ number }) => number)
    for (const number of [...this.#forgotten, ...dropped]) {
      operations = operations.filter(({ key }) => !key.startsWith(replacedPrefix(number)))
      operations.push({ type: 'delete', key: revisionKey(number) })
      for await (const [key] of this.#store.iterate(replacedPrefix(number))) operations.push({ type: 'delete', key })
    }
    return {
      operations,
      commit: () => {
        this.#revisions = kept
        this.#deferred = []
        this.#forgotten = []
        this.#lastNumber = lastNumber
      },
    }
  }

  /**
   * The revision in full and, by key, the entries that were replaced since, as they were then; undefined for none.
   * @param name of the revision, or enough of its beginning
   * @throws DirectorError REVISION_MISSING
   */
  async replacedSince(
    name: string,
    current: string,
  ): Promise<{ revision: string; replaced: Map<string, PoolEntry | undefined> }> {
    const revision = this.#resolve(name, current)
    const replaced = new Map<string, PoolEntry | undefined>()
    if (revision === current) return { revision, replaced }
    for (const { before, replacements } of this.#deferred.toReversed()) {
      for (const { before: entry, after } of replacements) replaced.set(entryKey(after), entry)
      if (before === revision) return { revision, replaced }
    }
    const pace = startPace()
    for (const { number, before } of this.stored) {
      for await (const [key, packed] of this.replacedBy({ number })) {
        replaced.set(key, packed.length > 0 ? unpackEntry(packed) : undefined)
        await pace()
      }
      if (before === revision) break
    }
    return { revision, replaced }
  }

  #resolve(name: string, current: string): string {
    const ids = new Set([current, ...this.revisions.flatMap(({ id, before }) => [id, before])])
    const found = [...ids].filter((id) => id.startsWith(name))
    if (found.length === 1) return found[0]
    const message =
      found.length > 1
        ? `revision ${name} may be ${found.join(' or ')}: give more of its digits`
        : `this director has no revision ${name}: \`director config history\` shows those that it has`
    throw new DirectorError('REVISION_MISSING', message)
  }
}

function summaryOf({ replacements, overridden, beside }: HistoricChange): ChangeSummary {
  const counts = [
    overridden.length > 0 && { overridden: overridden.length },
    beside.length > 0 && { beside: beside.length },
  ]
  return Object.assign(summarise(replacements), ...counts)
}

/** How many of the oldest have no room. */
function surplusOf(revisions: readonly Revision[]): number {
  let bytes = 0
  for (let kept = 0; kept < revisions.length; kept++) {
    bytes += revisions[revisions.length - 1 - kept].bytes
    if (kept === REVISIONS_MAX || (kept > 0 && bytes > HISTORY_BYTES_MAX)) return revisions.length - kept
  }
  return 0
}

function revisionKey(number: number): string {
  return REVISION_PREFIX + digits(number)
}

function replacedPrefix(number: number): string {
  return `${REPLACED_PREFIX}${digits(number)}/`
}

function digits(number: number): string {
  return String(number).padStart(10, '0')
}

function write({ number, ...revision }: Revision): Uint8Array {
  return pack(revision)
}

function read(number: number, bytes: Uint8Array): Revision | undefined {
  try {
    const { data } = revisionSchema.safeParse(unpack(bytes))
    return data && { number, ...data }
  } catch {
    return undefined
  }
}
