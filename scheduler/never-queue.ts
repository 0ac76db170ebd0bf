/**
 * Never queue: a server that is idle, the first in the list; if none is, the one with the shortest expected delay.
 *
 * UDP connections are never active, so that with UDP the head of the list, which was added last, gets everything.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_nq.c.
 */
import { isAvailable, type Scheduler } from './scheduler.ts'
import { shortestExpectedDelay } from './shortest-expected-delay.ts'

export const neverQueue: Scheduler = {
  name: 'nq',
  select(servers, memory, flow) {
    for (const server of servers) if (server.activeConnections === 0 && isAvailable(server)) return server
    return shortestExpectedDelay.select(servers, memory, flow)
  },
}
