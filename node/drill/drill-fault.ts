/**
 * The failures that a drill can make, and what the pool makes of them, as its directors' control sockets tell.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { DirectorError } from '../../protocol/errors.ts'
import type { ConnectionListing } from '../director/control/api.ts'
import { request } from '../director/control/client.ts'
import { putLast } from '../processor-share.ts'
import type { Lab } from './lab.ts'
import { killProcesses, unplug } from './lab-network.ts'
import { addressOf, type Family, hostNamed, hostsOf, VIRTUAL_ADDRESSES } from './lab-plan.ts'
import { controlSocketOf } from './lab-programs.ts'
import { groupOf, statusOf } from './lab-ready.ts'
import { type Conversation, monotonicMs } from './load-messages.ts'

export const DRILLS = ['crash', 'handover', 'server-death'] as const
export type DrillName = (typeof DRILLS)[number]

/** What is rehearsed, where. */
export interface Rehearsal {
  readonly lab: Lab
  readonly drill: DrillName
  /** Of the services that clients use. */
  readonly family: Family
}

export interface Fault {
  /** Host that the failure was done to. */
  readonly victim: string
  /** CLOCK_MONOTONIC, milliseconds. */
  readonly atMs: number
}

export interface Reaction {
  /** Director that holds the VIP now. */
  readonly active: string
  /** A director's death: when its successor became active. A server's: when the active director had it down. */
  readonly atMs: number
}

const LOOK_MS = 20
/** A pool that has not reacted by then has lost every session anyway. */
const REACTION_DEADLINE_MS = 10_000

/** The director that holds the VIP; on a busy machine that may take a moment to be one. @throws DirectorError LAB_FAILED */
export async function findActive(lab: Lab, family: Family = 'ipv4'): Promise<string> {
  const deadline = monotonicMs() + REACTION_DEADLINE_MS
  do {
    for (const { name } of hostsOf(lab.plan, 'director')) {
      if (groupOf(await statusOf(lab.folder, name), VIRTUAL_ADDRESSES[family])?.state === 'active') return name
    }
    await delay(LOOK_MS)
  } while (monotonicMs() < deadline)
  throw new DirectorError('LAB_FAILED', `lab ${lab.plan.name}: no director holds the virtual address`)
}

/** Makes the failure. `announce` is called with its time, beside it. */
export async function makeFault(
  { lab, drill }: Rehearsal,
  active: string,
  announce: (atMs: number) => void,
): Promise<Fault> {
  if (drill === 'server-death') {
    const victim = hostsOf(lab.plan, 'server')[0]
    const atMs = monotonicMs()
    announce(atMs)
    // The cable first: the kernel of a machine without power says no goodbye for the processes on it.
    await unplug(lab.plan, victim)
    await killProcesses([victim.namespace])
    return { victim: victim.name, atMs }
  }
  const director = lab.processes.find(({ host, program }) => host === active && program === 'director')!
  // A host without power has nothing to tidy up; what this one's kernel does for the process shall not keep the others waiting.
  if (drill === 'crash' && director.child.pid !== undefined) putLast(director.child.pid)
  // Nothing comes between the two: what begins after this time must not find the director alive.
  const atMs = monotonicMs()
  director.child.kill(drill === 'crash' ? 'SIGKILL' : 'SIGTERM')
  announce(atMs)
  return { victim: active, atMs }
}

/** Waits for the pool's answer to the failure; undefined: there was none in time. */
export async function awaitReaction(
  { lab, drill, family }: Rehearsal,
  active: string,
  fault: Fault,
): Promise<Reaction | undefined> {
  const look = drill === 'server-death' ? serverIsDown : successor
  const virtualAddress = VIRTUAL_ADDRESSES[family]
  while (monotonicMs() - fault.atMs < REACTION_DEADLINE_MS) {
    const reaction = await look()
    if (reaction) return reaction
    await delay(LOOK_MS)
  }
  return undefined

  async function successor(): Promise<Reaction | undefined> {
    for (const { name } of hostsOf(lab.plan, 'director')) {
      if (name === fault.victim) continue
      const since = groupOf(await statusOf(lab.folder, name), virtualAddress)?.activeSinceMonotonicMs
      if (since === undefined || since === null) continue
      if (since >= fault.atMs) return { active: name, atMs: since }
      // It took the address from the victim at the last moment before the failure.
      if (!(await isActive(fault.victim))) return { active: name, atMs: fault.atMs }
    }
    return undefined
  }

  async function isActive(director: string): Promise<boolean> {
    return groupOf(await statusOf(lab.folder, director), virtualAddress)?.state === 'active'
  }

  async function serverIsDown(): Promise<Reaction | undefined> {
    const address = addressOf(hostNamed(lab.plan, fault.victim).interfaces[0], family)
    const status = await statusOf(lab.folder, active)
    const down = status?.services
      .filter((service) => service.address === virtualAddress)
      .every(({ servers }) => servers.some((server) => server.address === address && server.health === 'down'))
    return down ? { active, atMs: monotonicMs() } : undefined
  }
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
