/**
 * The pool's configuration at this director, as operators see it: services, settings and mark rules, changed as one document, with a
 * revision, its conflicts and its history. How it is kept and shared is replicated-entries.ts's to know; who belongs to the pool, member-entries.ts's.
 *
 * For each virtual service, for the settings as a whole and for the mark rules as a whole, the newest change wins; a removed service
 * leaves a tombstone.
 */
import type { MarkRule, ServiceAddress } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { ChangePreview, RevisionListing } from '../control/answers.ts'
import type { MarkInput, PoolEdit, ServerAddress, ServerInput, ServiceInput } from '../control/api.ts'
import { paced, startPace } from '../pace.ts'
import { difference, draftDifference } from './difference.ts'
import { draftedEntries, restoredEntries } from './entry-changes.ts'
import type { Stamp } from './hybrid-logical-clock.ts'
import { MemberEntries, type MemberOptions } from './member-entries.ts'
import type { PoolMembers } from './membership.ts'
import { PoolDraft, type PoolState } from './pool-draft.ts'
import { isMembership, MARKS_KEY, type PoolEntry, type PoolService, SETTINGS_KEY } from './pool-entry.ts'
import { ReplicatedEntries, type ReplicationOptions, ServiceTooLarge } from './replicated-entries.ts'
import { demandRevision, listRevisions } from './revisions.ts'
import type { IsUnicast } from './service-changes.ts'
import type { SettingValues } from './setting-changes.ts'

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

export interface PoolConfigurationOptions extends ReplicationOptions, MemberOptions {
  readonly transport: ReplicationOptions['transport']
  /** Whether an address can be a real server's here, as of now. */
  readonly isUnicast: () => IsUnicast
  /** A service is other than before; called for each that there is when they are loaded. */
  readonly onChange: (change: PoolChange) => void
  /** The settings are other than before; called when they are loaded too, before onChange. */
  readonly onSettings: (settings: SettingValues) => void
  /** The mark rules, likewise. */
  readonly onMarks: (rules: readonly MarkRule[]) => void
  /** Others are revoked, or have shown a token, than before; called when they are loaded too. */
  readonly onMembers: (members: PoolMembers) => void
}

export class PoolConfiguration implements PoolState {
  readonly members: MemberEntries
  readonly #options: PoolConfigurationOptions
  readonly #entries: ReplicatedEntries

  constructor(options: PoolConfigurationOptions) {
    this.#options = options
    this.#entries = new ReplicatedEntries(options, {
      refusal: (entry, from) => this.members.refusal(entry, from),
      onEntry: (entry, before) => this.#tell(entry, before),
      onApplied: (entries) => {
        if (entries.some(isMembership)) options.onMembers(this.members.current())
      },
    })
    this.members = new MemberEntries(this.#entries, options)
  }

  /**
   * Reads the store, which must be open, and begins to listen to peers.
   * @throws DirectorError STORE_FAILED or STORE_CORRUPT
   */
  async load(): Promise<void> {
    await this.#entries.load()
    const { onChange, onSettings, onMarks, onMembers } = this.#options
    const { inForce } = this.#entries
    onMembers(this.members.current())
    if (inForce.has(SETTINGS_KEY)) onSettings(this.settings())
    if (inForce.has(MARKS_KEY)) onMarks(this.marks())
    for (const service of this.services()) onChange({ kind: 'set', service })
  }

  /** Ends after the changes under way; later ones are refused. */
  close(): Promise<void> {
    return this.#entries.close()
  }

  /** Entries of peers that were not taken, by reason. */
  get refused(): ReplicatedEntries['refused'] {
    return this.#entries.refused
  }

  services(): PoolService[] {
    return this.#entries.inForce.services()
  }

  service(address: ServiceAddress): PoolService | undefined {
    return this.#entries.inForce.service(address)
  }

  settings(): SettingValues {
    return this.#entries.inForce.settings()
  }

  marks(): readonly MarkRule[] {
    return this.#entries.inForce.marks()
  }

  /** The same at every director that has the same configuration. */
  get revision(): string {
    return this.#entries.inForce.revision
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

  /**
   * Makes the changes of a document, all of them or, when one cannot be made, none. Resolves when they are kept and in force
   * here.
   * @param edits asked for one by one, so that of a large document only what comes of it is in memory
   * @throws EditRefused for the first change that is refused
   */
  async edit(edits: Iterable<PoolEdit>, basedOn?: string): Promise<void> {
    let draft: PoolDraft | undefined
    try {
      await this.#change(basedOn, async (stamp) => {
        draft = await this.#draft(edits)
        return Array.fromAsync(paced(draftedEntries(this.#entries.inForce, draft, stamp)))
      })
    } catch (error) {
      const at = error instanceof ServiceTooLarge ? draft?.lastEditOf(error.service) : undefined
      throw at === undefined ? error : new EditRefused(at, error as ServiceTooLarge)
    }
  }

  /**
   * What the same would change. What would change nothing may be based on any revision: it has been done.
   * @throws EditRefused, or REVISION_CONFLICT
   */
  preview(edits: Iterable<PoolEdit>, basedOn?: string): Promise<ChangePreview> {
    return this.#entries.inTurn(async () => {
      const lines = draftDifference(this.#entries.inForce, await this.#draft(edits))
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
      return Array.fromAsync(paced(restoredEntries(this.#entries.inForce, replaced, stamp)))
    })
  }

  /** The configuration as it was at a revision, or as it is now. @throws DirectorError REVISION_MISSING */
  stateAt(name?: string): Promise<RevisionState> {
    return this.#entries.inTurn(() => this.#stateAt(name))
  }

  /** One line for each difference between two revisions. @throws DirectorError REVISION_MISSING */
  difference(from?: string, to?: string): Promise<AsyncIterable<string>> {
    return this.#entries.inTurn(async () =>
      paced(difference((await this.#stateAt(from)).state, (await this.#stateAt(to)).state)),
    )
  }

  /** Newest first. */
  revisions(): RevisionListing[] {
    return listRevisions(this.#entries.history.revisions, this.revision)
  }

  /** Tells peers a digest of everything, and forgets old tombstones. To be called every few seconds. */
  announce(): void {
    this.#entries.announce()
  }

  async #stateAt(name = this.revision): Promise<RevisionState> {
    const { revision, replaced } = await this.#replacedSince(name)
    return { revision, state: this.#entries.inForce.with(replaced) }
  }

  /** The revision's name tells whether the way back to it is whole: a part of the store may have been lost. */
  async #replacedSince(name: string): Promise<{ revision: string; replaced: Map<string, PoolEntry | undefined> }> {
    const found = await this.#entries.history.replacedSince(name, this.revision)
    const pace = startPace()
    const forecast = this.#entries.inForce.forecast()
    for (const [key, entry] of found.replaced) {
      forecast.put(key, entry)
      await pace()
    }
    if (forecast.revision === found.revision) return found
    const message = `this director has lost a part of its history, and cannot say what revision ${found.revision} was: ask another director`
    throw new DirectorError('REVISION_MISSING', message)
  }

  #demandBase(basedOn: string | undefined): void {
    if (basedOn !== undefined) demandRevision(basedOn, this.revision, this.#entries.history.revisions)
  }

  async #draft(edits: Iterable<PoolEdit>): Promise<PoolDraft> {
    const pace = startPace()
    const draft = new PoolDraft(this.#entries.inForce, this.#options.isUnicast())
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
    return this.#entries.change((stamp) => {
      this.#demandBase(basedOn)
      return decide(stamp)
    })
  }

  #tell(entry: PoolEntry, before: PoolEntry | undefined): void {
    const { onChange, onSettings, onMarks } = this.#options
    if (entry.kind === 'settings') onSettings(entry.settings)
    else if (entry.kind === 'marks') onMarks(entry.rules)
    else if (entry.kind === 'service') onChange({ kind: 'set', service: entry.service })
    else if (entry.kind === 'tombstone' && before?.kind === 'service')
      onChange({ kind: 'removed', service: entry.service })
  }
}
