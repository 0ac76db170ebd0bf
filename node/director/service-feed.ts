/**
 * The pool's services on their way to those who act on them: the forwarder, which is told of each with its servers' health and
 * load in it; the health checks and agents; and this host, where it serves itself.
 *
 * All of it goes by difference, and nothing here walks over all services for the sake of one: with a hundred thousand real
 * servers there is always one whose health or load has just changed. Telling of a service costs, here and at the forwarder, what
 * it has of servers: one that was told of a moment ago rests until it is told of again, by then with all that has changed.
 */
import type { Forwarder } from '../../forwarder/forwarder.ts'
import { type ServiceAddress, serviceKey } from '../../forwarder/service.ts'
import { type Clock, systemClock } from './clock.ts'
import type { Health } from './health/health.ts'
import type { LocalServers } from './host/local-servers.ts'
import type { AgentChecks } from './load/agent-checks.ts'
import { startPace } from './pace.ts'
import { effectiveService, type ServerConditions } from './pool/effective-services.ts'
import type { PoolChange } from './pool/pool-configuration.ts'
import type { PoolServer, PoolService } from './pool/pool-entry.ts'

export interface ServiceFeedOptions {
  readonly forwarder: Pick<Forwarder, 'setService' | 'removeService'>
  readonly health: Pick<Health, 'use' | 'release'>
  /** The servers' HAProxy agents; they are not asked unless given. */
  readonly agentChecks?: Pick<AgentChecks, 'use' | 'release'>
  readonly localServers: Pick<LocalServers, 'setServices' | 'concerns'>
  readonly conditions: ServerConditions
  readonly clock?: Clock
}

/** What of a server is another than before. */
export type Cause = 'health' | 'load'

/** From one time that the forwarder is told of a service to the next. Load is smoothed over seconds; a dead server loses connections. */
const REST_MS: Record<Cause, number> = { health: 100, load: 1000 }

export class ServiceFeed {
  readonly #options: ServiceFeedOptions
  readonly #clock: Clock
  readonly #services = new Map<string, PoolService>()
  /** Keys of the services that have a server at an address. */
  readonly #byAddress = new Map<string, Set<string>>()
  /** Services that this host serves itself. */
  readonly #local = new Map<string, PoolService>()
  /** Keys of services of which the forwarder is to be told again. */
  readonly #stale = new Set<string>()
  /** When it was last told of each service. */
  readonly #toldAtMs = new Map<string, number>()
  /** Those of which it is to be told again when they have rested. */
  readonly #resting = new Map<string, { readonly dueAtMs: number; readonly cancel: () => void }>()
  #isTelling = false
  #hostIsBehind = false

  constructor(options: ServiceFeedOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  /** Nobody is told of anything any more but by apply(). */
  stop(): void {
    for (const key of [...this.#resting.keys()]) this.#settle(key)
    this.#stale.clear()
  }

  /** The pool's configuration has changed; the forwarder is told at once. */
  apply(change: PoolChange): void {
    const key = serviceKey(change.service)
    if (change.kind === 'set') this.#set(key, change.service)
    else this.#remove(key, change.service)
  }

  /** Health or load of the servers at this address is another: their services are told of again, at once or when they have rested. */
  refreshAt(address: string, cause: Cause): void {
    for (const key of this.#byAddress.get(address) ?? []) this.#refresh(key, cause)
  }

  /** Which addresses are this host's own is another matter now. */
  refreshAll(): void {
    for (const [key, service] of this.#services) {
      this.#refresh(key, 'health')
      this.#noteLocal(key, service)
    }
  }

  #refresh(key: string, cause: Cause): void {
    if (this.#stale.has(key)) return
    const nowMs = this.#clock.now()
    const dueAtMs = (this.#toldAtMs.get(key) ?? Number.NEGATIVE_INFINITY) + REST_MS[cause]
    const resting = this.#resting.get(key)
    if (resting && resting.dueAtMs <= dueAtMs) return
    resting?.cancel()
    const hasRested = () => {
      this.#resting.delete(key)
      this.#stale.add(key)
      this.#tellStale()
    }
    if (dueAtMs <= nowMs) hasRested()
    else this.#resting.set(key, { dueAtMs, cancel: this.#clock.schedule(dueAtMs - nowMs, hasRested) })
  }

  #settle(key: string): void {
    this.#stale.delete(key)
    this.#resting.get(key)?.cancel()
    this.#resting.delete(key)
  }

  #tell(key: string, service: PoolService): void {
    const { forwarder, conditions } = this.#options
    this.#settle(key)
    this.#toldAtMs.set(key, this.#clock.now())
    forwarder.setService(effectiveService(service, conditions))
  }

  #set(key: string, service: PoolService): void {
    const { health } = this.#options
    const before = this.#services.get(key)?.servers ?? []
    this.#services.set(key, service)
    this.#tell(key, service)
    if (service.protocol === 'tcp') {
      for (const server of service.servers) health.use(server)
      for (const server of before) health.release(server)
    }
    this.#index(key, before, service.servers)
    this.#noteLocal(key, service)
  }

  #remove(key: string, address: ServiceAddress): void {
    const { forwarder, health } = this.#options
    const before = this.#services.get(key)?.servers ?? []
    this.#services.delete(key)
    this.#settle(key)
    this.#toldAtMs.delete(key)
    forwarder.removeService(address)
    if (address.protocol === 'tcp') for (const server of before) health.release(server)
    this.#index(key, before, [])
    this.#noteLocal(key, undefined)
  }

  #index(key: string, before: readonly PoolServer[], after: readonly PoolServer[]): void {
    const addresses = new Set(after.map(({ address }) => address))
    for (const address of addresses) {
      const keys = this.#byAddress.get(address)
      if (keys) keys.add(key)
      else {
        this.#byAddress.set(address, new Set([key]))
        this.#options.agentChecks?.use(address)
      }
    }
    for (const { address } of before) {
      if (addresses.has(address)) continue
      const keys = this.#byAddress.get(address)
      keys?.delete(key)
      if (keys?.size !== 0) continue
      this.#byAddress.delete(address)
      this.#options.agentChecks?.release(address)
    }
  }

  #noteLocal(key: string, service: PoolService | undefined): void {
    const isLocal = service?.servers.some(({ address }) => this.#options.localServers.concerns(address))
    if (!isLocal && !this.#local.has(key)) return
    if (service && isLocal) this.#local.set(key, service)
    else this.#local.delete(key)
    if (this.#hostIsBehind) return
    this.#hostIsBehind = true
    setImmediate(() => {
      this.#hostIsBehind = false
      void this.#options.localServers.setServices([...this.#local.values()])
    })
  }

  /** What changes in one turn of the event loop is told of together. */
  #tellStale(): void {
    if (this.#isTelling || this.#stale.size === 0) return
    this.#isTelling = true
    setImmediate(() => void this.#tellAllStale())
  }

  async #tellAllStale(): Promise<void> {
    const pace = startPace()
    for (const key of this.#stale) {
      const service = this.#services.get(key)
      if (service) this.#tell(key, service)
      await pace()
    }
    this.#isTelling = false
  }
}
