/**
 * Shortest expected delay: the server where a new connection would wait least.
 *
 * Expected delay of a server is (active connections + 1) / weight. Of several equal ones the first in the list, which is the
 * one that was added last. UDP connections are never active, so that with UDP everything goes to the heaviest server.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_sed.c.
 */
import { hasMoreLoadPerWeight } from './overhead.ts'
import { isAvailable, type Scheduler } from './scheduler.ts'

export const shortestExpectedDelay: Scheduler = {
  name: 'sed',
  select(servers) {
    let least: (typeof servers)[number] | undefined
    let leastLoad = 0
    for (const server of servers) {
      if (!isAvailable(server)) continue
      const load = server.activeConnections + 1
      if (least && !hasMoreLoadPerWeight(leastLoad, least.weight, load, server.weight)) continue
      least = server
      leastLoad = load
    }
    return least
  },
}
