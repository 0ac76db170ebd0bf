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
import { type AgentState, isAway, isDrained, NOTHING_SAID } from '../load/agent-answer.ts'
import { loadedWeights } from '../load/load-factor.ts'
import { persistenceValues, tunnelValues } from './pool-document.ts'
import type { PoolServer, PoolService } from './pool-entry.ts'

export interface ServerConditions {
  /** By serverKey(). A server of which nothing is known is used. */
  readonly health: (server: string) => HealthState
  /** By address; 1 when no load counts. */
  readonly loadFactor: (address: string) => number
  /** By address; what its HAProxy agent has said. No server has one unless given. */
  readonly agent?: (address: string) => AgentState
  /** Whether an address is this director's own: it then serves itself, by whatever method was configured. */
  readonly isLocal: (address: string) => boolean
}

export function effectiveService(service: PoolService, conditions: ServerConditions): ServiceSpec {
  const { protocol, address, port, mark, schedulerFlags, persistence, persistenceEngine, onePacket } = service
  const { mss, sync } = service
  const agents = service.servers.map(({ address }) => conditions.agent?.(address) ?? NOTHING_SAID)
  const weights = loadedWeights(
    service.servers.map(({ address, weight }, index) => {
      // 0 %, too: then it takes no clients whatever the scheduler makes of weights.
      const percent = isDrained(agents[index]) ? 100 : (agents[index].weightPercent ?? 100)
      return { weight, factor: (conditions.loadFactor(address) * percent) / 100 }
    }),
    schedulerByName(service.scheduler)?.weightsAre,
  )
  const servers = service.servers.map((server, index): RealServerSpec => {
    const { address, port, tunnel, edits } = server
    const agent = agents[index]
    const isDown = isAway(agent) || conditions.health(serverKey(server)) === 'down'
    const isQuiet = !isDown && server.weight > 0 && isDrained(agent)
    const weight = isDown ? server.weight : isQuiet ? 0 : weights[index]
    const lastWeight = isQuiet ? server.weight : server.lastWeight
    const { upperThreshold, lowerThreshold } = thresholds(server, agent)
    return {
      address,
      port,
      method: conditions.isLocal(address) ? 'local' : server.method,
      weight,
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

/** An agent's word counts in the place of the configured threshold; a lower one that would be above it goes down with it. */
function thresholds(server: PoolServer, { maxConnections }: AgentState) {
  const { upperThreshold, lowerThreshold } = server
  if (maxConnections === null || maxConnections === 0) return { upperThreshold, lowerThreshold }
  const lower = lowerThreshold === undefined ? undefined : Math.min(lowerThreshold, maxConnections)
  return { upperThreshold: maxConnections, lowerThreshold: lower }
}
