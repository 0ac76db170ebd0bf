/**
 * Locality-based least connection: a destination stays with one server, until that is overloaded while another one is not.
 * For transparent caches, where a firewall mark's service has many destinations.
 *
 * A destination that nobody has asked for yet, or whose server is gone, quiesced or to be relieved, goes to the server that
 * weighted least connection picks, and stays there. Thresholds count in that pick alone: a destination's own server gets its
 * connections even when its upper threshold is reached, as in the kernel.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_lblc.c.
 */
import { DestinationCache } from './destination-cache.ts'
import { shouldBeRelieved } from './locality.ts'
import type { Candidate, Flow, Scheduler, SchedulerSettings } from './scheduler.ts'
import { weightedLeastConnection } from './weighted-least-connection.ts'

export interface LocalityMemory<Value> {
  readonly settings: SchedulerSettings
  readonly destinations: DestinationCache<Value>
}

export const localityBasedLeastConnection: Scheduler<LocalityMemory<Candidate>> = {
  name: 'lblc',
  weightsAre: 'connections',

  begin(_servers, { settings, random }) {
    return { settings, destinations: new DestinationCache(random()) }
  },

  copy({ settings, destinations }) {
    return { settings, destinations: destinations.copy((server) => server) }
  },

  select<S extends Candidate>(servers: readonly S[], memory: LocalityMemory<Candidate>, flow: Flow) {
    const { destinations, settings } = memory
    const { destination, nowMs } = flow
    destinations.expire(nowMs, settings.lblcExpiration * 1000)
    const known = destinations.find(destination, nowMs)
    if (known && known.weight > 0 && !shouldBeRelieved(known, servers)) return known as S
    const least = weightedLeastConnection.select(servers, undefined, flow)
    if (least) destinations.set(destination, least, nowMs)
    return least
  },
}
