/**
 * Destination hashing: connections to one address go to one server, whatever its weight. For transparent caches, where a
 * firewall mark's service has many destinations.
 *
 * A table of 256 slots is filled with the servers in turn, in the list's order; the hash of the destination chooses the slot.
 * If that server takes no new connections, nobody does, unless it is down: then its slots are others' (slots.ts).
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_dh.c.
 */
import { foldAddress, goldenRatioHash } from './hash.ts'
import { isAvailable, type Scheduler } from './scheduler.ts'
import { becomeStale, dealInTurn, fill, type Slots } from './slots.ts'

const TABLE_BITS = 8

export const destinationHashing: Scheduler<Slots> = {
  name: 'dh',
  isHash: true,

  begin() {
    return { table: new Int32Array(1 << TABLE_BITS), stale: true }
  },

  edited: becomeStale,
  removed: becomeStale,

  select(servers, memory, flow) {
    if (servers.length === 0) return undefined
    if (memory.stale) fill(memory, servers, (table, positions) => dealInTurn(table, positions, () => 1))
    const server = servers[memory.table[goldenRatioHash(foldAddress(flow.destination), TABLE_BITS)]]
    return isAvailable(server) ? server : undefined
  },
}
