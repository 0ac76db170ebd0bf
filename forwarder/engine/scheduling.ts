/**
 * The choice of a real server for a new connection: the service that it is for, that service's persistence, its scheduler.
 *
 * With persistence a template remembers where a client was sent (templates.ts); the scheduler is asked for a client without
 * one. A service of single datagrams asks it for each.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_schedule(), ip_vs_sched_persist().
 */
import { PORT_FTP_DATA } from '../../protocol/packet/ftp.ts'
import { PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import type { Flow } from '../../scheduler/scheduler.ts'
import type { EngineSettings } from '../settings.ts'
import type { ConnectionKey } from '../table/connection-key.ts'
import {
  type ConnectionIndex,
  FLAG_CONTROLLED,
  FLAG_INACTIVE,
  FLAG_ONE_PACKET,
  FLAG_ONE_WAY,
  FLAG_UNANSWERED,
  KEY,
  KEY_WORDS,
  NO_CONNECTION,
} from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { isOneWay, type RealServer } from '../table/real-server.ts'
import { methodFlags } from '../table/record-codec.ts'
import { COUNTER, COUNTERS } from '../table/server-directory.ts'
import type { Persistence, Service } from '../table/virtual-service.ts'
import { type Connections, REPLY_TIMEOUT_S, toTicks } from './connections.ts'
import type { Replication } from './replication.ts'
import { TEMPLATE_STATE } from './templates.ts'

const ONE_SHOT = FLAG_ONE_PACKET | FLAG_ONE_WAY

/** Which server a connection is to have, and why. */
export interface Choice {
  server: RealServer | undefined
  /** What the service's persistence has for the client; NO_CONNECTION: nothing. */
  template: ConnectionIndex
  /** Whether it was the template that led to the server. One that leads nowhere any more is replaced. */
  isByTemplate: boolean
}

export class Scheduling {
  readonly #connections: Connections
  readonly #table: ConnectionTable
  readonly #replication: Replication
  readonly #settings: EngineSettings
  /** Written over by each choose(). */
  readonly choice: Choice = { server: undefined, template: NO_CONNECTION, isByTemplate: false }

  constructor(connections: Connections, replication: Replication, settings: EngineSettings) {
    this.#connections = connections
    this.#table = connections.table
    this.#replication = replication
    this.#settings = settings
  }

  /**
   * The service that takes a packet which belongs to no connection. Whose source port is that of FTP's data, by whatever protocol, is
   * taken for a real server, whose data connections are never scheduled (ip_vs_schedule()).
   * @param mark firewall mark; 0: none
   */
  serviceFor(key: ConnectionKey, mark: number): Service | undefined {
    if (key.ports >>> 16 === PORT_FTP_DATA) return undefined
    const service = this.#connections.services.serviceFor(key, mark)
    if (service === undefined || service.isMark || service.persistence !== undefined) return service
    // Of a service that is not persistent, every other port is none of its.
    return service.port === (key.ports & 0xffff) ? service : undefined
  }

  /**
   * Chooses a server, by what is remembered of the client or by the scheduler, into `choice`; false when there is none. Nothing
   * but the scheduler's memory changes.
   * @param memory the scheduler's; the service's own, or a copy when the choice is only thought through
   */
  choose(service: Service, memory: unknown, key: ConnectionKey, flow: Flow): boolean {
    const { choice } = this
    const { persistence } = service
    choice.template =
      persistence === undefined ? NO_CONNECTION : this.#connections.findTemplate(service, persistence, key)
    choice.isByTemplate = choice.template !== NO_CONNECTION && this.#leadsSomewhere(choice.template)
    choice.server = choice.isByTemplate
      ? this.#connections.services.serverBySlot[this.#table.server(choice.template)]
      : service.scheduler.select(service.servers, memory, flow)
    return choice.server !== undefined
  }

  /** Takes back what choose() said last. */
  forget(): void {
    this.choice.server = undefined
    this.choice.template = NO_CONNECTION
    this.choice.isByTemplate = false
  }

  /** The port at which the chosen server gets the packet. */
  serverPort(service: Service, server: RealServer, key: ConnectionKey): number {
    const port = key.ports & 0xffff
    // A persistent service has connections of several ports, of which its server's is for its own.
    if (service.persistence !== undefined && port !== service.port) return port
    return server.port || port
  }

  /**
   * Makes the connection that was chosen for, in state 0 and filed, and the template that it asks for.
   * @param versionBefore of the connection in whose place it is; 0: none
   * @returns NO_CONNECTION when the table is full
   */
  connect(service: Service, key: ConnectionKey, versionBefore: number): ConnectionIndex {
    const server = this.choice.server as RealServer
    const { protocol } = key
    const serverPort = this.serverPort(service, server, key)
    const { persistence } = service
    if (persistence !== undefined && !this.#keepTemplate(service, persistence, key, server)) return NO_CONNECTION
    if (service.onePacket && protocol === PROTOCOL_UDP) return this.#connectDatagram(key, server, serverPort)
    const isControlled = persistence !== undefined && !persistence.isByCall
    const more = (isControlled ? FLAG_CONTROLLED : 0) | (protocol === PROTOCOL_UDP ? FLAG_UNANSWERED : 0)
    return this.#connect(key, server, serverPort, more, versionBefore)
  }

  /** The packet that made a connection has been sent. To a single datagram by tunnel or route no reply will come here. */
  sent(index: ConnectionIndex): void {
    if ((this.#table.flags(index) & ONE_SHOT) === ONE_SHOT) this.#connections.discard(index)
  }

  /** A connection that its template led to its server has been established: the template has proved right. */
  assure(index: ConnectionIndex): void {
    const template = this.#connections.templateOf(index)
    if (template === NO_CONNECTION || this.#table.state(template) === TEMPLATE_STATE.ASSURED) return
    this.#table.setState(template, TEMPLATE_STATE.ASSURED)
    this.#markProved(template)
    this.#replication.publish(template)
  }

  /** The server has replied for the first time. UDP has no other sign that a connection is established. */
  answered(index: ConnectionIndex): void {
    this.#markProved(index)
    this.assure(index)
  }

  #markProved(index: ConnectionIndex): void {
    this.#table.setFlags(index, this.#table.flags(index) & ~FLAG_UNANSWERED)
  }

  /** Whether a template's server is still there for its clients. */
  #leadsSomewhere(template: ConnectionIndex): boolean {
    const server = this.#connections.services.serverBySlot[this.#table.server(template)]
    if (server === undefined || server.removed || server.down) return false
    return server.weight > 0 || this.#settings.expireQuiescentTemplate === 0
  }

  /**
   * Lets the client have a template that leads to `server`; false when the table is full. The peers are told of one that has proved right,
   * or has taken the place of one that they know. And of a call's: which call a reply is of nobody looks, so nothing will prove it.
   */
  #keepTemplate(service: Service, persistence: Persistence, key: ConnectionKey, server: RealServer): boolean {
    const { template, isByTemplate } = this.choice
    const { timeoutS } = persistence
    if (isByTemplate) {
      this.#connections.keep(template, timeoutS)
      // A peer may have told of the call, but not yet of which.
      if (persistence.isByCall) this.#connections.describeCall()
      const isProved = isProvedByUse(service, persistence, key, server)
      if (isProved) this.#markProved(template)
      const isTold = this.#replication.versionOf(template) !== 0
      if (isTold ? this.#replication.isStale(template, timeoutS) : isProved) this.#replication.publish(template)
      return true
    }
    const versionBefore = template === NO_CONNECTION ? 0 : this.#replication.versionOf(template)
    const made = this.#connections.makeTemplate(service, persistence, key, server, template)
    if (made === NO_CONNECTION) return false
    this.#replication.continueFrom(made, versionBefore)
    if (persistence.isByCall) this.#connections.describeCall()
    // That the former one has ended is said with it: another leads elsewhere, and is newer.
    if (versionBefore !== 0 || persistence.isByCall) this.#replication.publish(made)
    return true
  }

  #connect(
    key: ConnectionKey,
    server: RealServer,
    serverPort: number,
    more: number,
    versionBefore: number,
  ): ConnectionIndex {
    const connections = this.#connections
    const flags = methodFlags(server.method, isOneWay(server.method)) | FLAG_INACTIVE | more
    const index = connections.insert(key, server, serverPort, flags)
    if (index === NO_CONNECTION) return index
    connections.services.directory.counters[server.slot * COUNTERS + COUNTER.connections]++
    // The first packet of TCP and SCTP moves the state, and thereby files the connection for good.
    connections.schedule(index, true)
    this.#replication.continueFrom(index, versionBefore)
    if (key.protocol === PROTOCOL_UDP) this.#replication.publish(index)
    return index
  }

  /**
   * A connection for one datagram and, by NAT, for the replies to it. The client's next one is scheduled again, so it is not to be
   * found by the client's side. (IPVS forgets it with the datagram, and cannot translate the reply.)
   */
  #connectDatagram(key: ConnectionKey, server: RealServer, serverPort: number): ConnectionIndex {
    const connections = this.#connections
    const table = this.#table
    connections.services.directory.counters[server.slot * COUNTERS + COUNTER.connections]++
    let index = NO_CONNECTION
    if (!isOneWay(server.method)) {
      index = table.findReply(key, server.address, serverPort)
      const at = index * KEY_WORDS
      const { keys } = table.memory
      const isOfService = keys[at + KEY.ports] === key.ports && keys[at + KEY.virtualAddress] === key.virtual
      if (!isOfService) index = NO_CONNECTION
    }
    const isNew = index === NO_CONNECTION
    if (isNew) {
      const flags = methodFlags(server.method, isOneWay(server.method)) | FLAG_ONE_PACKET
      index = connections.insert(key, server, serverPort, flags)
      if (index === NO_CONNECTION) return index
    }
    table.setExpires(index, table.memory.tick + toTicks(REPLY_TIMEOUT_S))
    if (isNew) table.file(index)
    return index
  }
}

/** Whether no reply will prove a template: that its client comes again has to do. */
function isProvedByUse(service: Service, persistence: Persistence, key: ConnectionKey, server: RealServer): boolean {
  if (key.protocol !== PROTOCOL_UDP) return false
  return persistence.isByCall || service.onePacket || isOneWay(server.method)
}
