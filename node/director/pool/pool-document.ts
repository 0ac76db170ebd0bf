/** The pool's configuration as one document: what `director config show` prints and `director config apply` reads. Pure. */
import type { MarkRule } from '../../../forwarder/service.ts'
import { SETTINGS } from '../../../forwarder/settings.ts'
import type { PersistenceInput, ServerInput, ServiceInput, TunnelInput, WholeService } from '../control/api.ts'
import { addressOf, type PoolServer, type PoolService } from './pool-entry.ts'
import type { SettingValues } from './setting-changes.ts'

export function documentService(service: PoolService): WholeService {
  return {
    ...addressOf(service),
    ...serviceValues(service),
    servers: service.servers.map((server) => ({
      address: server.address,
      port: server.port,
      ...serverValues(server),
    })),
  }
}

/** All of it that this version knows, but its address and its servers. */
export function serviceValues(service: PoolService): Omit<ServiceInput, 'protocol' | 'address' | 'port' | 'mark'> {
  const { scheduler, schedulerFlags, persistence, persistenceEngine, onePacket, mss, sync } = service
  return {
    scheduler,
    ...(schedulerFlags && { schedulerFlags }),
    ...(persistence && { persistence: persistenceValues(persistence) }),
    ...(persistenceEngine !== undefined && { persistenceEngine }),
    ...(onePacket !== undefined && { onePacket }),
    ...(mss && { mss }),
    ...(sync && { sync }),
  }
}

/** The same of a server. */
export function serverValues(server: PoolServer): Omit<ServerInput, 'service' | 'address' | 'port'> {
  const { method, weight, upperThreshold, lowerThreshold, tunnel } = server
  return {
    method,
    weight,
    ...(upperThreshold !== undefined && { upperThreshold }),
    ...(lowerThreshold !== undefined && { lowerThreshold }),
    ...(tunnel && { tunnel: tunnelValues(tunnel) }),
  }
}

/** What this version knows of it, as of all below. */
export function persistenceValues({ timeoutS, netmask }: PersistenceInput): PersistenceInput {
  return { timeoutS, netmask }
}

export function tunnelValues({ type, port, checksum }: TunnelInput): TunnelInput {
  return { type, port, checksum }
}

/** Those that this version knows. */
export function documentSettings(values: SettingValues): Record<string, number> {
  return Object.fromEntries(SETTINGS.flatMap(({ name }) => (Object.hasOwn(values, name) ? [[name, values[name]]] : [])))
}

export function documentMark({ mark, protocol, source, destination, firstPort, lastPort, link }: MarkRule): MarkRule {
  return {
    mark,
    ...(protocol && { protocol }),
    ...(source !== undefined && { source }),
    ...(destination !== undefined && { destination }),
    ...(firstPort !== undefined && { firstPort }),
    ...(lastPort !== undefined && { lastPort }),
    ...(link !== undefined && { link }),
  }
}
