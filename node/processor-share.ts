/**
 * A process's share of the processors. A director that waits behind other programs misses its own timers and lets its receive
 * ring run over: what looks like a failed director is then only a busy host. keepalived has process priorities for this.
 */
import { readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'
import { basename } from 'node:path'

/** Before everything that was not raised on purpose, and still behind the kernel's own threads. */
const FIRST = -15
/** Behind those, and before everything else. */
const SECOND = -10
/** What programs have whom nobody gave another. */
const ORDINARY = 0
/** Behind everything else. */
const LAST = 19

/**
 * Raises this process, or another, with all threads that it has by now, but for those that stay behind the others; later ones inherit it.
 * V8's own are raised as well, since this thread waits for them when it collects garbage. Where sessions are scheduled as groups,
 * sched(7), the group is raised too, since nice values then count only within it.
 * @returns why it could not be done; undefined when it was
 */
export function putFirst(processId = process.pid): string | undefined {
  try {
    const before = getPriority(processId)
    setPriority(processId, FIRST)
    put(processId, FIRST, before)
  } catch (error) {
    return (error as Error).message
  }
  return undefined
}

/** Puts a process behind those that are first: a load that there is no time for shall not keep them from their own work. */
export function putSecond(processId: number): void {
  put(processId, SECOND)
}

/** Puts a process, which has inherited or needed another share, among all others. */
export function putAmongOthers(processId: number): void {
  put(processId, ORDINARY)
}

/** Puts this thread alone behind the other threads of its process, whose being first does not count for it. */
export function putThreadBehind(): void {
  const thread = Number(basename(readlinkSync('/proc/thread-self')))
  setPriority(thread, Math.min(LAST, Math.max(ORDINARY, getPriority(thread)) + 1))
}

/** Puts a process behind everybody. */
export function putLast(processId: number): void {
  put(processId, LAST)
}

/** @param from threads that are farther behind than this stay there; none unless given */
function put(processId: number, nice: number, from = LAST): void {
  setThreads(processId, nice, from)
  setGroup(processId, nice)
}

function setThreads(processId: number, nice: number, from: number): void {
  try {
    for (const thread of readdirSync(`/proc/${processId}/task`).map(Number))
      if (thread === processId || getPriority(thread) <= from) setPriority(thread, nice)
  } catch {
    // It has just ended: none of those that last, which come first.
  }
}

function setGroup(processId: number, nice: number): void {
  try {
    writeFileSync(`/proc/${processId}/autogroup`, String(nice))
  } catch {
    // This kernel knows no such groups, or changes them no more often than every 100 ms.
  }
}
