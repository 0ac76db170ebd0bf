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
  /** Effective weight, an integer >= 0. 0 quiesces: no new connections. A server that is down or was removed has 0. */
  readonly weight: number
  /** Its health checks fail. */
  readonly down: boolean
  /** The weight that it has, or would have if it were not down. */
  readonly weightWhenUp: number
  /** TCP connections in ESTABLISHED, SYN_SENT, SYN_RECV or SYNACK. */
  readonly activeConnections: number
  /** Every other connection, UDP included. */
  readonly inactiveConnections: number
  /** Set by the thresholds (upper reached, lower not yet passed). */
  readonly overloaded: boolean
  /** The last weight when up that was not 0; 0 of a server that never had another. */
  readonly lastWeight: number
  /** As in Flow. */
  readonly addressWords: Int32Array
  readonly port: number
}

/**
 * The packet that asks for a server, and when. An address is four words in host order: all of an IPv6 address, or the IPv4
 * address and 0, 0, 0. Folding the words by XOR is therefore right for both.
 */
export interface Flow {
  /** A clock that only goes forward, milliseconds. */
  nowMs: number
  readonly source: Int32Array
  readonly destination: Int32Array
  /** 0 of protocols without ports. */
  sourcePort: number
  destinationPort: number
}

/** What the pool's settings say to schedulers, under their names there; the fields change in place. Seconds. */
export interface SchedulerSettings {
  readonly lblcExpiration: number
  readonly lblcrExpiration: number
}

/** What a scheduler begins with, besides the servers. */
export interface SchedulerContext {
  /** The service's flags, by ipvsadm's names: sh-fallback, mh-port, flag-1 and so on. */
  readonly flags: readonly string[]
  readonly settings: SchedulerSettings
  /** A number from 0 to below 1, as Math.random() gives it. */
  readonly random: () => number
}

export interface Scheduler<Memory = unknown> {
  /** The name ipvsadm knows, such as "wlc". */
  readonly name: string
  /**
   * What weights are to it: slots of a table, so that a changed one sends clients to other servers, ranks, or numbers of connections.
   * Absent: only their proportions count. Whoever derives weights from load needs to know.
   */
  readonly weightsAre?: 'slots' | 'ranks' | 'connections'
  /** Whether it chooses by the packet and the list of servers alone: every director with the same list makes the same choice. */
  readonly isHash?: true
  /** Makes the memory of one service. Called once, with the servers it starts with. */
  begin?(servers: readonly Candidate[], context: SchedulerContext): Memory
  /** Servers were edited, be it to the weights that they had. `servers` is the list as it is now. */
  edited?(memory: Memory, servers: readonly Candidate[]): void
  /** Health or load has changed weights, and no operator; absent: that is an edit as any other. */
  reweighted?(memory: Memory, servers: readonly Candidate[]): void
  /**
   * A server was added at the head of the list; absent: that is an edit as any other. Many may be added at once, so that it must not look
   * at all of them.
   */
  added?(memory: Memory, servers: readonly Candidate[]): void
  /** `server` was removed from position `index`. `servers` is the list as it is now, without it. */
  removed?(memory: Memory, servers: readonly Candidate[], server: Candidate, index: number): void
  /**
   * A memory of its own for a choice that is only thought through. Absent: the memory is a flat object of numbers, functions and
   * typed arrays.
   */
  copy?(memory: Memory): Memory
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

/** What a scheduler may change as it likes. A memory is a flat object; one with more depth brings its own way to be copied. */
export function memoryCopy(scheduler: Scheduler, memory: unknown): unknown {
  if (scheduler.copy) return scheduler.copy(memory)
  if (typeof memory !== 'object' || memory === null) return memory
  const fields = Object.entries(memory).map(([name, value]) => [
    name,
    ArrayBuffer.isView(value) ? structuredClone(value) : value,
  ])
  return Object.fromEntries(fields)
}
