/**
 * Locality-based least connection with replication: a destination belongs to a set of servers, which grows while they are
 * overloaded and shrinks when it has been left unchanged for long. For caches with destinations that are much in demand.
 *
 * Of the set's servers the one is picked that weighted least connection would pick among them. If there is none, or if it is
 * to be relieved, the pick among all servers joins the set. When the set has several and did not change during the expiration
 * time (lblcr_expiration), its busiest server leaves it.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_lblcr.c.
 */
import { DestinationCache } from './destination-cache.ts'
import { shouldBeRelieved } from './locality.ts'
import type { LocalityMemory } from './locality-based-least-connection.ts'
import { connectionOverhead, hasMoreLoadPerWeight } from './overhead.ts'
import type { Candidate, Flow, Scheduler } from './scheduler.ts'
import { weightedLeastConnection } from './weighted-least-connection.ts'

export interface ServerSet {
  /** The one that joined last comes first. Removed servers stay, since they may be added back. */
  servers: Candidate[]
  changedMs: number
}

export const localityBasedLeastConnectionWithReplication: Scheduler<LocalityMemory<ServerSet>> = {
  name: 'lblcr',
  weightsAre: 'connections',

  begin(_servers, { settings, random }) {
    return { settings, destinations: new DestinationCache(random()) }
  },

  copy({ settings, destinations }) {
    return { settings, destinations: destinations.copy((set) => ({ ...set, servers: [...set.servers] })) }
  },

  select<S extends Candidate>(servers: readonly S[], memory: LocalityMemory<ServerSet>, flow: Flow) {
    const { destinations, settings } = memory
    const { destination, nowMs } = flow
    const expirationMs = settings.lblcrExpiration * 1000
    destinations.expire(nowMs, expirationMs)
    const set = destinations.find(destination, nowMs)
    if (set) {
      const server = weightedLeastConnection.select(set.servers, undefined, flow)
      if (set.servers.length > 1 && nowMs > set.changedMs + expirationMs) releaseBusiest(set, nowMs)
      if (server && !shouldBeRelieved(server, servers)) return server as S
    }
    const least = weightedLeastConnection.select(servers, undefined, flow)
    if (least === undefined) return undefined
    if (set) join(set, least, servers, nowMs)
    else destinations.set(destination, { servers: [least], changedMs: nowMs }, nowMs)
    return least
  },
}

function join(set: ServerSet, server: Candidate, servers: readonly Candidate[], nowMs: number): void {
  if (set.servers.includes(server)) return
  set.servers.unshift(server)
  // Servers come and go for years: what has left the list must not stay in the set for ever.
  if (set.servers.length > servers.length) set.servers = set.servers.filter((member) => servers.includes(member))
  set.changedMs = nowMs
}

function releaseBusiest(set: ServerSet, nowMs: number): void {
  let busiest: Candidate | undefined
  let most = 0
  for (const server of set.servers) {
    if (server.weight === 0) continue
    const overhead = connectionOverhead(server)
    if (busiest && !hasMoreLoadPerWeight(overhead, server.weight, most, busiest.weight)) continue
    busiest = server
    most = overhead
  }
  if (busiest === undefined) return
  set.servers.splice(set.servers.indexOf(busiest), 1)
  set.changedMs = nowMs
}
