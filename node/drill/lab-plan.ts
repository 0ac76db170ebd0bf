/**
 * What a lab looks like, worked out before anything is made: hosts, addresses, routes, priorities. Pure.
 *
 * Every lab has the same addresses, since each lives in namespaces of its own:
 *
 *     outside 10.1.0.0/24   VIP .100, directors .11 .., servers (dr, tun) .21 .., clients .201 ..
 *     inside  10.2.0.0/24   nat only: gateway .1 (moves with the VIP), servers .11 .., directors .251 downwards
 *
 * and beside each its IPv6 address, which has the same last part: fd00:1::100 beside 10.1.0.100, fd00:2::11 beside 10.2.0.11.
 */
import type { ForwardingMethod, TunnelSpec } from '../../forwarder/service.ts'
import { DirectorError } from '../../protocol/errors.ts'

/** The lab's real servers are hosts of their own. */
export type LabMethod = Exclude<ForwardingMethod, 'local'>

export const FAMILIES = ['ipv4', 'ipv6'] as const
export type Family = (typeof FAMILIES)[number]

/** When a service's connections are told to the standbys: forwarder/service.ts. */
export const SYNCS = ['established', 'confirmed', 'confirmed-only'] as const
export type LabSync = (typeof SYNCS)[number]

export interface LabOptions {
  name: string
  directors?: number
  servers?: number
  clients?: number
  method?: LabMethod
  /** With method tun; ipip unless given. */
  tunnel?: TunnelSpec['type']
  /** A name in the scheduler registry, for all services; wlc unless given. */
  scheduler?: string
  /** Of all services; established unless given. */
  sync?: LabSync
  /** VRRP advertisement interval; a multiple of 10, 50 unless given. */
  advertisementIntervalMs?: number
  /** Of all groups of virtual addresses. */
  virtualMac?: boolean
  /** Size of the directors' connection tables, a power of two; what a director has by itself unless given. */
  connections?: number
}

export interface LabHost {
  /** d1, s2, c1. */
  readonly name: string
  readonly role: 'director' | 'server' | 'client'
  readonly namespace: string
  /** Interfaces are named after the bridge that they are on. */
  readonly interfaces: readonly LabInterface[]
  /** It reaches the other bridge by the gateways. */
  readonly behindGateway: boolean
  /** VRRP priority of a director; 0 for others. */
  readonly priority: number
}

export type BridgeName = 'outside' | 'inside'

export interface LabInterface {
  readonly name: BridgeName
  /** IPv4. */
  readonly address: string
  readonly ipv6Address: string
}

export interface LabPlan {
  readonly name: string
  readonly method: LabMethod
  readonly tunnel: TunnelSpec['type']
  readonly scheduler: string
  readonly sync: LabSync
  readonly advertisementIntervalMs: number
  readonly virtualMac: boolean
  readonly connections?: number
  readonly switchNamespace: string
  readonly bridges: readonly BridgeName[]
  readonly hosts: readonly LabHost[]
}

export const VIRTUAL_ADDRESSES = inBothFamilies('10.1.0.100')
export const GATEWAY_ADDRESSES = inBothFamilies('10.2.0.1')
/** For what is about IPv4 alone. */
export const VIRTUAL_ADDRESS = VIRTUAL_ADDRESSES.ipv4
export const GATEWAY_ADDRESS = GATEWAY_ADDRESSES.ipv4
export const WEB_PORT = 80
/** Where nginx listens as well: NAT translates the port. */
export const WEB_PORT_INSIDE = 8080
export const SESSION_PORT = 7000
export const CLUSTER_PORT = 7946
/** Where GUE tunnels end. */
export const GUE_PORT = 6080
export const AGENT_PORT = 7947

const NAMESPACE_PREFIX = 'ld-'
const HOST_NAME = /^(?:switch|[dsc]\d+)$/

/** @throws DirectorError INPUT_INVALID */
export function planLab(options: LabOptions): LabPlan {
  const { name, directors = 3, servers = 3, clients = 1, method = 'nat', tunnel = 'ipip' } = options
  checkLabName(name)
  checkCount('directors', directors, 1, 8)
  checkCount('servers', servers, 1, 64)
  checkCount('clients', clients, 1, 32)
  if (!['nat', 'tun', 'dr'].includes(method)) {
    throw new DirectorError('INPUT_INVALID', `method ${method}: expected nat, tun or dr`)
  }
  if (!['ipip', 'gre', 'gue'].includes(tunnel)) {
    throw new DirectorError('INPUT_INVALID', `tunnel ${tunnel}: expected ipip, gre or gue`)
  }
  if (options.tunnel && method !== 'tun') {
    throw new DirectorError('INPUT_INVALID', `tunnel ${tunnel}: only method tun has one, not ${method}`)
  }
  const translated = method === 'nat'
  const hosts: LabHost[] = []
  // Far apart, so that the skew times of RFC 9568 section 6.1 differ by more than a busy machine's timers err.
  const step = Math.floor(200 / directors)
  for (let i = 0; i < directors; i++) {
    const outside = port('outside', 11 + i)
    add('director', i, translated ? [outside, port('inside', 251 - i)] : [outside], 250 - i * step)
  }
  for (let i = 0; i < servers; i++) add('server', i, [translated ? port('inside', 11 + i) : port('outside', 21 + i)])
  for (let i = 0; i < clients; i++) add('client', i, [port('outside', 201 + i)])
  return {
    name,
    method,
    tunnel,
    scheduler: options.scheduler ?? 'wlc',
    sync: options.sync ?? 'established',
    advertisementIntervalMs: options.advertisementIntervalMs ?? 50,
    virtualMac: options.virtualMac ?? false,
    connections: options.connections,
    switchNamespace: namespaceOf(name, 'switch'),
    bridges: translated ? ['outside', 'inside'] : ['outside'],
    hosts,
  }

  function add(role: LabHost['role'], index: number, interfaces: LabHost['interfaces'], priority = 0): void {
    const host = `${role[0]}${index + 1}`
    const behindGateway = interfaces.every((each) => each.name === 'inside')
    hosts.push({ name: host, role, namespace: namespaceOf(name, host), interfaces, behindGateway, priority })
  }
}

function port(name: BridgeName, last: number): LabInterface {
  const { ipv4: address, ipv6: ipv6Address } = inBothFamilies(`10.${name === 'outside' ? 1 : 2}.0.${last}`)
  return { name, address, ipv6Address }
}

function inBothFamilies(address: string): Readonly<Record<Family, string>> {
  const [, network, , last] = address.split('.')
  return { ipv4: address, ipv6: `fd00:${network}::${last}` }
}

export function addressOf(port: LabInterface, family: Family): string {
  return family === 'ipv4' ? port.address : port.ipv6Address
}

export function hostsOf(plan: LabPlan, role: LabHost['role']): LabHost[] {
  return plan.hosts.filter((host) => host.role === role)
}

/** @throws DirectorError INPUT_INVALID when the lab has no such host */
export function hostNamed(plan: LabPlan, host: string): LabHost {
  const found = plan.hosts.find((candidate) => candidate.name === host)
  if (found) return found
  const names = plan.hosts.map((candidate) => candidate.name).join(', ')
  throw new DirectorError('INPUT_INVALID', `lab ${plan.name} has no host ${host}; it has ${names}`)
}

export function namespaceOf(lab: string, host: string): string {
  return `${NAMESPACE_PREFIX}${lab}-${host}`
}

/** Whether a namespace belongs to this lab, and not to one whose name merely begins alike. */
export function belongsToLab(namespace: string, lab: string): boolean {
  const prefix = `${NAMESPACE_PREFIX}${lab}-`
  return namespace.startsWith(prefix) && HOST_NAME.test(namespace.slice(prefix.length))
}

/** @throws DirectorError INPUT_INVALID */
export function checkLabName(name: string): void {
  if (/^[a-z0-9][a-z0-9-]{0,31}$/.test(name)) return
  throw new DirectorError(
    'INPUT_INVALID',
    `lab name "${name}": expected up to 32 lower-case letters, digits and dashes, beginning with a letter or digit`,
  )
}

function checkCount(what: string, value: number, minimum: number, maximum: number): void {
  if (Number.isInteger(value) && value >= minimum && value <= maximum) return
  throw new DirectorError('INPUT_INVALID', `${what} ${value}: expected a number from ${minimum} to ${maximum}`)
}
