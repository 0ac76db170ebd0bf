/**
 * The life of connections: made for a server, counted there, given up when the table is full, ended in time.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_conn.c ip_vs_bind_dest(), ip_vs_unbind_dest(), ip_vs_conn_expire().
 */
import {
  type ConnectionIndex,
  FLAG_HALF_OPEN,
  FLAG_INACTIVE,
  FLAG_REPLICATED,
  NO_CONNECTION,
  TICK_MS,
} from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { methodFlags } from '../table/record-codec.ts'
import { COUNTER, COUNTERS } from '../table/server-directory.ts'
import { isOneWay, type RealServer, type ServiceTable } from '../table/service-table.ts'
import * as protocolTable from './protocols/protocol.ts'
import { halfOpenQueueOf, isActiveState, protocols } from './protocols/registry.ts'

// Names of this module's own, for speed: see engine.ts.
const { NOT_HALF_OPEN, STATES } = protocolTable

/** Connections that one call of expire() looks at: about a millisecond of work. */
const EXPIRY_BUDGET = 4096

export class Connections {
  readonly table: ConnectionTable
  readonly services: ServiceTable
  /** Half-open connections given up for new ones. */
  evicted = 0
  /** By protocol * STATES + state. */
  readonly #timeoutsS = new Int32Array(256 * STATES)
  readonly #timeoutTicks = new Int32Array(256 * STATES)
  readonly #expire: (index: ConnectionIndex) => void

  constructor(table: ConnectionTable, services: ServiceTable) {
    this.table = table
    this.services = services
    for (const { number, states } of protocols) {
      for (const [state, { timeoutS }] of states.entries()) this.setTimeout(number, state, timeoutS)
    }
    this.#expire = (index) => this.discard(index)
  }

  /** Ticks until a connection in this state expires. */
  timeoutTicks(protocol: number, state: number): number {
    return this.#timeoutTicks[protocol * STATES + state]
  }

  timeoutSeconds(protocol: number, state: number): number {
    return this.#timeoutsS[protocol * STATES + state]
  }

  /** For connections that come to this state, or are met in it, from now on. */
  setTimeout(protocol: number, state: number, seconds: number): void {
    this.#timeoutsS[protocol * STATES + state] = seconds
    this.#timeoutTicks[protocol * STATES + state] = Math.ceil((seconds * 1000) / TICK_MS)
  }

  /**
   * Adds a connection in state 0, counted as inactive. When the table is full the oldest half-open one makes room.
   * The caller sets state and expiry and files it.
   * @returns NO_CONNECTION when there is no room
   */
  insert(
    protocol: number,
    client: number,
    virtual: number,
    ports: number,
    server: RealServer,
    method: number,
  ): ConnectionIndex {
    const flags = methodFlags(method, isOneWay(method)) | FLAG_INACTIVE
    const { counters } = this.services.directory
    const counter = server.slot * COUNTERS + COUNTER.inactive
    // Counted first: a removed server would lose its slot if the connection that makes room were its last.
    counters[counter]++
    let index = this.table.insert(protocol, client, virtual, ports, server.slot, server.port, flags)
    const oldest = this.table.timers.oldestHalfOpen
    if (index === NO_CONNECTION && oldest !== NO_CONNECTION) {
      this.discard(oldest)
      this.evicted++
      index = this.table.insert(protocol, client, virtual, ports, server.slot, server.port, flags)
    }
    if (index === NO_CONNECTION) {
      counters[counter]--
      this.services.release(server)
    }
    return index
  }

  /** Sets the state and moves the connection between its server's active and inactive ones. */
  setState(index: ConnectionIndex, state: number): void {
    const { table } = this
    table.setState(index, state)
    const flags = table.flags(index)
    const isActive = isActiveState(table.protocol(index), state)
    if (isActive !== ((flags & FLAG_INACTIVE) !== 0)) return
    const { counters } = this.services.directory
    const step = isActive ? 1 : -1
    const at = table.server(index) * COUNTERS
    counters[at + COUNTER.active] += step
    counters[at + COUNTER.inactive] -= step
    table.setFlags(index, flags ^ FLAG_INACTIVE)
  }

  /** Files a connection that has just been made or has changed its state, by what its state asks for. */
  schedule(index: ConnectionIndex, isNew: boolean): void {
    const { table } = this
    const protocol = table.protocol(index)
    const state = table.state(index)
    const flags = table.flags(index)
    // A connection that the peers know is past its handshake, whatever its state says now.
    const halfOpen = halfOpenQueueOf(protocol, state) !== NOT_HALF_OPEN && (flags & FLAG_REPLICATED) === 0
    if (!isNew) table.timers.unfile(index)
    table.setExpires(index, table.memory.tick + this.timeoutTicks(protocol, state))
    table.setFlags(index, halfOpen ? flags | FLAG_HALF_OPEN : flags & ~FLAG_HALF_OPEN)
    table.file(index)
  }

  /** Takes a connection out of the table and out of its server's counts. */
  discard(index: ConnectionIndex): void {
    const { table, services } = this
    const slot = table.server(index)
    const counter = table.flags(index) & FLAG_INACTIVE ? COUNTER.inactive : COUNTER.active
    table.remove(index)
    services.directory.counters[slot * COUNTERS + counter]--
    const server = services.serverBySlot[slot]
    if (server?.removed) services.release(server)
  }

  /** Ends what has run out by now, a bounded number at a time. */
  expire(): void {
    this.table.timers.advance(this.table.memory.tick, EXPIRY_BUDGET, this.#expire)
  }
}
