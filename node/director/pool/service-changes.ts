/**
 * What an operator's change makes of a virtual service, by IPVS's rules. Pure: the service as it is -> as it will be.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c (what exists, what is missing), ipvsadm.c (ports of -g and -i).
 */
import { type ServiceAddress, serverKey, serviceKey } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { schedulerByName, schedulers } from '../../../scheduler/registry.ts'
import type { ServerAddress, ServerInput, ServiceInput } from '../control/api.ts'
import type { PoolServer, PoolService } from './pool-entry.ts'

export function withService(current: PoolService | undefined, input: ServiceInput): PoolService {
  if (current) {
    const message = `service ${serviceKey(input)} already exists: edit it, or delete it first`
    throw new DirectorError('SERVICE_EXISTS', message)
  }
  demandScheduler(input)
  return { ...input, servers: [] }
}

/** Editing a service keeps its servers. */
export function withEditedService(current: PoolService | undefined, input: ServiceInput): PoolService {
  const service = demandService(current, input)
  demandScheduler(input)
  return { ...service, ...input }
}

function demandScheduler({ scheduler }: ServiceInput): void {
  if (schedulerByName(scheduler)) return
  const known = schedulers.map(({ name }) => name).join(', ')
  throw new DirectorError('SCHEDULER_UNKNOWN', `there is no scheduler ${scheduler}: use one of ${known}`)
}

export function demandService(current: PoolService | undefined, address: ServiceAddress): PoolService {
  if (current) return current
  throw new DirectorError(
    'SERVICE_MISSING',
    `no service ${serviceKey(address)} is defined: add it first, or list what there is`,
  )
}

export function withServer(current: PoolService | undefined, input: ServerInput): PoolService {
  const service = demandService(current, input.service)
  const server = toServer(input)
  if (indexOf(service, server) >= 0) {
    const message = `real server ${serverKey(server)} already is in service ${serviceKey(service)}: edit it, or delete it first`
    throw new DirectorError('SERVER_EXISTS', message)
  }
  return { ...service, servers: [...service.servers, server] }
}

/** The server keeps its place among the others. An edit that changes nothing counts too: wrr begins its round again. */
export function withEditedServer(current: PoolService | undefined, input: ServerInput): PoolService {
  const service = demandService(current, input.service)
  const server = toServer(input)
  const index = demandServer(service, server)
  const before = service.servers[index]
  const edits = (before.edits ?? 0) + 1
  return { ...service, servers: service.servers.with(index, { ...before, ...server, edits }) }
}

export function withoutServer(current: PoolService | undefined, input: ServerAddress): PoolService {
  const service = demandService(current, input.service)
  return { ...service, servers: service.servers.toSpliced(demandServer(service, input), 1) }
}

/** Tunnels and direct routing leave the packet's port as it is, so the server's port is the service's. */
function toServer({ service, address, port, method, weight }: ServerInput): PoolServer {
  return { address, port: method === 'nat' ? port : service.port, method, weight }
}

function indexOf(service: PoolService, server: { address: string; port: number }): number {
  const key = serverKey(server)
  return service.servers.findIndex((other) => serverKey(other) === key)
}

function demandServer(service: PoolService, server: { address: string; port: number }): number {
  const index = indexOf(service, server)
  if (index >= 0) return index
  const message = `no real server ${serverKey(server)} is in service ${serviceKey(service)}: add it first, or list what there is`
  throw new DirectorError('SERVER_MISSING', message)
}
