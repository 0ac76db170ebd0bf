/**
 * Destination hashing: connections to one address go to one server, whatever its weight. For transparent caches, where a
 * firewall mark's service has many destinations.
 *
 * A table of 256 slots is filled with the servers in turn, in the list's order; the hash of the destination chooses the slot.
 * If that server takes no new connections, nobody does.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_dh.c.
 */
import { foldAddress, goldenRatioHash } from './hash.ts'
import { isAvailable, type Scheduler } from './scheduler.ts'

/** The table need not be written down: slot i holds the server at i modulo the list's length. */
const TABLE_BITS = 8

export const destinationHashing: Scheduler = {
  name: 'dh',
  isHash: true,
  select(servers, _memory, flow) {
    if (servers.length === 0) return undefined
    const server = servers[goldenRatioHash(foldAddress(flow.destination), TABLE_BITS) % servers.length]
    return isAvailable(server) ? server : undefined
  },
}
