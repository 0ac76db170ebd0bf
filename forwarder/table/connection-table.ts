/**
 * The connection table, written by the forwarding loop alone. Both directions of a connection are found here: by the
 * packet of the client, and, for NAT, by the packet of the server.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_conn.c; the layout is in connection-layout.ts.
 */

import * as ipv6Address from '../../protocol/packet/ipv6-address.ts'
import { halfOpenQueueOf } from '../engine/protocols/registry.ts'
import { isTemplateOfMark } from '../engine/templates.ts'
import type { AddressBook } from './address-book.ts'
import type { ConnectionKey } from './connection-key.ts'
import * as layout from './connection-layout.ts'
import { type ConnectionIndex, ConnectionMemory } from './connection-layout.ts'
import * as keyedHash from './keyed-hash.ts'
import type { ServerDirectory } from './server-directory.ts'
import { TimerWheel } from './timer-wheel.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { EDITION_MASK, editionBits, RETURN_PATH_MASK } = layout
const { FLAG_HALF_OPEN, FLAG_IPV6, FLAG_ONE_PACKET, FLAG_ONE_WAY, KEY, KEY_WORDS, NO_CONNECTION, STATE, STATE_WORDS } =
  layout
const { hashAddress, hashWords } = keyedHash
const { ADDRESS_WORDS } = ipv6Address

export class ConnectionTable {
  readonly memory: ConnectionMemory
  readonly timers: TimerWheel
  readonly #keys: Int32Array
  readonly #states: Int32Array
  readonly #clientHeads: Int32Array
  readonly #serverHeads: Int32Array
  readonly #mask: number
  /** Key of the hashes; nobody outside may know it. */
  readonly secret: number
  readonly #serverAddresses: Int32Array
  readonly #book: AddressBook

  /**
   * @param secret 32 random bits
   * @param tick the time at the start, in ticks
   */
  constructor(shared: SharedArrayBuffer, servers: ServerDirectory, secret: number, tick: number) {
    const memory = new ConnectionMemory(shared)
    this.memory = memory
    this.timers = new TimerWheel(memory.states, tick)
    this.#keys = memory.keys
    this.#states = memory.states
    this.#clientHeads = memory.clientHeads
    this.#serverHeads = memory.serverHeads
    this.#mask = memory.bucketMask
    this.secret = secret | 0
    this.#serverAddresses = servers.addresses
    this.#book = servers.book
  }

  /** Finds by the client's packet. Addresses as 32-bit integers, `ports` is client port << 16 | virtual port. */
  findByClient(protocol: number, client: number, virtual: number, ports: number): ConnectionIndex {
    const keys = this.#keys
    let index = this.#clientHeads[this.clientBucket(protocol, client, virtual, ports)]
    while (index !== 0) {
      const at = index * KEY_WORDS
      if (
        keys[at + KEY.ports] === ports &&
        keys[at + KEY.clientAddress] === client &&
        keys[at + KEY.virtualAddress] === virtual &&
        ((this.#states[index * STATE_WORDS + STATE.portProtocolState] >>> 8) & 255) === protocol
      ) {
        return index as ConnectionIndex
      }
      index = keys[at + KEY.nextClient]
    }
    return NO_CONNECTION
  }

  /** Finds a NAT connection by the server's packet. */
  findByServer(
    protocol: number,
    server: number,
    serverPort: number,
    client: number,
    clientPort: number,
  ): ConnectionIndex {
    const keys = this.#keys
    let index = this.#serverHeads[this.serverBucket(protocol, server, serverPort, client, clientPort)]
    while (index !== 0) {
      const at = index * KEY_WORDS
      const state = index * STATE_WORDS
      if (
        keys[at + KEY.clientAddress] === client &&
        keys[at + KEY.ports] >>> 16 === clientPort &&
        this.#states[state + STATE.portProtocolState] >>> 8 === ((serverPort << 8) | protocol) &&
        this.#serverAddresses[this.#states[state + STATE.server]] === server
      ) {
        return index as ConnectionIndex
      }
      index = keys[at + KEY.nextServer]
    }
    return NO_CONNECTION
  }

  /** As findByClient(), for IPv6: the client's address in four words, the virtual one by its number. */
  findByClient6(
    protocol: number,
    first: number,
    second: number,
    third: number,
    fourth: number,
    virtual: number,
    ports: number,
  ): ConnectionIndex {
    const keys = this.#keys
    const client = hashAddress(first, second, third, fourth, this.secret)
    let index = this.#clientHeads[this.clientBucket(protocol, client, virtual, ports)]
    while (index !== 0) {
      const at = index * KEY_WORDS
      const state = index * STATE_WORDS
      if (
        keys[at + KEY.ports] === ports &&
        keys[at + KEY.clientAddress + 3] === fourth &&
        keys[at + KEY.clientAddress + 2] === third &&
        keys[at + KEY.clientAddress + 1] === second &&
        keys[at + KEY.clientAddress] === first &&
        keys[at + KEY.virtualAddress] === virtual &&
        ((this.#states[state + STATE.portProtocolState] >>> 8) & 255) === protocol &&
        this.#states[state + STATE.flagsReturnPath] < 0
      ) {
        return index as ConnectionIndex
      }
      index = keys[at + KEY.nextClient]
    }
    return NO_CONNECTION
  }

  /** As findByServer(), for IPv6: the client's address in four words, the server's by its number. */
  findByServer6(
    protocol: number,
    server: number,
    serverPort: number,
    first: number,
    second: number,
    third: number,
    fourth: number,
    clientPort: number,
  ): ConnectionIndex {
    const keys = this.#keys
    const client = hashAddress(first, second, third, fourth, this.secret)
    let index = this.#serverHeads[this.serverBucket(protocol, server, serverPort, client, clientPort)]
    while (index !== 0) {
      const at = index * KEY_WORDS
      const state = index * STATE_WORDS
      if (
        keys[at + KEY.clientAddress + 3] === fourth &&
        keys[at + KEY.clientAddress + 2] === third &&
        keys[at + KEY.clientAddress + 1] === second &&
        keys[at + KEY.clientAddress] === first &&
        keys[at + KEY.ports] >>> 16 === clientPort &&
        this.#states[state + STATE.portProtocolState] >>> 8 === ((serverPort << 8) | protocol) &&
        this.#serverAddresses[this.#states[state + STATE.server]] === server
      ) {
        return index as ConnectionIndex
      }
      index = keys[at + KEY.nextServer]
    }
    return NO_CONNECTION
  }

  /** Which chain findByClient() looks through. Of IPv6 `client` is the hash of the address. */
  clientBucket(protocol: number, client: number, virtual: number, ports: number): number {
    return hashWords(client, virtual ^ protocol, ports, this.secret) & this.#mask
  }

  /** Which chain findByServer() looks through. */
  serverBucket(protocol: number, server: number, serverPort: number, client: number, clientPort: number): number {
    return hashWords(client, server ^ protocol, (clientPort << 16) | serverPort, ~this.secret) & this.#mask
  }

  /** findByClient() or findByClient6(). */
  find({ protocol, isIPv6, client, virtual, ports }: ConnectionKey): ConnectionIndex {
    return isIPv6
      ? this.findByClient6(protocol, client[0], client[1], client[2], client[3], virtual, ports)
      : this.findByClient(protocol, client[0], virtual, ports)
  }

  /** findByServer() or findByServer6(), by who the client is and what the server's address and port are. */
  findReply({ protocol, isIPv6, client, ports }: ConnectionKey, server: number, serverPort: number): ConnectionIndex {
    const port = ports >>> 16
    return isIPv6
      ? this.findByServer6(protocol, server, serverPort, client[0], client[1], client[2], client[3], port)
      : this.findByServer(protocol, server, serverPort, client[0], port)
  }

  /** Writes what a connection is found by into `key`. */
  readKey(index: ConnectionIndex, key: ConnectionKey): void {
    const keys = this.#keys
    const at = index * KEY_WORDS
    const client = at + KEY.clientAddress
    const virtual = keys[at + KEY.virtualAddress]
    key.setIPv6(
      this.protocol(index),
      keys[client],
      keys[client + 1],
      keys[client + 2],
      keys[client + 3],
      virtual,
      keys[at + KEY.ports],
    )
    key.isIPv6 = (this.flags(index) & FLAG_IPV6) !== 0
  }

  /**
   * Adds a connection and links it into the index of its client's packets, unless FLAG_ONE_PACKET, and of its server's, unless
   * FLAG_ONE_WAY. The caller files it with a timer. There must be no connection with the same key.
   * @param server its slot
   * @returns its index, or NO_CONNECTION when the table is full
   */
  insert(key: ConnectionKey, server: number, serverPort: number, flags: number): ConnectionIndex {
    const index = this.#take()
    if (index === NO_CONNECTION) return index
    const keys = this.#keys
    const states = this.#states
    const { protocol, isIPv6, client, virtual, ports } = key
    const at = index * KEY_WORDS
    const state = index * STATE_WORDS
    for (let word = 0; word < ADDRESS_WORDS; word++) keys[at + KEY.clientAddress + word] = client[word]
    keys[at + KEY.ports] = ports
    keys[at + KEY.virtualAddress] = virtual
    // It need not be a virtual address that somebody else keeps (marks.ts).
    if (isIPv6 && !isTemplateOfMark(protocol)) this.#book.retain(virtual)
    states[state + STATE.server] = server
    states[state + STATE.expires] = 0
    states[state + STATE.flagsReturnPath] = (isIPv6 ? flags | FLAG_IPV6 : flags) << 16
    states[state + STATE.versionSynced] = 0
    // Readers on other threads take a connection for real once it has a protocol: written last.
    Atomics.store(states, state + STATE.portProtocolState, (serverPort << 16) | (protocol << 8))
    const chainedBy = this.#chainedBy(index)
    if ((flags & FLAG_ONE_PACKET) === 0) {
      const bucket = this.clientBucket(protocol, chainedBy, virtual, ports)
      keys[at + KEY.nextClient] = this.#clientHeads[bucket]
      this.#clientHeads[bucket] = index
    }
    keys[at + KEY.nextServer] = 0
    if ((flags & FLAG_ONE_WAY) === 0) {
      const bucket = this.serverBucket(protocol, this.#serverAddresses[server], serverPort, chainedBy, ports >>> 16)
      keys[at + KEY.nextServer] = this.#serverHeads[bucket]
      this.#serverHeads[bucket] = index
    }
    this.memory.used++
    return index
  }

  /** What stands for the client in the choice of a chain: the IPv4 address, or the hash of IPv6's. */
  #chainedBy(index: ConnectionIndex): number {
    const at = index * KEY_WORDS + KEY.clientAddress
    const keys = this.#keys
    if ((this.flags(index) & FLAG_IPV6) === 0) return keys[at]
    return hashAddress(keys[at], keys[at + 1], keys[at + 2], keys[at + 3], this.secret)
  }

  /** Takes a connection out of the index, the timers and the table. */
  remove(index: ConnectionIndex): void {
    const keys = this.#keys
    const states = this.#states
    const at = index * KEY_WORDS
    const state = index * STATE_WORDS
    const word = states[state + STATE.portProtocolState]
    const protocol = (word >>> 8) & 255
    const client = this.#chainedBy(index)
    const ports = keys[at + KEY.ports]
    this.timers.unfile(index)
    const flags = this.flags(index)
    if ((flags & FLAG_ONE_PACKET) === 0) {
      const bucket = this.clientBucket(protocol, client, keys[at + KEY.virtualAddress], ports)
      this.#unchain(this.#clientHeads, bucket, index, KEY.nextClient)
    }
    if ((flags & FLAG_ONE_WAY) === 0) {
      const server = this.#serverAddresses[states[state + STATE.server]]
      const bucket = this.serverBucket(protocol, server, word >>> 16, client, ports >>> 16)
      this.#unchain(this.#serverHeads, bucket, index, KEY.nextServer)
    }
    if ((flags & FLAG_IPV6) !== 0 && !isTemplateOfMark(protocol)) this.#book.release(keys[at + KEY.virtualAddress])
    Atomics.store(states, state + STATE.portProtocolState, 0)
    keys[at + KEY.nextClient] = this.memory.freeHead
    this.memory.freeHead = index
    this.memory.used--
  }

  /** Files the connection with the timer that its flags ask for. Half open is only what its protocol has a queue for. */
  file(index: ConnectionIndex): void {
    if (this.flags(index) & FLAG_HALF_OPEN) {
      this.timers.fileHalfOpen(index, halfOpenQueueOf(this.protocol(index), this.state(index)))
    } else {
      this.timers.file(index)
    }
  }

  /** Files it anew after its timeout became shorter or FLAG_HALF_OPEN changed. */
  refile(index: ConnectionIndex): void {
    this.timers.unfile(index)
    this.file(index)
  }

  flags(index: ConnectionIndex): number {
    return this.#states[index * STATE_WORDS + STATE.flagsReturnPath] >>> 16
  }

  setFlags(index: ConnectionIndex, flags: number): void {
    const at = index * STATE_WORDS + STATE.flagsReturnPath
    this.#states[at] = (flags << 16) | (this.#states[at] & 0xffff)
  }

  protocol(index: ConnectionIndex): number {
    return (this.#states[index * STATE_WORDS + STATE.portProtocolState] >>> 8) & 255
  }

  state(index: ConnectionIndex): number {
    return this.#states[index * STATE_WORDS + STATE.portProtocolState] & 255
  }

  setState(index: ConnectionIndex, value: number): void {
    const at = index * STATE_WORDS + STATE.portProtocolState
    this.#states[at] = (this.#states[at] & ~255) | value
  }

  server(index: ConnectionIndex): number {
    return this.#states[index * STATE_WORDS + STATE.server]
  }

  serverPort(index: ConnectionIndex): number {
    return this.#states[index * STATE_WORDS + STATE.portProtocolState] >>> 16
  }

  /**
   * How many connections a persistence template has made that have not ended.
   * @param edition of its service's persistence (virtual-service.ts): what was counted for another is not known any more
   */
  controlled(template: ConnectionIndex, edition: number): number {
    const word = this.#keys[template * KEY_WORDS + KEY.nextServer]
    return word >>> 24 === edition ? word & 0xff_ffff : 0
  }

  setControlled(template: ConnectionIndex, edition: number, count: number): void {
    this.#keys[template * KEY_WORDS + KEY.nextServer] = (edition << 24) | count
  }

  /** The path to the client (engine/return-paths.ts). */
  returnPath(index: ConnectionIndex): number {
    return this.#states[index * STATE_WORDS + STATE.flagsReturnPath] & RETURN_PATH_MASK
  }

  /** Notes for which edition a template counts a connection. */
  setEdition(index: ConnectionIndex, edition: number): void {
    const at = index * STATE_WORDS + STATE.flagsReturnPath
    this.#states[at] = (this.#states[at] & ~EDITION_MASK) | editionBits(edition)
  }

  /** Whether it is counted for this edition, or for one that was sixteen before. */
  isOfEdition(index: ConnectionIndex, edition: number): boolean {
    return (this.#states[index * STATE_WORDS + STATE.flagsReturnPath] & EDITION_MASK) === editionBits(edition)
  }

  setExpires(index: ConnectionIndex, tick: number): void {
    this.#states[index * STATE_WORDS + STATE.expires] = tick
  }

  expires(index: ConnectionIndex): number {
    return this.#states[index * STATE_WORDS + STATE.expires]
  }

  #unchain(heads: Int32Array, bucket: number, index: ConnectionIndex, link: number): void {
    const keys = this.#keys
    const next = keys[index * KEY_WORDS + link]
    if (heads[bucket] === index) {
      heads[bucket] = next
      return
    }
    let before = heads[bucket]
    while (keys[before * KEY_WORDS + link] !== index) before = keys[before * KEY_WORDS + link]
    keys[before * KEY_WORDS + link] = next
  }

  #take(): ConnectionIndex {
    const memory = this.memory
    const freed = memory.freeHead
    if (freed !== 0) {
      memory.freeHead = this.#keys[freed * KEY_WORDS + KEY.nextClient]
      return freed as ConnectionIndex
    }
    const fresh = memory.fresh
    if (fresh >= memory.capacity) return NO_CONNECTION
    memory.fresh = fresh + 1
    return fresh as ConnectionIndex
  }
}
