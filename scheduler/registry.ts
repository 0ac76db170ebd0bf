/**
 * The schedulers by the names that ipvsadm's -s takes. A new scheduler is its file and one line here.
 */
import { leastConnection } from './least-connection.ts'
import { roundRobin } from './round-robin.ts'
import type { Scheduler } from './scheduler.ts'
import { weightedLeastConnection } from './weighted-least-connection.ts'
import { weightedRoundRobin } from './weighted-round-robin.ts'

export const schedulers: readonly Scheduler[] = [
  roundRobin,
  weightedRoundRobin,
  leastConnection,
  weightedLeastConnection,
]

/** What ipvsadm takes when no -s is given. */
export const DEFAULT_SCHEDULER = weightedLeastConnection.name

const byName = new Map(schedulers.map((scheduler) => [scheduler.name, scheduler]))

export function schedulerByName(name: string): Scheduler | undefined {
  return byName.get(name)
}

/** The name of today for the kernel module's file name that ipvsadm took in 1999: `ip_vs_wlc.o` is `wlc`. */
export function modernSchedulerName(name: string): string {
  return /^ip_vs_(\w+)\.o$/.exec(name)?.[1] ?? name
}
