/**
 * What an operator's change makes of a virtual service, by IPVS's rules and in its order: which of two errors is reported
 * follows from that. Pure: the service as it is -> as it will be.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c (ip_vs_genl_set_cmd and what it calls), ipvsadm.c (ports of -g and -i).
 */
import { isIPv6 } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { type ServiceAddress, serverKey, serviceKey } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { schedulerByName, schedulers } from '../../../scheduler/registry.ts'
import type { ServerAddress, ServerInput, ServiceInput, TunnelInput, WholeService } from '../control/api.ts'
import { addressOf, type PoolServer, type PoolService } from './pool-entry.ts'

const PERSISTENCE_ENGINES = ['sip']

/** Whether an address can be a real server's here: one host's, and no broadcast address of this host's networks. */
export type IsUnicast = (address: string) => boolean

export function withService(current: PoolService | undefined, input: ServiceInput): PoolService {
  demandWhole(input)
  if (current) {
    const message = `service ${serviceKey(input)} already exists: edit it, or delete it first`
    throw new DirectorError('SERVICE_EXISTS', message)
  }
  demandNames(input)
  return { ...toService(input), servers: [] }
}

/** Editing a service keeps its servers, and sets everything else anew that this version knows. */
export function withEditedService(current: PoolService | undefined, input: ServiceInput): PoolService {
  demandWhole(input)
  const service = demandService(current, input)
  demandNames(input)
  const { schedulerFlags, persistence, persistenceEngine, onePacket, mss, sync, ...kept } = service
  const anew: PoolService = { ...kept, ...toService(input) }
  if (persistence && anew.persistence) anew.persistence = { ...persistence, ...anew.persistence }
  return anew
}

/**
 * The service as a document has it, whole. What is as it was before stays untouched, and what later versions have put there stays.
 * @returns `before` itself when the document changes nothing of it
 */
export function withWholeService(
  before: PoolService | undefined,
  { servers, ...input }: WholeService,
  isUnicast: IsUnicast,
): PoolService {
  const edited = before ? withEditedService(before, input) : withService(undefined, input)
  const known = new Map(edited.servers.map((server) => [serverKey(server), server]))
  const wanted = new Map<string, PoolServer>()
  for (const each of servers) {
    const server = toServer({ ...each, service: addressOf(input) })
    const key = serverKey(server)
    if (wanted.has(key)) throw exists(server, input)
    demandUnicast(server, isUnicast)
    const current = known.get(key)
    wanted.set(key, current && isDeepStrictEqual(edit(current, server), current) ? current : counted(current, server))
  }
  const service = { ...edited, servers: [...wanted.values()] }
  return before && isDeepStrictEqual(service, before) ? before : service
}

/** Without what says no more than its absence does. */
function toService({ sync, ...input }: ServiceInput): Omit<ServiceInput, 'sync'> & Pick<PoolService, 'sync'> {
  return { ...input, ...(sync && sync !== 'established' && { sync }) }
}

/** @throws DirectorError INPUT_INVALID for fields that do not go together */
export function demandAddress({ protocol, address, port, mark }: ServiceAddress): void {
  if (protocol !== 'fwm') {
    if (mark !== undefined) throw invalid(`mark ${mark}: only a service of protocol fwm has one`)
    return
  }
  if (mark === undefined) throw invalid('mark: expected 1 to 4294967295 with protocol fwm')
  if (port !== 0 || (address !== '0.0.0.0' && address !== '::')) {
    throw invalid(`${address}:${port}: a firewall mark's service has port 0 and the address 0.0.0.0, or :: for IPv6`)
  }
}

function demandWhole(input: ServiceInput): void {
  demandAddress(input)
  const { protocol, address, port, persistence, onePacket } = input
  if (port === 0 && protocol !== 'fwm' && !persistence) {
    throw invalid('port 0 is every port, which only a service with persistence can have')
  }
  if (onePacket && protocol !== 'udp' && protocol !== 'fwm') {
    throw invalid('onePacket: only UDP and firewall marks are scheduled by the packet')
  }
  if (persistence && !isNetmask(persistence.netmask, isIPv6(address))) {
    const expected = isIPv6(address) ? 'a prefix length from 1 to 128' : 'four numbers from 0 to 255 with dots'
    throw invalid(`netmask ${persistence.netmask}: expected ${expected}`)
  }
}

/** Each once, and some are one scheduler's own. Source: ipvsadm.c, "incompatible scheduler flag". */
function demandFlags(scheduler: string, flags: readonly string[] = []): void {
  for (const [index, flag] of flags.entries()) {
    if (flags.indexOf(flag) < index) throw invalid(`schedulerFlags: expected each once, and ${flag} is there twice`)
    const [owner] = flag.split('-')
    if (owner === 'flag' || owner === scheduler) continue
    throw invalid(`schedulerFlags: ${flag} is a flag of scheduler ${owner}, and this service's is ${scheduler}`)
  }
}

function isNetmask(text: string, isVersion6: boolean): boolean {
  if (isVersion6) return /^[1-9]\d{0,2}$/.test(text) && Number(text) <= 128
  return /^(\d{1,3}\.){3}\d{1,3}$/.test(text) && text.split('.').every((part) => Number(part) <= 255)
}

function demandNames({ scheduler, schedulerFlags, persistenceEngine }: ServiceInput): void {
  if (!schedulerByName(scheduler)) {
    const known = schedulers.map(({ name }) => name).join(', ')
    throw new DirectorError('SCHEDULER_UNKNOWN', `there is no scheduler ${scheduler}: use one of ${known}`)
  }
  demandFlags(scheduler, schedulerFlags)
  if (persistenceEngine !== undefined && !PERSISTENCE_ENGINES.includes(persistenceEngine)) {
    const message = `there is no persistence engine ${persistenceEngine}: use ${PERSISTENCE_ENGINES.join(', ')}`
    throw new DirectorError('SCHEDULER_UNKNOWN', message)
  }
}

export function demandService(current: PoolService | undefined, address: ServiceAddress): PoolService {
  if (current) return current
  throw new DirectorError(
    'SERVICE_MISSING',
    `no service ${serviceKey(address)} is defined: add it first, or list what there is`,
  )
}

export function withServer(current: PoolService | undefined, input: ServerInput, isUnicast: IsUnicast): PoolService {
  const service = demandService(current, input.service)
  const server = toServer(input)
  if (indexOf(service, server) >= 0) throw exists(server, service)
  demandUnicast(server, isUnicast)
  return { ...service, servers: [...service.servers, server] }
}

/** The server keeps its place among the others. An edit that changes nothing counts too: wrr begins its round again. */
export function withEditedServer(current: PoolService | undefined, input: ServerInput): PoolService {
  const service = demandService(current, input.service)
  const server = toServer(input)
  const index = demandServer(service, server)
  return { ...service, servers: service.servers.with(index, counted(service.servers[index], server)) }
}

/** An edit sets anew all that this version knows. That it keeps the last weight is the kernel's rule (__ip_vs_update_dest()). */
function edit(before: PoolServer, server: PoolServer): PoolServer {
  const { upperThreshold, lowerThreshold, tunnel, lastWeight, edits, ...kept } = before
  const last = before.weight || lastWeight
  // In the order that peers read them in, so that the same is the same text.
  return {
    ...kept,
    ...server,
    ...(tunnel && server.tunnel && { tunnel: { ...tunnel, ...server.tunnel } }),
    ...(server.weight === 0 && last && { lastWeight: last }),
    ...(edits !== undefined && { edits }),
  }
}

function counted(before: PoolServer | undefined, server: PoolServer): PoolServer {
  return before ? { ...edit(before, server), edits: (before.edits ?? 0) + 1 } : server
}

export function withoutServer(current: PoolService | undefined, input: ServerAddress): PoolService {
  const service = demandService(current, input.service)
  return { ...service, servers: service.servers.toSpliced(demandServer(service, input), 1) }
}

/** Tunnels and direct routing leave the packet's port as it is, so the server's port is the service's. */
function toServer(input: ServerInput): PoolServer {
  const { service, address, port, method, weight, upperThreshold = 0, lowerThreshold = 0, tunnel } = input
  if (isIPv6(address) !== isIPv6(service.address) && method !== 'tun') {
    throw invalid(`real server ${address}: only a tunnel leads from one IP version to the other`)
  }
  if (lowerThreshold > upperThreshold) {
    const message = `lower threshold ${lowerThreshold}: expected at most the upper threshold, which is ${upperThreshold}`
    throw new DirectorError('THRESHOLDS_INVALID', message)
  }
  if (tunnel && method !== 'tun') throw invalid(`tunnel: only servers of method tun have one, not ${method}`)
  if (tunnel) demandTunnel(tunnel)
  const keepsPort = method === 'nat' || service.protocol === 'fwm'
  return {
    address,
    port: keepsPort ? port : service.port,
    method,
    weight,
    ...(upperThreshold > 0 && { upperThreshold }),
    ...(lowerThreshold > 0 && { lowerThreshold }),
    ...(tunnel && { tunnel }),
  }
}

/** What a type does not have would do nothing, and be lost in `vsadm -S`. */
function demandTunnel({ type, port, checksum }: TunnelInput): void {
  if (type === 'gue' && port === 0) throw invalid('tunnel.port: expected 1 to 65535 with type gue')
  if (type !== 'gue' && port !== 0) throw invalid(`tunnel.port: expected 0 with type ${type}, which has no port`)
  if (type === 'ipip' && checksum !== 'none') {
    throw invalid('tunnel.checksum: expected none with type ipip, which has no checksum')
  }
  if (type === 'gre' && checksum === 'remote') {
    throw invalid('tunnel.checksum: expected none or plain with type gre, which knows no remote one')
  }
}

function indexOf({ servers }: PoolService, server: { address: string; port: number }): number {
  return servers.findIndex((other) => other.address === server.address && other.port === server.port)
}

function demandServer(service: PoolService, server: { address: string; port: number }): number {
  const index = indexOf(service, server)
  if (index >= 0) return index
  const message = `no real server ${serverKey(server)} is in service ${serviceKey(service)}: add it first, or list what there is`
  throw new DirectorError('SERVER_MISSING', message)
}

function exists(server: PoolServer, service: ServiceAddress): DirectorError {
  const message = `real server ${serverKey(server)} already is in service ${serviceKey(service)}: edit it, or delete it first`
  return new DirectorError('SERVER_EXISTS', message)
}

function demandUnicast({ address }: PoolServer, isUnicast: IsUnicast): void {
  if (isUnicast(address)) return
  const message = `real server ${address}: expected the address of one host, not of many or of none`
  throw new DirectorError('ADDRESS_INVALID', message)
}

function invalid(message: string): DirectorError {
  return new DirectorError('INPUT_INVALID', message)
}
