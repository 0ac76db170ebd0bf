/**
 * A document of changes, tried out: each is made to the pool as those before it left it, and the pool itself is not touched. So
 * a document takes effect whole, or its first error is all that comes of it.
 */
import { type MarkRule, type ServiceAddress, serviceKey } from '../../../forwarder/service.ts'
import type { PoolEdit } from '../control/api.ts'
import { withMark, withoutMark, withWholeMarks } from './mark-changes.ts'
import type { PoolService } from './pool-entry.ts'
import {
  demandAddress,
  demandService,
  type IsUnicast,
  withEditedServer,
  withEditedService,
  withoutServer,
  withServer,
  withService,
  withWholeService,
} from './service-changes.ts'
import { type SettingValues, withSettings, withWholeSettings } from './setting-changes.ts'

/** A pool's configuration: as it is, or as it once was. */
export interface PoolState {
  service(address: ServiceAddress): PoolService | undefined
  /** In the order of their keys. */
  services(): readonly PoolService[]
  settings(): SettingValues
  marks(): readonly MarkRule[]
}

/** A service as the document leaves it; undefined when it removes it. */
export interface DraftedService {
  readonly address: ServiceAddress
  readonly after: PoolService | undefined
}

type ServiceEdit = Extract<PoolEdit, { service: unknown } | { server: unknown }>

export class PoolDraft {
  readonly #before: PoolState
  readonly #isUnicast: IsUnicast
  readonly #drafted = new Map<string, DraftedService>()
  /** By service, which change of the document was the last to touch it. */
  readonly #lastEdits = new Map<string, number>()
  #edits = 0
  readonly #settingsBefore: SettingValues
  readonly #marksBefore: readonly MarkRule[]
  #settings: SettingValues
  #marks: readonly MarkRule[]

  constructor(before: PoolState, isUnicast: IsUnicast) {
    this.#before = before
    this.#isUnicast = isUnicast
    this.#settingsBefore = before.settings()
    this.#marksBefore = before.marks()
    this.#settings = this.#settingsBefore
    this.#marks = this.#marksBefore
  }

  /** @throws DirectorError; the draft is as it was then */
  apply(edit: PoolEdit): void {
    if (edit.do === 'clear') {
      this.#drafted.clear()
      for (const service of this.#before.services()) this.#put(service, undefined)
    } else if (edit.do === 'edit-settings') this.#settings = withSettings(this.#settings, edit.settings)
    else if (edit.do === 'replace-settings') this.#settings = withWholeSettings(this.#settings, edit.settings)
    else if (edit.do === 'add-mark') this.#marks = withMark(this.#marks, edit.rule, edit.at)
    else if (edit.do === 'delete-mark') this.#marks = withoutMark(this.#marks, edit.rule)
    else if (edit.do === 'replace-marks') this.#marks = withWholeMarks(this.#marks, edit.rules)
    else {
      const address = 'server' in edit ? edit.server.service : edit.service
      this.#put(address, this.#after(edit, address))
      this.#lastEdits.set(serviceKey(address), this.#edits)
    }
    this.#edits++
  }

  /** The last change, from 0, that is about the service alone. */
  lastEditOf(address: ServiceAddress): number | undefined {
    return this.#lastEdits.get(serviceKey(address))
  }

  /** Services that are other than before, in the order in which they were first touched. */
  *services(): Generator<DraftedService> {
    for (const drafted of this.#drafted.values()) {
      if (drafted.after !== this.#before.service(drafted.address)) yield drafted
    }
  }

  /** undefined: as before. */
  get settings(): SettingValues | undefined {
    return this.#settings === this.#settingsBefore ? undefined : this.#settings
  }

  /** undefined: as before. */
  get marks(): readonly MarkRule[] | undefined {
    return this.#marks === this.#marksBefore ? undefined : this.#marks
  }

  #after(edit: ServiceEdit, address: ServiceAddress): PoolService | undefined {
    const drafted = this.#drafted.get(serviceKey(address))
    const current = drafted ? drafted.after : this.#before.service(address)
    switch (edit.do) {
      case 'add-service':
        return withService(current, edit.service)
      case 'edit-service':
        return withEditedService(current, edit.service)
      case 'replace-service':
        // Compared with what is in force, so that a document of the whole, which begins with `clear`, changes only what differs.
        return withWholeService(this.#before.service(address), edit.service, this.#isUnicast)
      case 'delete-service':
        demandAddress(edit.service)
        demandService(current, edit.service)
        return undefined
      case 'add-server':
        return withServer(current, edit.server, this.#isUnicast)
      case 'edit-server':
        return withEditedServer(current, edit.server)
      case 'delete-server':
        return withoutServer(current, edit.server)
    }
  }

  #put(address: ServiceAddress, after: PoolService | undefined): void {
    this.#drafted.set(serviceKey(address), { address, after })
  }
}
