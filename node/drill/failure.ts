/** What a drill can make fail: one file each in failures/, and what they have in common. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Lab } from './lab.ts'
import { groupOf, LOOK_MS, statusOf } from './lab-directors.ts'
import { type Family, hostsOf, VIRTUAL_ADDRESSES } from './lab-plan.ts'
import type { LabProcess } from './lab-programs.ts'
import { monotonicMs } from './load-messages.ts'

/** What is rehearsed, where. */
export interface Rehearsal {
  readonly lab: Lab
  /** Of the services that clients use. */
  readonly family: Family
  /** The director that holds the VIP before the failure. */
  readonly active: string
  /** A director that is not to be ended, though others are. */
  readonly spared?: string
  readonly signal: AbortSignal
}

export interface Fault {
  /** Host that the failure was done to; of several the first. */
  readonly victim: string
  /** When it began: CLOCK_MONOTONIC, milliseconds. */
  readonly atMs: number
  /** When a director was lost without notice; the beginning, unless given. */
  readonly lossesMs?: readonly number[]
  /** Directors that should have stopped in order, did not end in time, and were killed. */
  readonly hung?: readonly string[]
}

export interface Reaction {
  /** Director that holds the VIP now. */
  readonly active: string
  /** A director's death: when its successor became active. A server's: when the active director had it down. */
  readonly atMs: number
  /** What the takeover's time is counted from; null: there was none to be timed. */
  readonly sinceMs: number | null
}

export interface Failure {
  readonly name: string
  /** Of which of the pool's hosts it takes one away. */
  readonly takesAway: 'directors' | 'servers'
  /** The beginning of the report's sentence. */
  readonly happened: string
  /**
   * What it may cost, besides what a server that it takes away was serving. handshakes: new connections in their handshake at a loss,
   * unless sync is confirmed; beginnings: whatever began between it and the pool's reaction.
   */
  readonly explains: 'nothing' | 'handshakes' | 'beginnings'
  /** Whether the victim is back at the end. */
  readonly isMended: boolean
  /** Before the clients begin. Returns the director that holds the VIP then. */
  prepare?(rehearsal: Rehearsal): Promise<string>
  /** Makes it. `announce` is called with its time, beside it. */
  make(rehearsal: Rehearsal, announce: (atMs: number) => void): Promise<Fault>
  /** Waits for the pool's answer; undefined: there was none in time. */
  awaitReaction(rehearsal: Rehearsal, fault: Fault): Promise<Reaction | undefined>
  /** Takes back what was done, once the pool has reacted. */
  mend?(rehearsal: Rehearsal, fault: Fault): Promise<void>
}

/** A pool that has not reacted by then has lost every session anyway. */
export const REACTION_DEADLINE_MS = 10_000

/** The director's process on a host; the latest of them. */
export function directorOn(lab: Lab, host: string): LabProcess {
  return lab.processes.findLast((each) => each.host === host && each.program === 'director')!
}

/** What Failure.make() is where it is a signal to the active director. */
export function signalActive(signal: NodeJS.Signals): Failure['make'] {
  return async ({ lab, active }, announce) => {
    const { child } = directorOn(lab, active)
    // Nothing comes between the two: what begins after this time must not find the director as it was.
    const atMs = monotonicMs()
    child.kill(signal)
    announce(atMs)
    return { victim: active, atMs }
  }
}

/** Looks until there is something to see; undefined: there was nothing in time. */
export async function lookUntil<T>(
  deadlineMs: number,
  signal: AbortSignal,
  look: () => Promise<T | undefined>,
  everyMs = LOOK_MS,
): Promise<T | undefined> {
  while (monotonicMs() < deadlineMs) {
    const seen = await look()
    if (seen !== undefined) return seen
    await delay(everyMs, undefined, { signal })
  }
  return undefined
}

/** Waits until another director than the victim holds the VIP. */
export async function awaitSuccessor({ lab, family, signal }: Rehearsal, fault: Fault): Promise<Reaction | undefined> {
  const virtualAddress = VIRTUAL_ADDRESSES[family]
  return await lookUntil(fault.atMs + REACTION_DEADLINE_MS, signal, async () => {
    for (const { name } of hostsOf(lab.plan, 'director')) {
      if (name === fault.victim) continue
      const since = groupOf(await statusOf(lab.folder, name), virtualAddress)?.activeSinceMonotonicMs
      if (since === undefined || since === null) continue
      if (since >= fault.atMs) return { active: name, atMs: since, sinceMs: fault.atMs }
      // It took the address from the victim at the last moment before the failure.
      const victim = groupOf(await statusOf(lab.folder, fault.victim), virtualAddress)
      if (victim?.state !== 'active') return { active: name, atMs: fault.atMs, sinceMs: fault.atMs }
    }
    return undefined
  })
}
