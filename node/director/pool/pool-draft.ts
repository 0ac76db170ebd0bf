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
    if (edit.do === 'clear') {
      this.#drafted.clear()
      for (const service of this.#before.services()) this.#put(service, undefined)
      return
    }
    const address = 'server' in edit ? edit.server.service : edit.service
    const drafted = this.#drafted.get(serviceKey(address))
    this.#put(address, this.#after(edit, drafted ? drafted.after : this.#before.service(address)))
  }

  /** What is other than before, in the order in which it was first touched. */
  *changes(): Generator<DraftedService> {
    for (const drafted of this.#drafted.values()) {
      if (drafted.after !== undefined || this.#before.service(drafted.address) !== undefined) yield drafted
    }
  }

  #after(edit: Exclude<PoolEdit, { do: 'clear' }>, current: PoolService | undefined): PoolService | undefined {
    switch (edit.do) {
      case 'add-service':
        return withService(current, edit.service)
      case 'edit-service':
        return withEditedService(current, edit.service)
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
