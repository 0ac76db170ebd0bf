/**
 * A virtual service as operators see it: the configuration beside what health, load and traffic make of it.
 */
import type { Forwarder } from '../../../forwarder/forwarder.ts'
import { serverKey } from '../../../forwarder/service.ts'
import { NOTHING_SAID } from '../load/agent-answer.ts'
import { effectiveService, type ServerConditions } from '../pool/effective-services.ts'
import { persistenceValues, tunnelValues } from '../pool/pool-document.ts'
import type { PoolService } from '../pool/pool-entry.ts'
import type { ServerListing, ServiceListing } from './answers.ts'
import type { CounterView } from './api.ts'
import type { TrafficStatisticsBook } from './statistics.ts'

export interface ListingSources {
  readonly conditions: ServerConditions
  /** By address, 0 to 1; null: no agent speaks for it. */
  readonly load: (address: string) => number | null
  readonly counters: Pick<Forwarder, 'serverCounters'>
  readonly statistics: Pick<TrafficStatisticsBook, 'service' | 'server'>
}

export function listService(service: PoolService, sources: ListingSources, view: CounterView = 'now'): ServiceListing {
  const { protocol, address, port, mark, scheduler, schedulerFlags = [] } = service
  const { persistence, persistenceEngine, onePacket = false, mss, sync, servers } = service
  const { conditions, counters, statistics } = sources
  const effective = effectiveService(service, conditions).servers
  return {
    protocol,
    address,
    port,
    ...(mark !== undefined && { mark }),
    scheduler,
    schedulerFlags,
    ...(persistence && { persistence: persistenceValues(persistence) }),
    ...(persistenceEngine && { persistenceEngine }),
    onePacket,
    ...(mss && { mss }),
    ...(sync && { sync }),
    statistics: view === 'none' ? null : statistics.service(service, view),
    servers: servers.map((server, index): ServerListing => {
      const { method, weight, upperThreshold = 0, lowerThreshold = 0, tunnel } = server
      const counted = counters.serverCounters(service, server)
      return {
        address: server.address,
        port: server.port,
        method,
        weight,
        effectiveWeight: effective[index].down ? 0 : effective[index].weight,
        upperThreshold,
        lowerThreshold,
        ...(tunnel && { tunnel: tunnelValues(tunnel) }),
        isLocal: effective[index].method === 'local',
        activeConnections: counted.activeConnections,
        inactiveConnections: counted.inactiveConnections,
        persistentConnections: counted.persistentConnections,
        health: conditions.health(serverKey(server)),
        load: sources.load(server.address),
        loadFactor: conditions.loadFactor(server.address),
        agentCheck: saidBy(conditions, server.address),
        statistics: view === 'none' ? null : statistics.server(service, server, view),
      }
    }),
  }
}

function saidBy({ agent }: ServerConditions, address: string): ServerListing['agentCheck'] {
  const state = agent?.(address) ?? NOTHING_SAID
  return state === NOTHING_SAID ? null : { ...state }
}
