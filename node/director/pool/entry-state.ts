/** A pool's configuration as its entries say it: as it is, or as it was at a revision. */
import type { MarkRule, ServiceAddress } from '../../../forwarder/service.ts'
import type { PoolState } from './pool-draft.ts'
import { MARKS_KEY, type PoolEntry, type PoolService, SETTINGS_KEY, serviceEntryKey } from './pool-entry.ts'
import type { SettingValues } from './setting-changes.ts'

type ServiceEntry = Extract<PoolEntry, { kind: 'service' }>

export class EntryState implements PoolState {
  readonly #entries: Map<string, PoolEntry>
  /** Keys of the services in their order; undefined: there are others now. */
  #order: string[] | undefined

  constructor(entries = new Map<string, PoolEntry>()) {
    this.#entries = entries
  }

  /** The same with other entries under some keys; undefined: with none. */
  with(others: ReadonlyMap<string, PoolEntry | undefined>): EntryState {
    const copy = new EntryState(new Map(this.#entries))
    for (const [key, entry] of others) copy.put(key, entry)
    return copy
  }

  get size(): number {
    return this.#entries.size
  }

  has(key: string): boolean {
    return this.#entries.has(key)
  }

  get(key: string): PoolEntry | undefined {
    return this.#entries.get(key)
  }

  values(): IteratorObject<PoolEntry> {
    return this.#entries.values()
  }

  /** @returns what was there before */
  put(key: string, entry: PoolEntry | undefined): PoolEntry | undefined {
    const before = this.#entries.get(key)
    if (before?.kind !== entry?.kind) this.#order = undefined
    if (entry) this.#entries.set(key, entry)
    else this.#entries.delete(key)
    return before
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
}
