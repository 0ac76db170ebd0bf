/**
 * Weighted failover: the heaviest server that is available gets everything; the others wait for it to fail.
 *
 * Of several equal ones the first in the list, which is the one that was added last.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_fo.c.
 */
import { isAvailable, type Scheduler } from './scheduler.ts'

export const failover: Scheduler = {
  name: 'fo',
  weightsAre: 'ranks',
  select(servers) {
    let heaviest: (typeof servers)[number] | undefined
    for (const server of servers) {
      if (isAvailable(server) && (!heaviest || server.weight > heaviest.weight)) heaviest = server
    }
    return heaviest
  },
}
