/**
 * The director's share of the processors. A director that waits behind other programs misses its own timers and lets its receive
 * ring run over: what looks like a failed director is then only a busy host. keepalived has process priorities for this.
 */
import { readdirSync, writeFileSync } from 'node:fs'
import { setPriority } from 'node:os'

/** Before everything that was not raised on purpose, and still behind the kernel's own threads. */
const FIRST = -15
/** Behind everything else. */
const LAST = 19

/**
 * Raises this process. Threads inherit it, so it comes before ours start; V8's own are there already, and are raised as well,
 * since this thread waits for them when it collects garbage. Where sessions are scheduled as groups, sched(7), the group is
 * raised too, since nice values then count only within it.
 * @returns why it could not be done; undefined when it was
 */
export function claimProcessorShare(): string | undefined {
  try {
    setPriority(FIRST)
  } catch (error) {
    return (error as Error).message
  }
  setThreads(FIRST)
  setGroup(FIRST)
  return undefined
}

/** Steps back behind everybody: what is left to do is to tidy up, and others have the addresses now. */
export function giveUpProcessorShare(): void {
  setThreads(LAST)
  setGroup(LAST)
}

function setThreads(nice: number): void {
  for (const thread of readdirSync('/proc/self/task')) {
    try {
      setPriority(Number(thread), nice)
    } catch {
      // It has just ended.
    }
  }
}

function setGroup(nice: number): void {
  try {
    writeFileSync('/proc/self/autogroup', String(nice))
  } catch {
    // This kernel knows no such groups, or changes them no more often than every 100 ms.
  }
}
