/**
 * The virtual services and their real servers as the forwarding loop knows them. A new description is applied as a
 * difference: what did not change keeps its scheduler's memory, its counters and its connections.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c (list order, trash and revival of destinations).
 */

import { PORT_FTP } from '../../protocol/packet/ftp.ts'
import { PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { isIPv6Text } from '../../protocol/packet/ipv6-address.ts'
import { schedulerByName } from '../../scheduler/registry.ts'
import type { SchedulerSettings } from '../../scheduler/scheduler.ts'
import { protocolNumber } from '../engine/protocols/registry.ts'
import type { RealServerSpec, ServiceAddress, ServiceSpec } from '../service.ts'
import { type AddressBook, isIPv6Number, NO_ADDRESS } from './address-book.ts'
import type { ConnectionKey } from './connection-key.ts'
import { METHOD_TUN, methodNumber, RealServer } from './real-server.ts'
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
import { isSamePersistence, persistenceOf, type Service, SYNC_ESTABLISHED, syncOf } from './virtual-service.ts'

/** What an FTP data connection may come to: the port of active mode, and those that no server needs the right to listen on; 0 of templates. */
const FTP_DATA_PORT = 20
const FIRST_FREE_PORT = 1024

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
    const mayBeData = port === FTP_DATA_PORT || port === 0 || port >= FIRST_FREE_PORT
    if (this.#ftpServices > 0 && protocol === PROTOCOL_TCP && mayBeData) {
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
        persistenceEdition: 0,
        onePacket: false,
        sync: SYNC_ESTABLISHED,
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
    const persistence = spec.persistence && persistenceOf(spec.persistence, service.isIPv6)
    if (!isSamePersistence(service.persistence, persistence)) {
      service.persistenceEdition = (service.persistenceEdition + 1) & 0xff
    }
    service.persistence = persistence
    service.onePacket = spec.onePacket === true
    service.sync = syncOf(spec)
    this.#setServers(service, spec.servers)
    for (const server of service.servers) server.clampsSegmentSize = spec.mss === 'clamp'
  }

  remove(address: ServiceAddress): void {
    const { protocol, virtualAddress, virtualPort } = serviceIdentity(address, this.directory.book)
    const key = lookupKey(protocol, virtualAddress, virtualPort)
    const service = this.#services.get(key)
    if (service === undefined) return
    this.#count(service, -1)
    for (const server of service.servers) {
      server.retire()
      this.release(server)
    }
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
    if (!server.removed || !server.isUnused) return
    const service = this.directory.serviceOf(server.slot)
    if (service !== NO_SLOT) this.#addTraffic(service, server.slot, 1)
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
    const wanted = new Set(specs.map((spec) => serverNumber(book.numberOf(spec.address), spec.port)))
    const listed = new Map<number, RealServer>()
    for (let index = service.servers.length - 1; index >= 0; index--) {
      const server = service.servers[index]
      const number = serverNumber(server.address, server.port)
      if (wanted.has(number)) listed.set(number, server)
      else {
        service.servers.splice(index, 1)
        service.scheduler.removed?.(service.memory, service.servers, server, index)
        server.retire()
        this.release(server)
      }
    }
    const inOrder = new Set<RealServer>()
    let isReweighted = false
    let isEdited = false
    for (const spec of specs) {
      const address = book.internText(spec.address)
      const number = serverNumber(address, spec.port)
      const known = listed.get(number)
      const server = known ?? this.#add(service, spec, address)
      if (server === undefined) continue
      listed.set(number, server)
      inOrder.add(server)
      if (known) {
        isEdited ||= known.edits !== (spec.edits ?? 0)
        isReweighted = known.edit(spec) || isReweighted
      } else if (service.scheduler.added) service.scheduler.added(service.memory, service.servers)
      else service.scheduler.edited?.(service.memory, service.servers)
    }
    // Once for all of them: a scheduler may look at all of thousands of servers, and packets wait meanwhile.
    const { scheduler, memory, servers } = service
    if (isEdited) scheduler.edited?.(memory, servers)
    else if (isReweighted) (scheduler.reweighted ?? scheduler.edited)?.(memory, servers)
    if (reverse(service.servers, inOrder)) this.#begin(service)
  }

  /** @returns undefined when it cannot be added */
  #add(service: Service, spec: RealServerSpec, address: number): RealServer | undefined {
    // A tunnel alone joins the families (Linux net/netfilter/ipvs/ip_vs_ctl.c).
    const isMixed = isIPv6Number(address) !== service.isIPv6
    if (address === NO_ADDRESS || (isMixed && methodNumber(spec.method) !== METHOD_TUN)) return undefined
    const { protocol, address: virtualAddress, port: virtualPort } = service
    const server = this.serverFor({ protocol, virtualAddress, virtualPort, address, port: spec.port })
    if (server === undefined) return undefined
    if (this.directory.serviceOf(server.slot) !== service.slot) {
      // What it has counted for another service, between the same addresses but deleted since, is none of this one's traffic.
      this.#addTraffic(service.slot, server.slot, -1)
      this.directory.setService(server.slot, service.slot)
    }
    server.enlist(service, spec)
    service.servers.unshift(server)
    return server
  }

  /** Adds what a server has counted to what its service has of servers that are gone, or takes it off. */
  #addTraffic(service: Slot, server: Slot, sign: 1 | -1): void {
    const { counters } = this.directory
    for (let counter = COUNTER.connections; counter <= COUNTER.outBytes; counter++) {
      counters[service * COUNTERS + counter] += sign * counters[server * COUNTERS + counter]
    }
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

/** One number for a service: exact, 32 + 16 + 3 bits. The lowest three tell TCP, UDP, SCTP and both families' firewall marks apart. */
function lookupKey(protocol: number, address: number, port: number): number {
  return (address >>> 0) * 2 ** 19 + port * 8 + (protocol & 7)
}

/** Whether these are the same names, in any order and however often. */
function haveSameNames(some: readonly string[], others: readonly string[]): boolean {
  return some.every((name) => others.includes(name)) && others.every((name) => some.includes(name))
}

/**
 * Puts the servers into the order that they would have if they were all added now: by another a hash leads clients elsewhere than at a
 * director that has just read the same configuration.
 * @returns whether they stood otherwise
 */
function reverse(servers: RealServer[], inOrder: ReadonlySet<RealServer>): boolean {
  let place = inOrder.size
  let hasMoved = false
  for (const server of inOrder) {
    place--
    hasMoved ||= servers[place] !== server
    servers[place] = server
  }
  return hasMoved
}

function serverNumber(address: number, port: number): number {
  return (address >>> 0) * 2 ** 16 + port
}
