/**
 * Weighted least connection, IPVS's default: the server with the fewest connections for its weight.
 *
 * Of several equal ones the first in the list, which is the one that was added last.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_wlc.c.
 */
import { connectionOverhead, hasMoreLoadPerWeight } from './overhead.ts'
import { isAvailable, type Scheduler } from './scheduler.ts'

export const weightedLeastConnection: Scheduler = {
  name: 'wlc',
  select(servers) {
    let least: (typeof servers)[number] | undefined
    let leastOverhead = 0
    for (const server of servers) {
      if (!isAvailable(server)) continue
      const overhead = connectionOverhead(server)
      if (least && !hasMoreLoadPerWeight(leastOverhead, least.weight, overhead, server.weight)) continue
      least = server
      leastOverhead = overhead
    }
    return least
  },
}
