/**
 * The choice of a real server for a new connection: the service that it is for, that service's persistence, its scheduler.
 *
 * With persistence a template remembers where a client was sent (templates.ts); the scheduler is asked for a client without
 * one. A service of single datagrams asks it for each.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_schedule(), ip_vs_sched_persist().
 */
import { PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import type { Flow } from '../../scheduler/scheduler.ts'
import type { EngineSettings } from '../settings.ts'
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
import { methodFlags } from '../table/record-codec.ts'
import { COUNTER, COUNTERS, PROTOCOL_MARK } from '../table/server-directory.ts'
import { isOneWay, type Persistence, type RealServer, type Service } from '../table/service-table.ts'
import { type Connections, templatePort, toTicks } from './connections.ts'
import type { Replication } from './replication.ts'
import { TEMPLATE_ANY, TEMPLATE_STATE, templateProtocol } from './templates.ts'

/** What schedule() answers when there is no connection. */
export const NO_SERVICE = -1
export const NO_SERVER = -2
export const TABLE_FULL = -3

/** How long the reply to a single datagram is awaited. */
const REPLY_TIMEOUT_S = 10

const ONE_SHOT = FLAG_ONE_PACKET | FLAG_ONE_WAY

export class Scheduling {
  readonly #connections: Connections
  readonly #table: ConnectionTable
  readonly #replication: Replication
  readonly #settings: EngineSettings
  readonly #flow: Flow = {
    nowMs: 0,
    source: new Int32Array(4),
    destination: new Int32Array(4),
    sourcePort: 0,
    destinationPort: 0,
  }

  constructor(connections: Connections, replication: Replication, settings: EngineSettings) {
    this.#connections = connections
    this.#table = connections.table
    this.#replication = replication
    this.#settings = settings
  }

  /** For schedulers that remember until when. */
  setTime(nowMs: number): void {
    this.#flow.nowMs = nowMs
  }

  /**
   * Makes the connection of a packet that belongs to none, in state 0 and filed.
   * @param ports client port << 16 | virtual port
   * @param mark firewall mark; 0: none
   * @returns NO_SERVICE, NO_SERVER or TABLE_FULL when there is none to be made
   */
  schedule(protocol: number, client: number, virtual: number, ports: number, mark: number): ConnectionIndex | number {
    const port = ports & 0xffff
    const service = this.#connections.services.serviceFor(mark, protocol, virtual, port)
    if (service === undefined) return NO_SERVICE
    const flow = this.#flow
    flow.source[3] = client
    flow.destination[3] = virtual
    flow.sourcePort = ports >>> 16
    flow.destinationPort = port
    if (service.persistence !== undefined) {
      return this.#persist(service, service.persistence, protocol, client, virtual, ports)
    }
    // Of a service that is not persistent, every other port is none of its.
    if (service.protocol !== PROTOCOL_MARK && service.port !== port) return NO_SERVICE
    const server = service.scheduler.select(service.servers, service.memory, flow)
    if (server === undefined) return NO_SERVER
    const serverPort = server.port || port
    if (service.onePacket && protocol === PROTOCOL_UDP) {
      return this.#scheduleDatagram(client, virtual, ports, server, serverPort)
    }
    return this.#connect(protocol, client, virtual, ports, server, serverPort, 0)
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
    this.#replication.publish(template)
  }

  /** The server has replied for the first time. UDP has no other sign that a connection is established. */
  answered(index: ConnectionIndex): void {
    this.#table.setFlags(index, this.#table.flags(index) & ~FLAG_UNANSWERED)
    this.assure(index)
  }

  #persist(
    service: Service,
    persistence: Persistence,
    protocol: number,
    client: number,
    virtual: number,
    ports: number,
  ): ConnectionIndex | number {
    let template = this.#connections.findTemplate(service, persistence, protocol, client, virtual)
    if (template !== NO_CONNECTION && !this.#leadsSomewhere(template)) {
      this.#replication.publishEnd(template)
      this.#connections.discard(template)
      template = NO_CONNECTION
    }
    if (template === NO_CONNECTION) {
      const server = service.scheduler.select(service.servers, service.memory, this.#flow)
      if (server === undefined) return NO_SERVER
      template = this.#makeTemplate(service, persistence, protocol, client, virtual, server)
      if (template === NO_CONNECTION) return TABLE_FULL
    } else {
      this.#connections.keepTemplate(template, persistence.timeoutS)
      if (this.#replication.isStale(template, persistence.timeoutS)) this.#replication.publish(template)
    }
    const server = this.#connections.services.serverBySlot[this.#table.server(template)] as RealServer
    const port = ports & 0xffff
    const serverPort = port === service.port && server.port !== 0 ? server.port : port
    const flags = protocol === PROTOCOL_UDP ? FLAG_CONTROLLED | FLAG_UNANSWERED : FLAG_CONTROLLED
    return this.#connect(protocol, client, virtual, ports, server, serverPort, flags)
  }

  /** Whether a template's server is still there for its clients. */
  #leadsSomewhere(template: ConnectionIndex): boolean {
    const server = this.#connections.services.serverBySlot[this.#table.server(template)]
    if (server === undefined || server.removed || server.down) return false
    return server.weight > 0 || this.#settings.expireQuiescentTemplate === 0
  }

  #makeTemplate(
    service: Service,
    { mask, timeoutS }: Persistence,
    protocol: number,
    client: number,
    virtual: number,
    server: RealServer,
  ): ConnectionIndex {
    const isMark = service.protocol === PROTOCOL_MARK
    const template = this.#connections.insert(
      isMark ? TEMPLATE_ANY : templateProtocol(protocol),
      client & mask,
      isMark ? service.address : virtual,
      templatePort(service),
      server,
      server.port,
      methodFlags(server.method, isOneWay(server.method)) | FLAG_ONE_WAY,
    )
    if (template === NO_CONNECTION) return template
    this.#table.setExpires(template, this.#table.memory.tick + toTicks(timeoutS))
    this.#table.file(template)
    this.#replication.publish(template)
    return template
  }

  #connect(
    protocol: number,
    client: number,
    virtual: number,
    ports: number,
    server: RealServer,
    serverPort: number,
    more: number,
  ): ConnectionIndex | number {
    const connections = this.#connections
    const flags = methodFlags(server.method, isOneWay(server.method)) | FLAG_INACTIVE | more
    const index = connections.insert(protocol, client, virtual, ports, server, serverPort, flags)
    if (index === NO_CONNECTION) return TABLE_FULL
    connections.services.directory.counters[server.slot * COUNTERS + COUNTER.connections]++
    // The first packet of TCP and SCTP moves the state, and thereby files the connection for good.
    connections.schedule(index, true)
    if (protocol === PROTOCOL_UDP) this.#replication.publish(index)
    return index
  }

  /**
   * A connection for one datagram and, by NAT, for the replies to it. The client's next one is scheduled again, so it is not to be
   * found by the client's side. (IPVS forgets it with the datagram, and cannot translate the reply.)
   */
  #scheduleDatagram(
    client: number,
    virtual: number,
    ports: number,
    server: RealServer,
    serverPort: number,
  ): ConnectionIndex | number {
    const connections = this.#connections
    const table = this.#table
    connections.services.directory.counters[server.slot * COUNTERS + COUNTER.connections]++
    const flags = methodFlags(server.method, isOneWay(server.method)) | FLAG_ONE_PACKET
    let index = NO_CONNECTION
    if (!isOneWay(server.method)) {
      index = table.findByServer(PROTOCOL_UDP, server.address, serverPort, client, ports >>> 16)
      const key = index * KEY_WORDS
      const { keys } = table.memory
      const isOfService = keys[key + KEY.ports] === ports && keys[key + KEY.virtualAddress] === virtual
      if (!isOfService) index = NO_CONNECTION
    }
    if (index === NO_CONNECTION) {
      index = connections.insert(PROTOCOL_UDP, client, virtual, ports, server, serverPort, flags)
      if (index === NO_CONNECTION) return TABLE_FULL
      table.setExpires(index, table.memory.tick + toTicks(REPLY_TIMEOUT_S))
      table.file(index)
    }
    return index
  }
}
