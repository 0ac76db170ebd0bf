/**
 * A document of changes, tried out: each is made to the pool as those before it left it, and the pool itself is not touched. So
 * a document takes effect whole, or its first error is all that comes of it.
 */
import { type ServiceAddress, serviceKey } from '../../../forwarder/service.ts'
import type { PoolEdit } from '../control/api.ts'
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
} from './service-changes.ts'

/** The pool as it is. */
export interface PoolBefore {
  service(address: ServiceAddress): PoolService | undefined
  services(): readonly PoolService[]
}

/** A service as the document leaves it; undefined when it removes it. */
export interface DraftedService {
  readonly address: ServiceAddress
  readonly after: PoolService | undefined
}

export class PoolDraft {
  readonly #before: PoolBefore
  readonly #isUnicast: IsUnicast
  readonly #drafted = new Map<string, DraftedService>()

  constructor(before: PoolBefore, isUnicast: IsUnicast) {
    this.#before = before
    this.#isUnicast = isUnicast
  }

  /** @throws DirectorError; the draft is as it was then */
  apply(edit: PoolEdit): void {
    switch (edit.do) {
      case 'clear':
        this.#drafted.clear()
        for (const service of this.#before.services()) this.#put(service, undefined)
        return
      case 'add-service':
        return this.#edit(edit.service, (current) => withService(current, edit.service))
      case 'edit-service':
        return this.#edit(edit.service, (current) => withEditedService(current, edit.service))
      case 'delete-service':
        demandAddress(edit.service)
        return this.#edit(edit.service, (current) => {
          demandService(current, edit.service)
          return undefined
        })
      case 'add-server':
        return this.#edit(edit.server.service, (current) => withServer(current, edit.server, this.#isUnicast))
      case 'edit-server':
        return this.#edit(edit.server.service, (current) => withEditedServer(current, edit.server))
      case 'delete-server':
        return this.#edit(edit.server.service, (current) => withoutServer(current, edit.server))
    }
  }

  /** What is other than before, in the order in which it was first touched. */
  *changes(): Generator<DraftedService> {
    for (const drafted of this.#drafted.values()) {
      if (drafted.after !== undefined || this.#before.service(drafted.address) !== undefined) yield drafted
    }
  }

  #edit(address: ServiceAddress, change: (current: PoolService | undefined) => PoolService | undefined): void {
    const drafted = this.#drafted.get(serviceKey(address))
    this.#put(address, change(drafted ? drafted.after : this.#before.service(address)))
  }

  #put(address: ServiceAddress, after: PoolService | undefined): void {
    this.#drafted.set(serviceKey(address), { address, after })
  }
}
