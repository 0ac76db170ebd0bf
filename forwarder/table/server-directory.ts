/**
 * Services and real servers by slot, with their counters, in shared memory: the forwarding loop writes, anyone reads.
 *
 * A slot belongs to one service, or to one real server of one service, and says so in its identity words. A connection names
 * its server by slot. The slot of a removed server stays until its last connection has ended, which is also how a server
 * that is added back finds its old counters (IPVS does the same with its trash).
 *
 * Who looks for a slot finds it through a hash of its identity, and from a service's slot a chain leads through those of its
 * servers: with a hundred thousand of them nothing may cost a walk over all. A reader may meet a chain while it is written:
 * it ends early or leads elsewhere then, and is followed no further than there are slots.
 *
 * Counters are doubles: exact to 2^53, and a double is read whole on the machines that we run on.
 */
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import { AddressBook } from './address-book.ts'
import { CallBook } from './call-book.ts'
import { hashWords } from './keyed-hash.ts'

export type Slot = number
/** Slot 0 is nobody. */
export const NO_SLOT = 0

const IDENTITY_WORDS = 8
const IDENTITY = {
  kind: 0,
  protocol: 1,
  virtualAddress: 2,
  virtualPort: 3,
  address: 4,
  port: 5,
  service: 6,
  /** The next slot whose identity has the same hash. */
  next: 7,
} as const
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
const HEADER = { capacity: 0, bookCapacity: 1, secret: 2, callCapacity: 3 } as const
/** As many as there are neighbours. */
const ADDRESSES_TO_SPARE = 4096
/** SIP calls that can be described at a time. */
const MOST_CALLS = 2 ** 16
/** Counters, identity, address, and the next slot of the same service. */
const BYTES_PER_SLOT = COUNTERS * 8 + IDENTITY_WORDS * 4 + 4 + 4

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
  /** What the templates of SIP calls are of. */
  readonly calls: CallBook
  /** COUNTERS doubles a slot. */
  readonly counters: Float64Array
  readonly #identities: Int32Array
  /** Of a service's slot, the first of its servers; of a server's, the next one. NO_SLOT ends it. */
  readonly #siblings: Int32Array
  /** The first slot of each hash. */
  readonly #buckets: Int32Array
  readonly #secret: number
  /** Writer only: the lowest slot that was never used, and slots to use again. */
  #fresh = 1
  readonly #freed: Slot[] = []

  constructor(shared: SharedArrayBuffer) {
    this.shared = shared
    const header = new Int32Array(shared, 0, HEADER_BYTES / 4)
    this.capacity = header[HEADER.capacity]
    this.counters = new Float64Array(shared, HEADER_BYTES, this.capacity * COUNTERS)
    this.#secret = header[HEADER.secret]
    let at = HEADER_BYTES + this.counters.byteLength
    const words = (count: number) => {
      const array = new Int32Array(shared, at, count)
      at += array.byteLength
      return array
    }
    this.#identities = words(this.capacity * IDENTITY_WORDS)
    this.addresses = words(this.capacity)
    this.#siblings = words(this.capacity)
    this.#buckets = words(bucketsFor(this.capacity))
    const bookCapacity = header[HEADER.bookCapacity]
    this.book = new AddressBook(shared, at, bookCapacity, this.#secret)
    const callsAt = at + AddressBook.bytesFor(bookCapacity)
    this.calls = new CallBook(shared, callsAt, header[HEADER.callCapacity], this.#secret)
  }

  /**
   * Room for `slots` services and servers, and for the addresses of as many, with some to spare for neighbours; and for the
   * descriptions of half as many calls, up to MOST_CALLS.
   * @param secret 32 random bits, for the hashes
   */
  static allocate(slots: number, secret = 0): SharedArrayBuffer {
    const bookCapacity = 2 ** Math.ceil(Math.log2(slots * 2 + ADDRESSES_TO_SPARE))
    const callCapacity = Math.min(MOST_CALLS, 2 ** Math.floor(Math.log2(slots / 2)))
    const bookBytes = AddressBook.bytesFor(bookCapacity) + CallBook.bytesFor(callCapacity)
    const shared = new SharedArrayBuffer(HEADER_BYTES + slots * BYTES_PER_SLOT + bucketsFor(slots) * 4 + bookBytes)
    const header = new Int32Array(shared, 0, HEADER_BYTES / 4)
    header[HEADER.capacity] = slots
    header[HEADER.bookCapacity] = bookCapacity
    header[HEADER.secret] = secret
    header[HEADER.callCapacity] = callCapacity
    return shared
  }

  /** Takes a free slot for a service; NO_SLOT when there is none. */
  addService(service: ServiceIdentity): Slot {
    return this.#add(KIND_SERVICE, { ...service, address: 0, port: 0 }, NO_SLOT)
  }

  addServer(server: ServerIdentity, service: Slot): Slot {
    return this.#add(KIND_SERVER, server, service)
  }

  /** Gives a slot back; its counters go with it. Servers of a service that is freed count for none. */
  free(slot: Slot): void {
    if (slot === NO_SLOT) return
    const at = slot * IDENTITY_WORDS
    this.setService(slot, NO_SLOT)
    if (this.#identities[at] === KIND_SERVICE) for (const server of this.slotsOf(slot)) this.setService(server, NO_SLOT)
    this.#unhash(slot)
    this.book.release(this.#identities[at + IDENTITY.virtualAddress])
    this.book.release(this.#identities[at + IDENTITY.address])
    Atomics.store(this.#identities, at + IDENTITY.kind, KIND_FREE)
    this.#freed.push(slot)
    this.counters.fill(0, slot * COUNTERS, (slot + 1) * COUNTERS)
  }

  /** Makes a server count for a service, or for none. */
  setService(slot: Slot, service: Slot): void {
    const siblings = this.#siblings
    const at = slot * IDENTITY_WORDS + IDENTITY.service
    const former = this.#identities[at]
    if (former === service) return
    if (former !== NO_SLOT) {
      let before = former
      while (siblings[before] !== slot) before = siblings[before]
      Atomics.store(siblings, before, siblings[slot])
    }
    this.#identities[at] = service
    siblings[slot] = service === NO_SLOT ? NO_SLOT : siblings[service]
    if (service !== NO_SLOT) Atomics.store(siblings, service, slot)
  }

  /** The service that a server's slot counts for; NO_SLOT: none. */
  serviceOf(slot: Slot): Slot {
    return this.#identities[slot * IDENTITY_WORDS + IDENTITY.service]
  }

  findService(service: ServiceIdentity): Slot {
    return this.#find(KIND_SERVICE, { ...service, address: 0, port: 0 })
  }

  findServer(server: ServerIdentity): Slot {
    return this.#find(KIND_SERVER, server)
  }

  /**
   * Every slot that counts for a service: its own, which keeps what freed slots had, and its servers', the last one that was
   * given to it first, removed ones too.
   */
  slotsOf(service: Slot): Slot[] {
    const slots: Slot[] = [service]
    let slot = Atomics.load(this.#siblings, service)
    while (slot !== NO_SLOT && slots.length < this.capacity) {
      if (this.#identities[slot * IDENTITY_WORDS + IDENTITY.service] !== service) break
      slots.push(slot)
      slot = Atomics.load(this.#siblings, slot)
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

  #add(kind: number, identity: ServerIdentity, service: Slot): Slot {
    const slot = this.#freed.pop() ?? (this.#fresh < this.capacity ? this.#fresh++ : NO_SLOT)
    if (slot === NO_SLOT) return NO_SLOT
    this.book.retain(identity.virtualAddress)
    this.book.retain(identity.address)
    const at = slot * IDENTITY_WORDS
    const words = this.#identities
    words[at + IDENTITY.protocol] = identity.protocol
    words[at + IDENTITY.virtualAddress] = identity.virtualAddress
    words[at + IDENTITY.virtualPort] = identity.virtualPort
    words[at + IDENTITY.address] = identity.address
    words[at + IDENTITY.port] = identity.port
    words[at + IDENTITY.service] = NO_SLOT
    this.addresses[slot] = identity.address
    this.#siblings[slot] = NO_SLOT
    Atomics.store(words, at + IDENTITY.kind, kind)
    const bucket = this.#bucket(kind, identity)
    words[at + IDENTITY.next] = this.#buckets[bucket]
    Atomics.store(this.#buckets, bucket, slot)
    this.setService(slot, service)
    return slot
  }

  #find(kind: number, identity: ServerIdentity): Slot {
    let slot = Atomics.load(this.#buckets, this.#bucket(kind, identity))
    for (let steps = 0; slot !== NO_SLOT && steps < this.capacity; steps++) {
      if (this.#is(slot, kind, identity)) return slot
      slot = this.#identities[slot * IDENTITY_WORDS + IDENTITY.next]
    }
    return NO_SLOT
  }

  #is(slot: Slot, kind: number, { protocol, virtualAddress, virtualPort, address, port }: ServerIdentity): boolean {
    const at = slot * IDENTITY_WORDS
    const words = this.#identities
    return (
      words[at + IDENTITY.address] === address &&
      words[at + IDENTITY.virtualAddress] === virtualAddress &&
      words[at + IDENTITY.virtualPort] === virtualPort &&
      words[at + IDENTITY.port] === port &&
      words[at + IDENTITY.protocol] === protocol &&
      words[at + IDENTITY.kind] === kind
    )
  }

  #unhash(slot: Slot): void {
    const words = this.#identities
    const bucket = this.#bucket(words[slot * IDENTITY_WORDS + IDENTITY.kind], this.#identity(slot))
    const next = words[slot * IDENTITY_WORDS + IDENTITY.next]
    let before = this.#buckets[bucket]
    if (before === slot) {
      Atomics.store(this.#buckets, bucket, next)
      return
    }
    while (words[before * IDENTITY_WORDS + IDENTITY.next] !== slot) {
      before = words[before * IDENTITY_WORDS + IDENTITY.next]
    }
    Atomics.store(words, before * IDENTITY_WORDS + IDENTITY.next, next)
  }

  #bucket(kind: number, { protocol, virtualAddress, virtualPort, address, port }: ServerIdentity): number {
    const ends = hashWords(virtualAddress, address, (virtualPort << 16) | port, this.#secret)
    return hashWords(ends, (protocol << 8) | kind, 0, this.#secret) & (this.#buckets.length - 1)
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

function bucketsFor(slots: number): number {
  return 2 ** Math.ceil(Math.log2(slots))
}
