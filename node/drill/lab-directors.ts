/** What a lab's directors say of themselves through their control sockets. */
import { setTimeout as delay } from 'node:timers/promises'
import { DirectorError } from '../../protocol/errors.ts'
import { parseEndpoint } from '../../protocol/packet/ipv6-address.ts'
import type { ConnectionListing, DirectorStatus, VipStatus } from '../director/control/answers.ts'
import { request } from '../director/control/client.ts'
import type { Lab } from './lab.ts'
import { addressOf, type Family, hostsOf, VIRTUAL_ADDRESSES } from './lab-plan.ts'
import { controlSocketOf } from './lab-programs.ts'
import { type Conversation, monotonicMs } from './load-messages.ts'

/** Directors tell when something was, so there is no need to look often; and each look takes a moment from those who have just taken over. */
export const LOOK_MS = 100
/** A status that takes longer than this is as good as none. */
const STATUS_TIMEOUT_MS = 2000
/** On a busy machine it may take a moment until somebody is active. */
const ACTIVE_WITHIN_MS = 10_000

/** What one director says of itself; undefined: it does not answer. */
export async function statusOf(folder: string, director: string): Promise<DirectorStatus | undefined> {
  const answer = request(controlSocketOf(folder, director), 'GET', '/status') as Promise<DirectorStatus>
  const silence = delay(STATUS_TIMEOUT_MS, undefined, { ref: false })
  return await Promise.race([answer, silence]).catch(() => undefined)
}

/** The VIP group that an address is of. */
export function groupOf(status: DirectorStatus | undefined, address: string): VipStatus | undefined {
  return status?.vips.find(({ addresses }) => addresses.includes(address))
}

/** The directors that hold the VIP now. */
export async function activeDirectors(lab: Lab, family: Family): Promise<string[]> {
  const names = hostsOf(lab.plan, 'director').map(({ name }) => name)
  const statuses = await Promise.all(names.map((name) => statusOf(lab.folder, name)))
  return names.filter((_, index) => groupOf(statuses[index], VIRTUAL_ADDRESSES[family])?.state === 'active')
}

/** The director that holds the VIP. @throws DirectorError LAB_FAILED */
export async function findActive(lab: Lab, family: Family = 'ipv4'): Promise<string> {
  const deadline = monotonicMs() + ACTIVE_WITHIN_MS
  do {
    const [active] = await activeDirectors(lab, family)
    if (active !== undefined) return active
    await delay(LOOK_MS)
  } while (monotonicMs() < deadline)
  throw new DirectorError('LAB_FAILED', `lab ${lab.plan.name}: no director holds the virtual address`)
}

/** Those conversations that are not in a director's connection table. */
export async function missingFrom(
  lab: Lab,
  director: string,
  conversations: readonly Conversation[],
): Promise<Conversation[]> {
  const socketPath = controlSocketOf(lab.folder, director)
  const listings = (await request(socketPath, 'GET', '/connections')) as ConnectionListing[]
  const known = new Set(listings.map(({ client, virtual }) => `${client} ${virtual}`))
  return conversations.filter(({ client, virtual }) => !known.has(`${client} ${virtual}`))
}

/** The real server that a director gave the connection from a client's port to; undefined: it knows of none. */
export async function serverOf(
  lab: Lab,
  family: Family,
  director: string,
  clientPort: number,
): Promise<string | undefined> {
  const path = `/connections?clientPort=${clientPort}`
  const [found] = (await request(controlSocketOf(lab.folder, director), 'GET', path)) as ConnectionListing[]
  const address = found && parseEndpoint(found.server)?.address
  return hostsOf(lab.plan, 'server').find(({ interfaces: [port] }) => addressOf(port, family) === address)?.name
}
