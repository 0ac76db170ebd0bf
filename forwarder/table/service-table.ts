/**
 * The virtual services and their real servers as the forwarding loop knows them. A new description is applied as a
 * difference: what did not change keeps its scheduler's memory, its counters and its connections.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c (list order, trash and revival of destinations).
 */

import { parseIPv4 } from '../../protocol/packet/bytes.ts'
import { PORT_FTP } from '../../protocol/packet/ftp.ts'
import { PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { isIPv6Text } from '../../protocol/packet/ipv6-address.ts'
import { prefixMask } from '../../protocol/packet/prefix.ts'
import { schedulerByName } from '../../scheduler/registry.ts'
import type { Candidate, Scheduler, SchedulerSettings } from '../../scheduler/scheduler.ts'
import type { Neighbour } from '../engine/neighbours.ts'
import { protocolNumber } from '../engine/protocols/registry.ts'
import { IPIP, type Tunnel, tunnelOf } from '../method/tunnel.ts'
import type { ForwardingMethod, PersistenceSpec, RealServerSpec, ServiceAddress, ServiceSpec } from '../service.ts'
import { type AddressBook, isIPv6Number, NO_ADDRESS } from './address-book.ts'
import type { ConnectionKey } from './connection-key.ts'
import {
  COUNTER,
  COUNTERS,
  isMarkProtocol,
  NO_SLOT,
  PROTOCOL_MARK,
  PROTOCOL_MARK6,
  type ServerDirectory,
  type ServerIdentity,
  type ServiceIdentity,
  type Slot,
} from './server-directory.ts'

/** What an FTP data connection may come to: the port of active mode, and those that no server needs the right to listen on. */
const FTP_DATA_PORT = 20
const FIRST_FREE_PORT = 1024

/** Methods as numbers, for connections and the wire. */
export const METHOD_NAT = 0
export const METHOD_TUN = 1
export const METHOD_DR = 2
export const METHOD_LOCAL = 3
const METHODS: readonly ForwardingMethod[] = ['nat', 'tun', 'dr', 'local']

/** Whether replies to packets sent by this method do not pass here. */
export function isOneWay(method: number): boolean {
  return method === METHOD_TUN || method === METHOD_DR
}

/** A real server of one service. Its counters live in the directory, where other threads see them. */
export class RealServer implements Candidate {
  readonly slot: Slot
  /** Address number (address-book.ts). */
  readonly address: number
  readonly addressWords: Int32Array
  readonly port: number
  /** Effective weight. */
  weight = 0
  lastWeight = 0
  method = METHOD_DR
  /** How its packets are wrapped up, by METHOD_TUN alone. */
  tunnel: Tunnel = IPIP
  /** A SYN of its connections announces no more than the way can carry. */
  clampsSegmentSize = false
  overloaded = false
  down = false
  upperThreshold = 0
  lowerThreshold = 0
  /** Whose server it is; undefined while it is a removed one's. */
  service: Service | undefined = undefined
  /** Single datagrams whose replies are awaited: they count nowhere else, and hold the slot. */
  datagrams = 0
  /** As its description says. */
  edits = 0
  /** Not, or no longer, in the configuration: its connections end here, and it gets no new ones. */
  removed = true
  /** Was in the configuration and was taken out of it. */
  isRetired = false
  /** Where its packets go next; undefined until that is looked for, and when routes have changed. Set by leadTo() alone. */
  nextHop: Neighbour | undefined = undefined
  readonly #counters: Float64Array

  constructor(slot: Slot, address: number, addressWords: Int32Array, port: number, counters: Float64Array) {
    this.slot = slot
    this.address = address
    this.addressWords = addressWords
    this.port = port
    this.#counters = counters
  }

  get activeConnections(): number {
    return this.#counters[this.slot * COUNTERS + COUNTER.active]
  }

  get inactiveConnections(): number {
    return this.#counters[this.slot * COUNTERS + COUNTER.inactive]
  }

  get persistentConnections(): number {
    return this.#counters[this.slot * COUNTERS + COUNTER.persistent]
  }

  /** Sets where its packets go next: a neighbour is kept resolved for as long as it is a server's next hop. */
  leadTo(hop: Neighbour | undefined): void {
    if (hop === this.nextHop) return
    if (this.nextHop) this.nextHop.servers--
    if (hop) hop.servers++
    this.nextHop = hop
  }

  /** To be called after its connections have become more. Source: ip_vs_conn.c ip_vs_bind_dest(). */
  hasMore(): void {
    if (this.upperThreshold !== 0 && this.activeConnections + this.inactiveConnections >= this.upperThreshold) {
      this.overloaded = true
    }
  }

  /** After they have become fewer. Without a lower threshold it is three quarters of the upper one. */
  hasFewer(): void {
    if (!this.overloaded) return
    const count = this.activeConnections + this.inactiveConnections
    const isBelow = this.lowerThreshold !== 0 ? count < this.lowerThreshold : count * 4 < this.upperThreshold * 3
    if (isBelow || this.upperThreshold === 0) this.overloaded = false
  }
}

export interface Persistence {
  readonly timeoutS: number
  /** Bits of a client's address, in the words of ConnectionKey, that tell clients apart. */
  readonly mask: Int32Array
  /** They are told apart by their SIP calls besides (--pe sip). */
  readonly isByCall: boolean
}

export interface Service {
  readonly slot: Slot
  /** PROTOCOL_MARK or PROTOCOL_MARK6 with the mark as the address. */
  readonly protocol: number
  readonly isMark: boolean
  readonly isIPv6: boolean
  /** Address number (address-book.ts). */
  readonly address: number
  /** 0: every port. */
  readonly port: number
  scheduler: Scheduler
  schedulerFlags: readonly string[]
  persistence: Persistence | undefined
  /** Each datagram is scheduled for itself. */
  onePacket: boolean
  /** What the scheduler remembers. */
  memory: unknown
  /** IPVS's order: the most recently added first. */
  readonly servers: RealServer[]
}

export class ServiceTable {
  readonly directory: ServerDirectory
  /** By slot; the packet path finds a connection's server here. */
  readonly serverBySlot: (RealServer | undefined)[] = []
  /** In force now; schedulers keep it, and see its fields change. */
  readonly schedulerSettings: { -readonly [name in keyof SchedulerSettings]: number } = {
    lblcExpiration: 86_400,
    lblcrExpiration: 86_400,
  }
  readonly #services = new Map<number, Service>()
  /** What the lookup need not try when there is none. */
  #ftpServices = 0
  #everyPortServices = 0
  /** How many there are at each address, removed ones with connections included. */
  readonly #serversAt = new Map<number, number>()
  readonly #random: () => number

  /** @param random numbers from 0 to below 1, for schedulers that draw lots */
  constructor(directory: ServerDirectory, random: () => number = Math.random) {
    this.directory = directory
    this.#random = random
  }

  /** @param port destination port; protocol, address and port must match */
  find(protocol: number, address: number, port: number): Service | undefined {
    return this.#services.get(lookupKey(protocol, address, port))
  }

  /**
   * The service that a new connection is for: by its firewall mark, by exact address and port, FTP's for what may be a data
   * connection of its, the one for every port. Source: ip_vs_ctl.c ip_vs_service_find().
   */
  serviceFor({ protocol, isIPv6, virtual, ports }: ConnectionKey, mark: number): Service | undefined {
    if (mark !== 0) {
      const service = this.findMark(mark, isIPv6)
      if (service !== undefined) return service
    }
    const port = ports & 0xffff
    const service = this.find(protocol, virtual, port)
    if (service !== undefined) return service
    if (this.#ftpServices > 0 && protocol === PROTOCOL_TCP && (port === FTP_DATA_PORT || port >= FIRST_FREE_PORT)) {
      const control = this.find(protocol, virtual, PORT_FTP)
      if (control !== undefined) return control
    }
    return this.#everyPortServices > 0 ? this.find(protocol, virtual, 0) : undefined
  }

  /** The service of a firewall mark for packets of one family. */
  findMark(mark: number, isIPv6: boolean): Service | undefined {
    return this.find(isIPv6 ? PROTOCOL_MARK6 : PROTOCOL_MARK, mark, 0)
  }

  values(): Iterable<Service> {
    return this.#services.values()
  }

  /** Whether any service has a real server at this address. */
  hasServerAt(address: number): boolean {
    return this.#serversAt.has(address)
  }

  /** Adds the service, or changes it to what `spec` says. The names in it have been checked before. */
  set(spec: ServiceSpec): void {
    const { book } = this.directory
    if (spec.protocol !== 'fwm' && book.internText(spec.address) === NO_ADDRESS) return
    const { protocol, virtualAddress: address } = serviceIdentity(spec, book)
    const key = lookupKey(protocol, address, spec.port)
    const scheduler = schedulerByName(spec.scheduler)
    if (scheduler === undefined) throw new RangeError(`no scheduler ${spec.scheduler}`)
    let service = this.#services.get(key)
    if (service === undefined) {
      const slot = this.directory.addService({ protocol, virtualAddress: address, virtualPort: spec.port })
      const schedulerFlags = spec.schedulerFlags ?? []
      service = {
        slot,
        protocol,
        isMark: isMarkProtocol(protocol),
        isIPv6: isIPv6Text(spec.address),
        address,
        port: spec.port,
        scheduler,
        schedulerFlags,
        persistence: undefined,
        onePacket: false,
        memory: undefined,
        servers: [],
      }
      this.#begin(service)
      this.#services.set(key, service)
      this.#count(service, 1)
    } else if (service.scheduler !== scheduler || !haveSameNames(service.schedulerFlags, spec.schedulerFlags ?? [])) {
      service.scheduler = scheduler
      service.schedulerFlags = spec.schedulerFlags ?? []
      this.#begin(service)
    }
    service.persistence = spec.persistence && persistenceOf(spec.persistence, service.isIPv6)
    service.onePacket = spec.onePacket === true
    this.#setServers(service, spec.servers)
    for (const server of service.servers) server.clampsSegmentSize = spec.mss === 'clamp'
  }

  remove(address: ServiceAddress): void {
    const { protocol, virtualAddress, virtualPort } = serviceIdentity(address, this.directory.book)
    const key = lookupKey(protocol, virtualAddress, virtualPort)
    const service = this.#services.get(key)
    if (service === undefined) return
    this.#count(service, -1)
    for (const server of service.servers) this.#retire(server)
    this.#services.delete(key)
    this.directory.free(service.slot)
  }

  /**
   * The server that a peer's record names. One that is not configured here (yet) is made as a removed one, so that the
   * connection is known when it is.
   */
  serverFor(identity: ServerIdentity): RealServer | undefined {
    const slot = this.directory.findServer(identity)
    if (slot !== NO_SLOT) return this.serverBySlot[slot]
    const service = this.find(identity.protocol, identity.virtualAddress, identity.virtualPort)
    return this.#make(identity, service?.slot ?? NO_SLOT)
  }

  /** The real server of the FTP service at a virtual address, to which a data connection belongs. */
  ftpServer(virtualAddress: number, address: number): RealServer | undefined {
    return this.find(PROTOCOL_TCP, virtualAddress, PORT_FTP)?.servers.find((server) => server.address === address)
  }

  /** To be called when a connection of a removed server has ended: frees the server's slot after the last one. */
  release(server: RealServer): void {
    const { activeConnections, inactiveConnections, persistentConnections, datagrams } = server
    if (!server.removed || activeConnections + inactiveConnections + persistentConnections + datagrams > 0) return
    const identity = this.directory.serverAt(server.slot)
    const service = identity && this.find(identity.protocol, identity.virtualAddress, identity.virtualPort)
    if (service) {
      const { counters } = this.directory
      for (let counter = COUNTER.connections; counter <= COUNTER.outBytes; counter++) {
        counters[service.slot * COUNTERS + counter] += counters[server.slot * COUNTERS + counter]
      }
    }
    server.leadTo(undefined)
    this.serverBySlot[server.slot] = undefined
    this.directory.free(server.slot)
    const others = (this.#serversAt.get(server.address) ?? 1) - 1
    if (others > 0) this.#serversAt.set(server.address, others)
    else this.#serversAt.delete(server.address)
  }

  /**
   * The port by which the server at an address is known to its service; FTP's own when it is not known. A data connection's port
   * does not tell.
   */
  serverPortAt(service: ServiceIdentity, address: number): number {
    const known = this.find(service.protocol, service.virtualAddress, service.virtualPort)
    return known?.servers.find((server) => server.address === address)?.port ?? PORT_FTP
  }

  #count(service: Service, change: number): void {
    if (service.isMark) return
    if (service.port === 0) this.#everyPortServices += change
    if (service.port === PORT_FTP) this.#ftpServices += change
  }

  #begin(service: Service): void {
    const { schedulerFlags: flags, scheduler, servers } = service
    service.memory = scheduler.begin?.(servers, { flags, settings: this.schedulerSettings, random: this.#random })
  }

  #setServers(service: Service, specs: readonly RealServerSpec[]): void {
    const { book } = this.directory
    const wanted = new Map(specs.map((spec) => [serverNumber(book.numberOf(spec.address), spec.port), spec]))
    for (let index = service.servers.length - 1; index >= 0; index--) {
      const server = service.servers[index]
      if (wanted.has(serverNumber(server.address, server.port))) continue
      service.servers.splice(index, 1)
      service.scheduler.removed?.(service.memory, service.servers, server, index)
      this.#retire(server)
    }
    for (const spec of specs) this.#setServer(service, spec)
  }

  #setServer(service: Service, spec: RealServerSpec): void {
    const address = this.directory.book.internText(spec.address)
    const method = METHODS.indexOf(spec.method)
    // A tunnel alone joins the families (Linux net/netfilter/ipvs/ip_vs_ctl.c).
    const isMixed = isIPv6Number(address) !== service.isIPv6
    if (address === NO_ADDRESS || (isMixed && method !== METHOD_TUN)) return
    const listed = service.servers.find((server) => server.address === address && server.port === spec.port)
    const edits = spec.edits ?? 0
    if (listed) {
      if (listed.method !== method) listed.leadTo(undefined)
      listed.method = method
      setLimits(listed, spec)
      listed.tunnel = tunnelOf(spec.tunnel)
      if (listed.weight === spec.weight && listed.edits === edits) return
      listed.weight = spec.weight
      if (spec.weight > 0) listed.lastWeight = spec.weight
      listed.edits = edits
    } else {
      const { protocol, address: virtualAddress, port: virtualPort } = service
      const server = this.serverFor({ protocol, virtualAddress, virtualPort, address, port: spec.port })
      if (server === undefined) return
      this.directory.setService(server.slot, service.slot)
      server.removed = false
      server.isRetired = false
      server.service = service
      setLimits(server, spec)
      server.weight = spec.weight
      server.lastWeight = spec.weight
      server.edits = edits
      server.method = method
      server.tunnel = tunnelOf(spec.tunnel)
      service.servers.unshift(server)
    }
    service.scheduler.edited?.(service.memory, service.servers)
  }

  #retire(server: RealServer): void {
    server.removed = true
    server.isRetired = true
    server.service = undefined
    server.weight = 0
    server.leadTo(undefined)
    this.release(server)
  }

  #make(identity: ServerIdentity, service: Slot): RealServer | undefined {
    const slot = this.directory.addServer(identity, service)
    if (slot === NO_SLOT) return undefined
    const { book, counters } = this.directory
    const server = new RealServer(slot, identity.address, book.wordsOf(identity.address), identity.port, counters)
    while (this.serverBySlot.length <= slot) this.serverBySlot.push(undefined)
    this.serverBySlot[slot] = server
    this.#serversAt.set(server.address, (this.#serversAt.get(server.address) ?? 0) + 1)
    return server
  }
}

/** @param book gives the numbers of addresses; NO_ADDRESS of one that nobody has needed yet */
export function serviceIdentity(service: ServiceAddress, book: AddressBook): ServiceIdentity {
  if (service.protocol === 'fwm') {
    const protocol = isIPv6Text(service.address) ? PROTOCOL_MARK6 : PROTOCOL_MARK
    return { protocol, virtualAddress: (service.mark ?? 0) | 0, virtualPort: 0 }
  }
  const virtualAddress = book.numberOf(service.address)
  return { protocol: protocolNumber(service.protocol), virtualAddress, virtualPort: service.port }
}

function persistenceOf({ timeoutS, netmask, engine }: PersistenceSpec, isIPv6: boolean): Persistence {
  const mask = isIPv6 ? prefixMask(Number(netmask)) : Int32Array.of(parseIPv4(netmask), 0, 0, 0)
  return { timeoutS, mask, isByCall: engine === 'sip' }
}

function setLimits(server: RealServer, spec: RealServerSpec): void {
  const { upperThreshold = 0, lowerThreshold = 0, down = false } = spec
  if (upperThreshold === 0 || upperThreshold > server.upperThreshold) server.overloaded = false
  server.upperThreshold = upperThreshold
  server.lowerThreshold = lowerThreshold
  server.down = down
}

/** One number for a service: exact, 32 + 16 + 3 bits. The lowest three tell TCP, UDP, SCTP and both families' firewall marks apart. */
function lookupKey(protocol: number, address: number, port: number): number {
  return (address >>> 0) * 2 ** 19 + port * 8 + (protocol & 7)
}

/** Whether these are the same names, each of them once, in any order. */
function haveSameNames(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((name) => others.includes(name))
}

function serverNumber(address: number, port: number): number {
  return (address >>> 0) * 2 ** 16 + port
}
