/**
 * What the forwarder is told of a virtual service: the configuration, seen through the servers' health and load, and through
 * what this director is: a server that has one of its own addresses is served locally here, whatever way leads there elsewhere.
 *
 * Where no server's load counts, the weights are the configured ones, and the schedulers pick exactly as IPVS does. A server that is
 * down has its configured one, which every director knows, whatever its load was when it died.
 */
import { type RealServerSpec, type ServiceSpec, serverKey } from '../../../forwarder/service.ts'
import { DEFAULT_SCHEDULER, schedulerByName } from '../../../scheduler/registry.ts'
import type { HealthState } from '../health/rise-fall.ts'
import { loadedWeights } from '../load/load-factor.ts'
import { persistenceValues, tunnelValues } from './pool-document.ts'
import type { PoolService } from './pool-entry.ts'
import { NO_SCHEDULER } from './service-changes.ts'

export interface ServerConditions {
  /** By serverKey(). A server of which nothing is known is used. */
  readonly health: (server: string) => HealthState
  /** By address; 1 when no load counts. */
  readonly loadFactor: (address: string) => number
  /** Whether an address is this director's own: it then serves itself, by whatever method was configured. */
  readonly isLocal: (address: string) => boolean
}

export function effectiveService(service: PoolService, conditions: ServerConditions): ServiceSpec {
  const { protocol, address, port, mark, schedulerFlags, persistence, persistenceEngine, onePacket } = service
  const { mss, sync } = service
  const weights = loadedWeights(
    service.servers.map((server) => ({ weight: server.weight, factor: conditions.loadFactor(server.address) })),
    schedulerByName(service.scheduler)?.weightsAre,
  )
  const servers = service.servers.map((server, index): RealServerSpec => {
    const { address, port, lastWeight, upperThreshold, lowerThreshold, tunnel, edits } = server
    const isDown = conditions.health(serverKey(server)) === 'down'
    const weight = isDown ? server.weight : weights[index]
    return {
      address,
      port,
      method: conditions.isLocal(address) ? 'local' : server.method,
      weight: service.scheduler === NO_SCHEDULER ? 0 : weight,
      ...(lastWeight !== undefined && { lastWeight }),
      ...(isDown && { down: true }),
      ...(upperThreshold !== undefined && { upperThreshold }),
      ...(lowerThreshold !== undefined && { lowerThreshold }),
      ...(tunnel && { tunnel: tunnelValues(tunnel) }),
      ...(edits !== undefined && { edits }),
    }
  })
  return {
    protocol,
    address,
    port,
    ...(mark !== undefined && { mark }),
    // A peer of a later version may know schedulers and engines that this one does not.
    scheduler: schedulerByName(service.scheduler) ? service.scheduler : DEFAULT_SCHEDULER,
    ...(schedulerFlags && { schedulerFlags }),
    ...(persistence && {
      persistence: { ...persistenceValues(persistence), ...(persistenceEngine === 'sip' && { engine: 'sip' }) },
    }),
    ...(onePacket && { onePacket }),
    ...(mss && { mss }),
    ...(sync && { sync }),
    servers,
  }
}
