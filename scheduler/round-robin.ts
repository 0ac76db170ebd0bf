/**
 * Round robin: the servers in turn, whatever their weight, as long as it is not 0.
 *
 * The memory is a cursor at the server that was picked last. It survives additions and removals: a server that is added
 * comes before every other one, and when the server under the cursor goes, the cursor steps back to the one before it.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_rr.c.
 */
import { isAvailable, type Scheduler } from './scheduler.ts'

export interface RoundRobinMemory {
  /** Position of the server picked last; -1 before the first pick. */
  cursor: number
  /** Length of the list that `cursor` refers to: tells an addition from an edit. */
  length: number
}

export const roundRobin: Scheduler<RoundRobinMemory> = {
  name: 'rr',

  begin(servers) {
    return { cursor: -1, length: servers.length }
  },

  edited(memory, servers) {
    const added = servers.length - memory.length
    if (memory.cursor >= 0) memory.cursor += added
    memory.length = servers.length
  },

  removed(memory, servers, _server, index) {
    if (index <= memory.cursor) memory.cursor--
    memory.length = servers.length
  },

  select(servers, memory) {
    for (let step = 1; step <= servers.length; step++) {
      const index = (memory.cursor + step) % servers.length
      if (!isAvailable(servers[index])) continue
      memory.cursor = index
      return servers[index]
    }
    return undefined
  },
}
