/**
 * Bringing a lab's pool to where clients can use it: its services are made at one director, and every director then has to
 * know them, see every server up, hear its agent, and be in sync with its peers, and exactly one has to hold the VIPs of
 * both families.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { TunnelSpec } from '../../forwarder/service.ts'
import { DirectorError } from '../../protocol/errors.ts'
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import type { DirectorStatus } from '../director/control/answers.ts'
import type { ServerInput, ServiceInput } from '../director/control/api.ts'
import { request } from '../director/control/client.ts'
import type { Lab } from './lab.ts'
import { groupOf, LOOK_MS, statusOf } from './lab-directors.ts'
import {
  addressOf,
  FAMILIES,
  type Family,
  GUE_PORT,
  hostsOf,
  type LabPlan,
  SESSION_PORT,
  VIRTUAL_ADDRESSES,
  WEB_PORT,
  WEB_PORT_INSIDE,
} from './lab-plan.ts'
import { controlSocketOf, type LabProcess, tailOf } from './lab-programs.ts'

const DEADLINE_MS = 45_000
const BUILDING_LOOK_MS = 50

/**
 * Makes the services and waits until the pool is ready.
 * @throws DirectorError LAB_FAILED with what is not ready and what its process last wrote
 */
export async function bringUpPool(
  plan: LabPlan,
  folder: string,
  processes: readonly LabProcess[],
  signal: AbortSignal,
): Promise<void> {
  const directors = hostsOf(plan, 'director').map((host) => host.name)
  const deadline = performance.now() + DEADLINE_MS
  let configured = false
  for (;;) {
    signal.throwIfAborted()
    const dead = processes.find(({ child }) => child.exitCode !== null || child.signalCode !== null || !child.pid)
    if (dead) throw labFailed(plan, `${dead.program} on ${dead.host} has ended`, dead)
    const statuses = await Promise.all(directors.map((director) => statusOf(folder, director)))
    if (!configured && statuses[0]) {
      await makeServices(plan, controlSocketOf(folder, directors[0]))
      configured = true
    }
    const missing = whatIsMissing(plan, statuses)
    if (!missing) return
    if (performance.now() > deadline) throw notReady(plan, missing, processes)
    await delay(BUILDING_LOOK_MS)
  }
}

/** Waits until a pool that has been through something is ready again. @throws DirectorError LAB_FAILED, as bringUpPool */
export async function awaitWholePool({ plan, folder, processes }: Lab, signal: AbortSignal): Promise<void> {
  const directors = hostsOf(plan, 'director').map((host) => host.name)
  const deadline = performance.now() + DEADLINE_MS
  for (;;) {
    const missing = whatIsMissing(plan, await Promise.all(directors.map((director) => statusOf(folder, director))))
    if (!missing) return
    if (performance.now() > deadline) throw notReady(plan, missing, processes)
    await delay(LOOK_MS, undefined, { signal })
  }
}

/** The first thing that keeps the pool from being ready, given each director's status in the order of the plan. */
export function whatIsMissing(
  plan: LabPlan,
  statuses: readonly (DirectorStatus | undefined)[],
): { host: string; what: string } | undefined {
  const directors = hostsOf(plan, 'director')
  const services = wantedServices(plan)
  for (const [index, { name: host }] of directors.entries()) {
    const status = statuses[index]
    if (!status) return { host, what: 'the director does not answer on its control socket' }
    const absent = directors.find(
      ({ name }) => name !== host && !status.peers.some((peer) => peer.name === name && peer.connected),
    )
    if (absent) return { host, what: `not connected to ${absent.name}` }
    if (!status.inSync) return { host, what: `not in sync: ${status.syncReason}` }
    for (const { service, servers } of services) {
      const label = `${service.protocol} ${formatEndpoint(service.address, service.port)}`
      const listed = status.services.find(({ address, port }) => address === service.address && port === service.port)
      if (!listed) return { host, what: `does not know the service ${label}` }
      for (const server of servers) {
        const known = listed.servers.find(({ address, port }) => address === server.address && port === server.port)
        const name = `server ${formatEndpoint(server.address, server.port)} of ${label}`
        if (known?.health !== 'up') return { host, what: `${name} is ${known?.health ?? 'missing'}` }
        // With tun the agent also takes packets out of their tunnel: no session can be opened before it runs.
        if (known.load === null) return { host, what: `no agent speaks for ${name}` }
      }
    }
  }
  const holders = new Set<string>()
  for (const address of Object.values(VIRTUAL_ADDRESSES)) {
    const states = statuses.map((status) => groupOf(status, address)?.state)
    const active = directors.filter((_, index) => states[index] === 'active').map(({ name }) => name)
    if (active.length === 0) return { host: directors[0].name, what: `nobody holds ${address}` }
    if (active.length > 1) return { host: active[1], what: `holds ${address}, and so does ${active[0]}` }
    const idle = states.findIndex((state) => state !== 'active' && state !== 'backup')
    if (idle >= 0) return { host: directors[idle].name, what: `VRRP for ${address} is in state ${states[idle]}` }
    holders.add(active[0])
  }
  const [first, second] = holders
  return second === undefined ? undefined : { host: second, what: `holds one virtual address, but ${first} the other` }
}

async function makeServices(plan: LabPlan, socketPath: string): Promise<void> {
  for (const { service, servers } of wantedServices(plan)) {
    await request(socketPath, 'POST', '/services', service)
    for (const server of servers) await request(socketPath, 'POST', '/servers', server)
  }
}

function wantedServices(plan: LabPlan): { service: ServiceInput; servers: ServerInput[] }[] {
  // Only NAT can translate a port.
  const webPort = plan.method === 'nat' ? WEB_PORT_INSIDE : WEB_PORT
  return FAMILIES.flatMap((family) => [
    wantedService(plan, family, WEB_PORT, webPort),
    wantedService(plan, family, SESSION_PORT, SESSION_PORT),
  ])
}

function wantedService(plan: LabPlan, family: Family, port: number, serverPort: number) {
  const address = { protocol: 'tcp', address: VIRTUAL_ADDRESSES[family], port } as const
  const servers = hostsOf(plan, 'server').map(
    (host): ServerInput => ({
      service: address,
      address: addressOf(host.interfaces[0], family),
      port: serverPort,
      method: plan.method,
      ...tunnelOf(plan),
      weight: 1,
    }),
  )
  const sync = plan.sync === 'established' ? {} : { sync: plan.sync }
  return { service: { ...address, scheduler: plan.scheduler, ...sync }, servers }
}

/** What a server's description says of its tunnel; with a checksum where there is one, so that a lab sees the whole of it. */
export function tunnelOf({ tunnel }: LabPlan): { tunnel?: TunnelSpec } {
  if (tunnel === 'ipip') return {}
  return { tunnel: { type: tunnel, port: tunnel === 'gue' ? GUE_PORT : 0, checksum: 'plain' } }
}

function notReady(
  plan: LabPlan,
  missing: { host: string; what: string },
  processes: readonly LabProcess[],
): DirectorError {
  const suspect = processes.findLast(({ host }) => host === missing.host)
  return labFailed(plan, `after ${DEADLINE_MS / 1000} s: ${missing.host}: ${missing.what}`, suspect)
}

function labFailed(plan: LabPlan, what: string, suspect: LabProcess | undefined): DirectorError {
  const tail = suspect ? tailOf(suspect.logFile) : ''
  return new DirectorError('LAB_FAILED', `lab ${plan.name}: ${what}${tail && `; it last wrote:\n${tail}`}`)
}
