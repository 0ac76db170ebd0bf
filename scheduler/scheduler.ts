/**
 * What a scheduler is: the choice of a real server for one new connection.
 *
 * A scheduler is one file and one line in the registry. It sees the servers of one service in IPVS's order (the most
 * recently added first) and may keep a memory per service, which it is given back on every call.
 *
 * Source: struct ip_vs_scheduler in Linux include/net/ip_vs.h.
 */

/** A real server as a scheduler sees it. */
export interface Candidate {
  /** Effective weight, an integer >= 0. 0 quiesces: no new connections. */
  readonly weight: number
  /** TCP connections in ESTABLISHED, SYN_SENT, SYN_RECV or SYNACK. */
  readonly activeConnections: number
  /** Every other connection, UDP included. */
  readonly inactiveConnections: number
  /** Set by the thresholds (upper reached, lower not yet passed). */
  readonly overloaded: boolean
}

/** The packet that asks for a server. IPv4 addresses are unsigned 32-bit numbers in host order. */
export interface Flow {
  sourceAddress: number
  sourcePort: number
  destinationAddress: number
  destinationPort: number
}

export interface Scheduler<Memory = unknown> {
  /** The name ipvsadm knows, such as "wlc". */
  readonly name: string
  /** Makes the memory of one service. Called once, with the servers it starts with. */
  begin?(servers: readonly Candidate[]): Memory
  /** A server was added, or its weight edited. `servers` is the list as it is now. */
  edited?(memory: Memory, servers: readonly Candidate[]): void
  /** `server` was removed from position `index`. `servers` is the list as it is now, without it. */
  removed?(memory: Memory, servers: readonly Candidate[], server: Candidate, index: number): void
  /**
   * Chooses among `servers` (newest first).
   * @returns one of `servers`, or undefined when none may take a new connection.
   */
  select<S extends Candidate>(servers: readonly S[], memory: Memory, flow: Flow): S | undefined
}

/** Whether a server may be given a new connection. */
export function isAvailable(server: Candidate): boolean {
  return server.weight > 0 && !server.overloaded
}
