/**
 * The life of connections: made for a server, counted there, given up when the table is full, ended in time.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_conn.c ip_vs_bind_dest(), ip_vs_unbind_dest(), ip_vs_conn_expire().
 */
import { PORT_FTP } from '../../protocol/packet/ftp.ts'
import { PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { NO_ADDRESS } from '../table/address-book.ts'
import { ConnectionKey } from '../table/connection-key.ts'
import {
  type ConnectionIndex,
  FLAG_CONTROLLED,
  FLAG_FTP,
  FLAG_FTP_DATA,
  FLAG_HALF_OPEN,
  FLAG_INACTIVE,
  FLAG_ONE_PACKET,
  FLAG_ONE_WAY,
  FLAG_REPLICATED,
  FLAG_UNANSWERED,
  KEY,
  KEY_WORDS,
  NO_CONNECTION,
  TICK_MS,
} from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { isOneWay, type RealServer } from '../table/real-server.ts'
import { methodFlags } from '../table/record-codec.ts'
import { COUNTER, COUNTERS, type Slot } from '../table/server-directory.ts'
import type { ServiceTable } from '../table/service-table.ts'
import type { Persistence, Service } from '../table/virtual-service.ts'
import { Calls } from './calls.ts'
import { DataConnections } from './ftp/data-connections.ts'
import * as protocolTable from './protocols/protocol.ts'
import { halfOpenQueueOf, isActiveState, protocols } from './protocols/registry.ts'
import { Room } from './room.ts'
import {
  isTemplate,
  isTemplateOfCall,
  isTemplateOfMark,
  protocolOfTemplate,
  REARM_S,
  TEMPLATE_ANY,
  TEMPLATE_ANY6,
  TEMPLATE_CALL,
  TEMPLATE_CALL_ANY,
  TEMPLATE_CALL_ANY6,
  templateProtocol,
} from './templates.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { NOT_HALF_OPEN, STATES } = protocolTable

/** How long the reply to a single datagram is awaited. */
export const REPLY_TIMEOUT_S = 10
/** Connections that one call of expire() looks at: about a millisecond of work. */
const EXPIRY_BUDGET = 4096

export class Connections {
  readonly table: ConnectionTable
  readonly services: ServiceTable
  /** Of the packet that is being looked at, if its service tells calls apart. */
  readonly calls = new Calls()
  /** Gets each template, and each control connection of FTP, whose time is over and which is kept for its connections. */
  onKept: (index: ConnectionIndex) => void = () => {}
  /** Entries given up for new ones. */
  evicted = 0
  readonly #room: Room
  readonly #dataConnections: DataConnections
  /** By protocol * STATES + state. */
  readonly #timeoutsS = new Int32Array(256 * STATES)
  readonly #timeoutTicks = new Int32Array(256 * STATES)
  readonly #key = new ConnectionKey()
  readonly #templateKey = new ConnectionKey()
  readonly #newTemplateKey = new ConnectionKey()
  readonly #expire: (index: ConnectionIndex) => void

  constructor(table: ConnectionTable, services: ServiceTable) {
    this.table = table
    this.services = services
    this.#room = new Room(this)
    this.#dataConnections = new DataConnections(table, services.directory.addresses)
    for (const { number, states } of protocols) {
      for (const [state, { timeoutS }] of states.entries()) this.setTimeout(number, state, timeoutS)
    }
    this.#expire = (index) => {
      const isNeeded = isTemplate(table.protocol(index))
        ? this.#isTemplateNeeded(index)
        : this.#dataConnections.keeps(index)
      if (!isNeeded) {
        this.discard(index)
        return
      }
      this.keep(index, REARM_S)
      this.onKept(index)
    }
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
    this.#timeoutTicks[protocol * STATES + state] = toTicks(seconds)
  }

  /** How long an entry lasts from its last packet on, as things are now. */
  lifetimeTicks(index: ConnectionIndex): number {
    const { table } = this
    const protocol = table.protocol(index)
    if (isTemplate(protocol)) {
      return toTicks(this.services.serverBySlot[table.server(index)]?.service?.persistence?.timeoutS ?? 0)
    }
    if ((table.flags(index) & FLAG_ONE_PACKET) !== 0) return toTicks(REPLY_TIMEOUT_S)
    return this.timeoutTicks(protocol, table.state(index))
  }

  /**
   * Adds a connection in state 0, or a persistence template, and counts it on its server. When the table is full one that nothing
   * has proved makes room. The caller sets state and expiry and files it.
   * @param more FLAG_INACTIVE, and whatever else is known of it
   * @returns NO_CONNECTION when there is no room
   */
  insert(key: ConnectionKey, server: RealServer, serverPort: number, more: number): ConnectionIndex {
    const { protocol } = key
    const isFtp = protocol === PROTOCOL_TCP && (key.ports & 0xffff) === PORT_FTP
    const flags = isFtp ? more | FLAG_FTP : more
    // Counted first: a removed server would lose its slot if the connection that makes room were its last.
    this.#count(server.slot, protocol, flags, 1)
    let index = this.table.insert(key, server.slot, serverPort, flags)
    const unproved = index === NO_CONNECTION ? this.#room.find() : NO_CONNECTION
    if (unproved !== NO_CONNECTION) {
      this.discard(unproved)
      this.evicted++
      index = this.table.insert(key, server.slot, serverPort, flags)
    }
    if (index === NO_CONNECTION) {
      this.#count(server.slot, protocol, flags, -1)
      this.services.release(server)
    } else if ((flags & FLAG_CONTROLLED) !== 0) {
      this.table.setEdition(index, this.#editionOf(index))
      this.#countControlled(index, 1)
    } else if (isTemplateOfCall(protocol)) {
      this.services.directory.calls.retain(key.client, 0)
    }
    if (index !== NO_CONNECTION && (flags & FLAG_FTP_DATA) !== 0) this.#dataConnections.count(index, 1)
    return index
  }

  /** Sets the state and moves the connection between its server's active and inactive ones. */
  setState(index: ConnectionIndex, state: number): void {
    const { table } = this
    table.setState(index, state)
    if (isTemplate(table.protocol(index))) return
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

  /** The number of its virtual address; NO_ADDRESS of a firewall mark's template, which has the mark there. */
  virtualOf(index: ConnectionIndex): number {
    const { keys } = this.table.memory
    return isTemplateOfMark(this.table.protocol(index)) ? NO_ADDRESS : keys[index * KEY_WORDS + KEY.virtualAddress]
  }

  /** Gives an entry that is filed so much time from now on. */
  keep(index: ConnectionIndex, seconds: number): void {
    this.table.setExpires(index, this.table.memory.tick + toTicks(seconds))
    this.table.refile(index)
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

  /** Takes a connection out of the table and out of its server's and its template's counts. */
  discard(index: ConnectionIndex): void {
    const { table, services } = this
    const slot = table.server(index)
    const flags = table.flags(index)
    const protocol = table.protocol(index)
    if ((flags & FLAG_CONTROLLED) !== 0 && table.isOfEdition(index, this.#editionOf(index)))
      this.#countControlled(index, -1)
    if (isTemplateOfCall(protocol)) {
      services.directory.calls.release(table.memory.keys, index * KEY_WORDS + KEY.clientAddress)
    }
    if ((flags & FLAG_FTP_DATA) !== 0) this.#dataConnections.count(index, -1)
    table.remove(index)
    this.#count(slot, protocol, flags, -1)
    const server = services.serverBySlot[slot]
    if (server?.removed) services.release(server)
  }

  /**
   * The persistence template that a connection belongs to, by the service as it now is; NO_CONNECTION when there is none. Of a call's
   * the connection does not know.
   * Source: ip_vs_core.c ip_vs_sched_persist().
   */
  templateOf(index: ConnectionIndex): ConnectionIndex {
    const { table } = this
    const service = this.services.serverBySlot[table.server(index)]?.service
    if (service?.persistence === undefined || service.persistence.isByCall) return NO_CONNECTION
    table.readKey(index, this.#key)
    return this.findTemplate(service, service.persistence, this.#key)
  }

  /** Whether connections live on that a template has made, if its service still counts them there: by its mask as it is now. */
  #isTemplateNeeded(template: ConnectionIndex): boolean {
    const { table } = this
    if (this.controlled(template) === 0) return false
    const service = this.services.serverBySlot[table.server(template)]?.service
    if (service?.persistence === undefined || service.persistence.isByCall) return false
    table.readKey(template, this.#key)
    this.#key.protocol = protocolOfTemplate(this.#key.protocol)
    return this.findTemplate(service, service.persistence, this.#key) === template
  }

  /**
   * Lets a client, or its call, have a template that leads to `server`, in the place of `former` if there is one: its connections count for
   * the new one. Nothing has proved it yet.
   * @returns NO_CONNECTION when the table is full
   */
  makeTemplate(
    service: Service,
    persistence: Persistence,
    client: ConnectionKey,
    server: RealServer,
    former: ConnectionIndex,
  ): ConnectionIndex {
    const { table } = this
    const counted = former === NO_CONNECTION ? 0 : this.controlled(former)
    if (former !== NO_CONNECTION) this.discard(former)
    const key = this.#newTemplateKey
    this.writeTemplateKey(service, persistence, client, key)
    const flags = methodFlags(server.method, isOneWay(server.method)) | FLAG_ONE_WAY | FLAG_UNANSWERED
    const made = this.insert(key, server, server.port, flags)
    if (made === NO_CONNECTION) return made
    this.setControlled(made, counted)
    table.setExpires(made, table.memory.tick + toTicks(persistence.timeoutS))
    table.file(made)
    return made
  }

  /**
   * To be called before a peer's connection is made that a template counts: records come in any order, and one that came after its
   * connections would not know of them. What is made here nobody is told of, and any record of the template counts over it.
   */
  provideTemplate(client: ConnectionKey, server: RealServer): void {
    const { service, removed } = server
    if (removed || service?.persistence === undefined || service.persistence.isByCall) return
    if (this.findTemplate(service, service.persistence, client) !== NO_CONNECTION) return
    this.makeTemplate(service, service.persistence, client, server, NO_CONNECTION)
  }

  /** The template of a service for a client, or for its call; NO_CONNECTION when there is none. */
  findTemplate(service: Service, persistence: Persistence, key: ConnectionKey): ConnectionIndex {
    this.writeTemplateKey(service, persistence, key, this.#templateKey)
    return this.table.find(this.#templateKey)
  }

  /** Writes what the template of a service is found by, for whoever `key` is of, into `template`. */
  writeTemplateKey(
    service: Service,
    { mask, isByCall }: Persistence,
    { client, protocol, virtual }: ConnectionKey,
    template: ConnectionKey,
  ): void {
    const { isMark, isIPv6 } = service
    if (isByCall) {
      template.client.set(this.calls.hash)
      template.protocol = !isMark ? TEMPLATE_CALL : isIPv6 ? TEMPLATE_CALL_ANY6 : TEMPLATE_CALL_ANY
    } else {
      for (let word = 0; word < client.length; word++) template.client[word] = client[word] & mask[word]
      template.protocol = !isMark ? templateProtocol(protocol) : isIPv6 ? TEMPLATE_ANY6 : TEMPLATE_ANY
    }
    // All four words count of a call.
    template.isIPv6 = isIPv6 || isByCall
    template.virtual = isMark ? service.address : virtual
    // For one port, unless its service has several: of FTP, of every port, of a firewall mark.
    template.ports = service.port === PORT_FTP ? 0 : service.port
  }

  /** Writes down which call the packet is of, for the template that it has. */
  describeCall(): void {
    this.calls.describe(this.services.directory.calls)
  }

  #countControlled(index: ConnectionIndex, change: number): void {
    const template = this.templateOf(index)
    // The service may have been given another mask, and with it other templates, since the connection was made.
    if (template === NO_CONNECTION) return
    this.setControlled(template, Math.max(0, this.controlled(template) + change))
  }

  /**
   * How many connections live on that a template has made since its service's persistence was last edited: the end of one from before is
   * subtracted nowhere.
   */
  controlled(template: ConnectionIndex): number {
    return this.table.controlled(template, this.#editionOf(template))
  }

  setControlled(template: ConnectionIndex, count: number): void {
    this.table.setControlled(template, this.#editionOf(template), count)
  }

  /** Of a connection or a template: which edition of its service's persistence is in force. */
  #editionOf(index: ConnectionIndex): number {
    return this.services.serverBySlot[this.table.server(index)]?.service?.persistenceEdition ?? 0
  }

  #count(slot: Slot, protocol: number, flags: number, change: number): void {
    const server = this.services.serverBySlot[slot]
    if ((flags & FLAG_ONE_PACKET) !== 0) {
      if (server) server.datagrams += change
      return
    }
    const inactive = flags & FLAG_INACTIVE ? COUNTER.inactive : COUNTER.active
    const counter = isTemplate(protocol) ? COUNTER.persistent : inactive
    this.services.directory.counters[slot * COUNTERS + counter] += change
    if (change > 0) server?.hasMore()
    else server?.hasFewer()
  }

  /** Ends what has run out by now, a bounded number at a time. */
  expire(): void {
    this.table.timers.advance(this.table.memory.tick, EXPIRY_BUDGET, this.#expire)
  }
}

export function toTicks(seconds: number): number {
  return Math.ceil((seconds * 1000) / TICK_MS)
}
