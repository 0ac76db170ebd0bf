/**
 * The schedulers by the names that ipvsadm's -s takes. A new scheduler is its file and one line here.
 */
import { destinationHashing } from './destination-hashing.ts'
import { failover } from './failover.ts'
import { leastConnection } from './least-connection.ts'
import { localityBasedLeastConnection } from './locality-based-least-connection.ts'
import { localityBasedLeastConnectionWithReplication } from './locality-based-least-connection-with-replication.ts'
import { maglevHashing } from './maglev-hashing.ts'
import { neverQueue } from './never-queue.ts'
import { nobody } from './nobody.ts'
import { overflow } from './overflow.ts'
import { powerOfTwoChoices } from './power-of-two-choices.ts'
import { roundRobin } from './round-robin.ts'
import type { Scheduler } from './scheduler.ts'
import { shortestExpectedDelay } from './shortest-expected-delay.ts'
import { sourceHashing } from './source-hashing.ts'
import { weightedLeastConnection } from './weighted-least-connection.ts'
import { weightedRoundRobin } from './weighted-round-robin.ts'

export const schedulers: readonly Scheduler[] = [
  roundRobin,
  weightedRoundRobin,
  leastConnection,
  weightedLeastConnection,
  localityBasedLeastConnection,
  localityBasedLeastConnectionWithReplication,
  destinationHashing,
  sourceHashing,
  shortestExpectedDelay,
  neverQueue,
  failover,
  overflow,
  maglevHashing,
  powerOfTwoChoices,
]

/** What ipvsadm takes when no -s is given. */
export const DEFAULT_SCHEDULER = weightedLeastConnection.name

const byName = new Map([...schedulers, nobody].map((scheduler) => [scheduler.name, scheduler]))

export function schedulerByName(name: string): Scheduler | undefined {
  return byName.get(name)
}
