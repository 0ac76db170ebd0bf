/**
 * Services and real servers by slot, with their counters, in shared memory: the forwarding loop writes, anyone reads.
 *
 * A slot belongs to one service, or to one real server of one service, and says so in its identity words. A connection names
 * its server by slot. The slot of a removed server stays until its last connection has ended, which is also how a server
 * that is added back finds its old counters (IPVS does the same with its trash).
 *
 * Counters are doubles: exact to 2^53, and a double is read whole on the machines that we run on.
 */
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import { AddressBook } from './address-book.ts'

export type Slot = number
/** Slot 0 is nobody. */
export const NO_SLOT = 0

const IDENTITY_WORDS = 8
const IDENTITY = { kind: 0, protocol: 1, virtualAddress: 2, virtualPort: 3, address: 4, port: 5, service: 6 } as const
const KIND_FREE = 0
const KIND_SERVICE = 1
const KIND_SERVER = 2

export const COUNTERS = 8
export const COUNTER = {
  active: 0,
  inactive: 1,
  connections: 2,
  inPackets: 3,
  outPackets: 4,
  inBytes: 5,
  outBytes: 6,
  /** Persistence templates. */
  persistent: 7,
} as const

const HEADER_BYTES = 64
const HEADER = { highest: 0, changes: 1, capacity: 2, bookCapacity: 3, bookSecret: 4 } as const
/** As many as there are neighbours. */
const ADDRESSES_TO_SPARE = 4096
const BYTES_PER_SLOT = IDENTITY_WORDS * 4 + 4 + COUNTERS * 8

/** These stand for a service of a firewall mark, of each family: its packets may be of any protocol. No packet has them in IP. */
export const PROTOCOL_MARK = 255
export const PROTOCOL_MARK6 = 253

export function isMarkProtocol(protocol: number): boolean {
  return protocol === PROTOCOL_MARK || protocol === PROTOCOL_MARK6
}

export interface ServiceIdentity {
  /** IP protocol number; PROTOCOL_MARK or PROTOCOL_MARK6 with the mark as the address. */
  readonly protocol: number
  /** Address number (address-book.ts). */
  readonly virtualAddress: number
  readonly virtualPort: number
}

export interface ServerIdentity extends ServiceIdentity {
  readonly address: number
  readonly port: number
}

export class ServerDirectory {
  readonly shared: SharedArrayBuffer
  readonly capacity: number
  /** Real server address number by slot. */
  readonly addresses: Int32Array
  /** What the address numbers of IPv6 stand for. */
  readonly book: AddressBook
  /** COUNTERS doubles a slot. */
  readonly counters: Float64Array
  readonly #header: Int32Array
  readonly #identities: Int32Array
  /** By identity; as of the #indexed-th change. */
  readonly #slots = new Map<string, Slot>()
  #indexed = 0
  /** Writer only: slots to use again. */
  readonly #freed: Slot[] = []

  constructor(shared: SharedArrayBuffer) {
    this.shared = shared
    this.#header = new Int32Array(shared, 0, HEADER_BYTES / 4)
    this.capacity = this.#header[HEADER.capacity]
    this.counters = new Float64Array(shared, HEADER_BYTES, this.capacity * COUNTERS)
    const identitiesAt = HEADER_BYTES + this.counters.byteLength
    this.#identities = new Int32Array(shared, identitiesAt, this.capacity * IDENTITY_WORDS)
    this.addresses = new Int32Array(shared, identitiesAt + this.#identities.byteLength, this.capacity)
    const bookAt = HEADER_BYTES + this.capacity * BYTES_PER_SLOT
    this.book = new AddressBook(shared, bookAt, this.#header[HEADER.bookCapacity], this.#header[HEADER.bookSecret])
  }

  /**
   * Room for `slots` services and servers, and for the addresses of as many, with some to spare for neighbours.
   * @param secret 32 random bits, for the address book's hash
   */
  static allocate(slots: number, secret = 0): SharedArrayBuffer {
    const bookCapacity = 2 ** Math.ceil(Math.log2(slots * 2 + ADDRESSES_TO_SPARE))
    const shared = new SharedArrayBuffer(HEADER_BYTES + slots * BYTES_PER_SLOT + AddressBook.bytesFor(bookCapacity))
    const header = new Int32Array(shared, 0, HEADER_BYTES / 4)
    header[HEADER.capacity] = slots
    header[HEADER.bookCapacity] = bookCapacity
    header[HEADER.bookSecret] = secret
    return shared
  }

  /** Takes a free slot for a service; NO_SLOT when there is none. */
  addService(service: ServiceIdentity): Slot {
    return this.#add(KIND_SERVICE, { ...service, address: 0, port: 0 }, NO_SLOT)
  }

  addServer(server: ServerIdentity, service: Slot): Slot {
    return this.#add(KIND_SERVER, server, service)
  }

  /** Gives a slot back; its counters go with it. */
  free(slot: Slot): void {
    if (slot === NO_SLOT) return
    const at = slot * IDENTITY_WORDS + IDENTITY.kind
    const identity = this.#identity(slot)
    this.#slots.delete(identityKey(this.#identities[at], identity))
    this.book.release(identity.virtualAddress)
    this.book.release(identity.address)
    Atomics.store(this.#identities, at, KIND_FREE)
    this.#freed.push(slot)
    this.#noteChange()
    this.counters.fill(0, slot * COUNTERS, (slot + 1) * COUNTERS)
  }

  setService(slot: Slot, service: Slot): void {
    this.#identities[slot * IDENTITY_WORDS + IDENTITY.service] = service
  }

  findService(service: ServiceIdentity): Slot {
    return this.#find(KIND_SERVICE, { ...service, address: 0, port: 0 })
  }

  findServer(server: ServerIdentity): Slot {
    return this.#find(KIND_SERVER, server)
  }

  /** Every slot that counts for a service: its servers, removed ones too, and its own, which keeps what freed slots had. */
  slotsOf(service: Slot): Slot[] {
    const slots: Slot[] = [service]
    for (let slot = 1; slot <= this.#highest; slot++) {
      const at = slot * IDENTITY_WORDS
      if (this.#identities[at] === KIND_SERVER && this.#identities[at + IDENTITY.service] === service) slots.push(slot)
    }
    return slots
  }

  /** Whose slot this is; undefined when it is free or a service's. */
  serverAt(slot: Slot): ServerIdentity | undefined {
    return this.#identities[slot * IDENTITY_WORDS] === KIND_SERVER ? this.#identity(slot) : undefined
  }

  /** The firewall mark of the service that a server's slot belongs to; 0 when it has an address instead. */
  markOf(slot: Slot): number {
    const at = slot * IDENTITY_WORDS
    return isMarkProtocol(this.#identities[at + IDENTITY.protocol]) ? this.#identities[at + IDENTITY.virtualAddress] : 0
  }

  /** The port of the service that a server's slot belongs to; 0: every port. */
  servicePortOf(slot: Slot): number {
    return this.#identities[slot * IDENTITY_WORDS + IDENTITY.virtualPort]
  }

  /** The server's own port; 0: the one that the client asks for. */
  portOf(slot: Slot): number {
    return this.#identities[slot * IDENTITY_WORDS + IDENTITY.port]
  }

  /** "10.0.0.1:80", for messages. */
  describe(slot: Slot): string {
    const server = this.serverAt(slot)
    return server ? formatEndpoint(this.book.format(server.address), server.port) : 'none'
  }

  /** Highest slot that was ever used. */
  get #highest(): number {
    return this.#header[HEADER.highest]
  }

  #add(kind: number, identity: ServerIdentity, service: Slot): Slot {
    const slot = this.#freed.pop() ?? this.#highest + 1
    if (slot >= this.capacity) return NO_SLOT
    this.book.retain(identity.virtualAddress)
    this.book.retain(identity.address)
    const at = slot * IDENTITY_WORDS
    const words = this.#identities
    words[at + IDENTITY.protocol] = identity.protocol
    words[at + IDENTITY.virtualAddress] = identity.virtualAddress
    words[at + IDENTITY.virtualPort] = identity.virtualPort
    words[at + IDENTITY.address] = identity.address
    words[at + IDENTITY.port] = identity.port
    words[at + IDENTITY.service] = service
    this.addresses[slot] = identity.address
    Atomics.store(words, at + IDENTITY.kind, kind)
    if (slot > this.#highest) this.#header[HEADER.highest] = slot
    this.#slots.set(identityKey(kind, identity), slot)
    this.#noteChange()
    return slot
  }

  /** The writer keeps its own index true; a reader builds its index anew when the writer has changed something since. */
  #noteChange(): void {
    this.#indexed = Atomics.add(this.#header, HEADER.changes, 1) + 1
  }

  #find(kind: number, identity: ServerIdentity): Slot {
    const changes = Atomics.load(this.#header, HEADER.changes)
    if (changes !== this.#indexed) {
      this.#slots.clear()
      for (let slot = 1; slot <= this.#highest; slot++) {
        const at = slot * IDENTITY_WORDS
        if (this.#identities[at] !== KIND_FREE) {
          this.#slots.set(identityKey(this.#identities[at], this.#identity(slot)), slot)
        }
      }
      this.#indexed = changes
    }
    return this.#slots.get(identityKey(kind, identity)) ?? NO_SLOT
  }

  #identity(slot: Slot): ServerIdentity {
    const at = slot * IDENTITY_WORDS
    const words = this.#identities
    return {
      protocol: words[at + IDENTITY.protocol],
      virtualAddress: words[at + IDENTITY.virtualAddress],
      virtualPort: words[at + IDENTITY.virtualPort],
      address: words[at + IDENTITY.address],
      port: words[at + IDENTITY.port],
    }
  }
}

function identityKey(kind: number, identity: ServerIdentity): string {
  const { protocol, virtualAddress, virtualPort, address, port } = identity
  return `${kind} ${protocol} ${virtualAddress} ${virtualPort} ${address} ${port}`
}
