/**
 * When the locality-based schedulers stop sending a destination to the server that it belongs to.
 *
 * Source: is_overloaded() in Linux net/netfilter/ipvs/ip_vs_lblc.c and ip_vs_lblcr.c.
 */
import type { Candidate } from './scheduler.ts'

/** Whether a server has more active connections than its weight, while another one has less than half of its own. */
export function shouldBeRelieved(server: Candidate, servers: readonly Candidate[]): boolean {
  if (server.activeConnections <= server.weight) return false
  for (const other of servers) if (other.activeConnections * 2 < other.weight) return true
  return false
}
