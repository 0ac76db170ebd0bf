/**
 * What the forwarder is told of a virtual service: the configured weights, seen through the servers' health and load.
 *
 * Where no server's load counts, the weights are the configured ones, and the schedulers pick exactly as IPVS does.
 */
import { type RealServerSpec, type ServiceSpec, serverKey } from '../../../forwarder/service.ts'
import { DEFAULT_SCHEDULER, schedulerByName } from '../../../scheduler/registry.ts'
import type { HealthState } from '../health/rise-fall.ts'
import { loadedWeights } from '../load/load-factor.ts'
import type { PoolService } from './pool-entry.ts'

export interface ServerConditions {
  /** By serverKey(). A server of which nothing is known is used. */
  readonly health: (server: string) => HealthState
  /** By address; 1 when no load counts. */
  readonly loadFactor: (address: string) => number
  /** Whether an address is this director's own: it then serves itself, by whatever method was configured. */
  readonly isLocal: (address: string) => boolean
}

export function effectiveService(service: PoolService, conditions: ServerConditions): ServiceSpec {
  const { protocol, address, port, servers } = service
  const weights = loadedWeights(
    servers.map((server) => ({ weight: server.weight, factor: conditions.loadFactor(server.address) })),
    schedulerByName(service.scheduler)?.weightsAre,
  )
  return {
    protocol,
    address,
    port,
    // A peer of a later version may know schedulers that this one does not.
    scheduler: schedulerByName(service.scheduler) ? service.scheduler : DEFAULT_SCHEDULER,
    servers: servers.map(({ address, port, method, edits }, index): RealServerSpec => {
      const isDown = conditions.health(serverKey({ address, port })) === 'down'
      const weight = isDown ? 0 : weights[index]
      const reached = conditions.isLocal(address) ? 'local' : method
      return { address, port, method: reached, weight, ...(edits === undefined ? {} : { edits }) }
    }),
  }
}
