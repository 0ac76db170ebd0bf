/**
 * The virtual services and their real servers as the forwarding loop knows them. A new description is applied as a
 * difference: what did not change keeps its scheduler's memory, its counters and its connections.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c (list order, trash and revival of destinations).
 */
import { PORT_FTP } from '../../protocol/packet/ftp.ts'
import { PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { schedulerByName } from '../../scheduler/registry.ts'
import type { Candidate, Scheduler, SchedulerSettings } from '../../scheduler/scheduler.ts'
import type { Neighbour } from '../engine/neighbours.ts'
import { protocolNumber } from '../engine/protocols/registry.ts'
import { IPIP, type Tunnel, tunnelOf } from '../method/tunnel.ts'
import type { ForwardingMethod, RealServerSpec, ServiceAddress, ServiceSpec } from '../service.ts'
import { isIPv6Number, NO_ADDRESS } from './address-book.ts'
import { COUNTER, COUNTERS, NO_SLOT, type ServerDirectory, type ServerIdentity, type Slot } from './server-directory.ts'

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
  /** As its description says. */
  edits = 0
  /** Not, or no longer, in the configuration: its connections end here, and it gets no new ones. */
  removed = true
  /** Was in the configuration and was taken out of it. */
  isRetired = false
  /** Where its packets go next; undefined until the first is sent or routes change. */
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
}

export interface Service {
  readonly slot: Slot
  readonly protocol: number
  /** Address number (address-book.ts). */
  readonly address: number
  readonly port: number
  scheduler: Scheduler
  schedulerFlags: readonly string[]
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

  values(): Iterable<Service> {
    return this.#services.values()
  }

  /** Whether any service has a real server at this address. */
  hasServerAt(address: number): boolean {
    return this.#serversAt.has(address)
  }

  /** Adds the service, or changes it to what `spec` says. The names in it have been checked before. */
  set(spec: ServiceSpec): void {
    const protocol = protocolNumber(spec.protocol)
    const address = this.directory.book.internText(spec.address)
    if (address === NO_ADDRESS) return
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
        address,
        port: spec.port,
        scheduler,
        schedulerFlags,
        memory: undefined,
        servers: [],
      }
      this.#begin(service)
      this.#services.set(key, service)
    } else if (service.scheduler !== scheduler || !haveSameNames(service.schedulerFlags, spec.schedulerFlags ?? [])) {
      service.scheduler = scheduler
      service.schedulerFlags = spec.schedulerFlags ?? []
      this.#begin(service)
    }
    this.#setServers(service, spec.servers)
    for (const server of service.servers) server.clampsSegmentSize = spec.mss === 'clamp'
  }

  remove(address: ServiceAddress): void {
    const key = lookupKey(protocolNumber(address.protocol), this.directory.book.numberOf(address.address), address.port)
    const service = this.#services.get(key)
    if (service === undefined) return
    for (const server of service.servers) this.#retire(server)
    this.#services.delete(key)
    // Removed servers that still have connections must not count for whoever gets the slot next.
    for (const slot of this.directory.slotsOf(service.slot)) this.directory.setService(slot, NO_SLOT)
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
    if (!server.removed || server.activeConnections + server.inactiveConnections > 0) return
    const identity = this.directory.serverAt(server.slot)
    const service = identity && this.find(identity.protocol, identity.virtualAddress, identity.virtualPort)
    if (service) {
      const { counters } = this.directory
      for (let counter = COUNTER.connections; counter < COUNTERS; counter++) {
        counters[service.slot * COUNTERS + counter] += counters[server.slot * COUNTERS + counter]
      }
    }
    this.serverBySlot[server.slot] = undefined
    this.directory.free(server.slot)
    const others = (this.#serversAt.get(server.address) ?? 1) - 1
    if (others > 0) this.#serversAt.set(server.address, others)
    else this.#serversAt.delete(server.address)
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
    const isMixed = isIPv6Number(address) !== isIPv6Number(service.address)
    if (address === NO_ADDRESS || (isMixed && method !== METHOD_TUN)) return
    const listed = service.servers.find((server) => server.address === address && server.port === spec.port)
    const edits = spec.edits ?? 0
    if (listed) {
      if (listed.method !== method) listed.nextHop = undefined
      listed.method = method
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
    server.weight = 0
    if (server.nextHop) server.nextHop.pinned = false
    // Other servers, of any service, may be reached through the same next hop; they pin it again when they are next looked at.
    for (const other of this.serverBySlot) if (other) other.nextHop = undefined
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

/** One number for a service: exact, 32 + 16 + 2 bits. The lowest two tell TCP, UDP and SCTP apart. */
function lookupKey(protocol: number, address: number, port: number): number {
  return (address >>> 0) * 2 ** 18 + port * 4 + (protocol & 3)
}

/** Whether these are the same names, each of them once, in any order. */
function haveSameNames(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((name) => others.includes(name))
}

function serverNumber(address: number, port: number): number {
  return (address >>> 0) * 2 ** 16 + port
}
