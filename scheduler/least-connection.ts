/**
 * Least connection: the server with the fewest connections, whatever its weight, as long as it is not 0.
 *
 * Of several equal ones the first in the list, which is the one that was added last.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_lc.c.
 */
import { connectionOverhead } from './overhead.ts'
import { isAvailable, type Scheduler } from './scheduler.ts'

export const leastConnection: Scheduler = {
  name: 'lc',
  select(servers) {
    let least: (typeof servers)[number] | undefined
    let leastOverhead = 0
    for (const server of servers) {
      if (!isAvailable(server)) continue
      const overhead = connectionOverhead(server)
      if (least && overhead >= leastOverhead) continue
      least = server
      leastOverhead = overhead
    }
    return least
  },
}
