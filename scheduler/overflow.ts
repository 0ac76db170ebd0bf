/**
 * Weighted overflow: the heaviest server gets everything until its active connections exceed its weight, then the next.
 *
 * A server of weight w takes w + 1 connections: it is passed over from the moment that there are more than w. When all are
 * full, nobody is picked. UDP connections are never active, so that with UDP nothing flows over.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ovf.c.
 */
import { isAvailable, type Scheduler } from './scheduler.ts'

export const overflow: Scheduler = {
  name: 'ovf',
  weightsAre: 'connections',
  select(servers) {
    let heaviest: (typeof servers)[number] | undefined
    for (const server of servers) {
      if (!isAvailable(server) || server.activeConnections > server.weight) continue
      if (!heaviest || server.weight > heaviest.weight) heaviest = server
    }
    return heaviest
  },
}
