/**
 * Power of two choices: two servers are drawn by lot, their weights being their chances, and the less busy of them is picked.
 *
 * A lot is an integer from 0 to the sum of the weights, both included, so that the head of the list has one chance more than
 * its weight. Of two that are equally busy for their weight, the one that was drawn first.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_twos.c; Mitzenmacher, Richa and Sitaraman, "The Power of Two Random Choices", 2001.
 */
import { connectionOverhead, hasMoreLoadPerWeight } from './overhead.ts'
import { type Candidate, isAvailable, type Scheduler, type SchedulerContext } from './scheduler.ts'

export const powerOfTwoChoices: Scheduler<Pick<SchedulerContext, 'random'>> = {
  name: 'twos',

  begin(_servers, { random }) {
    return { random }
  },

  select(servers, { random }) {
    let total = 0
    for (const server of servers) if (isAvailable(server)) total += server.weight
    if (total === 0) return undefined
    const first = atLot(servers, Math.floor(random() * (total + 1)))
    const second = atLot(servers, Math.floor(random() * (total + 1)))
    const firstLoad = connectionOverhead(first)
    const secondLoad = connectionOverhead(second)
    return hasMoreLoadPerWeight(firstLoad, first.weight, secondLoad, second.weight) ? second : first
  },
}

/** The server whose share of the lots, in the list's order, this one lies in. Some server must be available. */
function atLot<S extends Candidate>(servers: readonly S[], lot: number): S {
  let index = 0
  for (let left = lot; index < servers.length; index++) {
    if (!isAvailable(servers[index])) continue
    left -= servers[index].weight
    if (left <= 0) break
  }
  return servers[index]
}
