/**
 * Bringing the connections of a whole batch into the cache before the first packet of it is handled.
 *
 * In a large table every lookup waits for memory: for the bucket, for each key of its chain, for the state. One packet after
 * the other these waits add up. Done for all packets of a batch together, first every bucket, then every chain key by key, then
 * every state, they overlap: none depends on another of its round. Nothing is decided here and nothing written; a frame that
 * is no packet costs a useless read.
 *
 * Source: the batched lookups of DPDK's rte_hash_lookup_bulk().
 */
import * as ethernet from '../../protocol/packet/ethernet.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import * as ipv6 from '../../protocol/packet/ipv6.ts'
import type { Frame } from '../link/link.ts'
import type { AddressBook } from '../table/address-book.ts'
import * as layout from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import * as keyedHash from '../table/keyed-hash.ts'
import * as virtualAddresses from './virtual-addresses.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV6 } = ethernet
const { PROTOCOL_TCP, PROTOCOL_UDP } = ipv4
const { IPV6, IPV6_HEADER_LENGTH } = ipv6
const { hashAddress } = keyedHash
const { KEY, KEY_WORDS, STATE_WORDS } = layout
const { ADDRESS_UNKNOWN } = virtualAddresses

/** Below this many connections the table fits into the cache, and warming it up is wasted. */
const WORTHWHILE = 16_384
const LARGEST_BATCH = 256
/** Keys of a chain that are read: of 2 connections a bucket on average one in 20,000 lies deeper. */
const DEEPEST = 8
/** Ethernet, IPv4 without options, ports. */
const SHORTEST = 14 + 20 + 4
/** The same of IPv6, without extension headers. */
const SHORTEST6 = ETHERNET_HEADER_LENGTH + IPV6_HEADER_LENGTH + 4

export class WarmUp {
  /** What was read, so that the reads are not optimised away. */
  readings = 0
  readonly #table: ConnectionTable
  readonly #addresses: virtualAddresses.VirtualAddresses
  readonly #book: AddressBook
  // Of each packet:
  readonly #buckets = new Int32Array(LARGEST_BATCH)
  /** Which word of a key leads on along its chain; it tells the two directions apart. */
  readonly #links = new Int32Array(LARGEST_BATCH)
  /** One word of the client's address that is in the key, and which: of IPv6 the last, in which clients differ most. */
  readonly #clients = new Int32Array(LARGEST_BATCH)
  readonly #words = new Int32Array(LARGEST_BATCH)
  /** As in the key; of a server's packet only the client's port, the upper half, counts. */
  readonly #ports = new Int32Array(LARGEST_BATCH)
  /** How far along its chain it has come. */
  readonly #indexes = new Int32Array(LARGEST_BATCH)
  /** The packets that have not come to their connection yet. */
  readonly #pending = new Int32Array(LARGEST_BATCH)

  constructor(table: ConnectionTable, addresses: virtualAddresses.VirtualAddresses, book: AddressBook) {
    this.#table = table
    this.#addresses = addresses
    this.#book = book
  }

  /** Reads what handling the first `count` of `frames` will read. */
  run(frames: readonly Frame[], count: number): void {
    if (this.#table.memory.used < WORTHWHILE) return
    const batch = Math.min(count, LARGEST_BATCH)
    let found = 0
    for (let i = 0; i < batch; i++) if (this.#locate(frames[i], found)) found++
    this.#readBuckets(found)
    let pending = found
    for (let depth = 0; depth < DEEPEST && pending > 0; depth++) pending = this.#readKeys(pending)
    this.#readStates(found)
  }

  /** Notes where the packet's connection is to be looked for; false when it can have none. */
  #locate(frame: Frame, at: number): boolean {
    if (frame.length < SHORTEST) return false
    const view = frame.memory.view
    const start = frame.start
    if (view.getUint16(start + 12) === ETHERTYPE_IPV6) return frame.length >= SHORTEST6 && this.#locate6(frame, at)
    const protocol = view.getUint8(start + 23)
    if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP) return false
    const source = view.getInt32(start + 26)
    const destination = view.getInt32(start + 30)
    const ports = view.getInt32(start + 34)
    if (this.#addresses.stateOf(destination) === ADDRESS_UNKNOWN) {
      this.#buckets[at] = this.#table.serverBucket(protocol, source, ports >>> 16, destination, ports & 0xffff)
      this.#links[at] = KEY.nextServer
      this.#clients[at] = destination
      this.#ports[at] = ports << 16
    } else {
      this.#buckets[at] = this.#table.clientBucket(protocol, source, destination, ports)
      this.#links[at] = KEY.nextClient
      this.#clients[at] = source
      this.#ports[at] = ports
    }
    this.#words[at] = KEY.clientAddress
    this.#pending[at] = at
    return true
  }

  /** As #locate(), of an IPv6 packet without extension headers. */
  #locate6(frame: Frame, at: number): boolean {
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const protocol = view.getUint8(ip + IPV6.nextHeader)
    if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP) return false
    const ports = view.getInt32(ip + IPV6_HEADER_LENGTH)
    const virtual = this.#book.findAt(view, ip + IPV6.destination)
    if (this.#addresses.stateOf(virtual) === ADDRESS_UNKNOWN) {
      const client = this.#hashAt(view, ip + IPV6.destination)
      const server = this.#book.findAt(view, ip + IPV6.source)
      this.#buckets[at] = this.#table.serverBucket(protocol, server, ports >>> 16, client, ports & 0xffff)
      this.#links[at] = KEY.nextServer
      this.#clients[at] = view.getInt32(ip + IPV6.destination + 12)
      this.#ports[at] = ports << 16
    } else {
      const client = this.#hashAt(view, ip + IPV6.source)
      this.#buckets[at] = this.#table.clientBucket(protocol, client, virtual, ports)
      this.#links[at] = KEY.nextClient
      this.#clients[at] = view.getInt32(ip + IPV6.source + 12)
      this.#ports[at] = ports
    }
    this.#words[at] = KEY.clientAddress + 3
    this.#pending[at] = at
    return true
  }

  #hashAt(view: DataView, at: number): number {
    const { secret } = this.#table
    return hashAddress(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12), secret)
  }

  #readBuckets(count: number): void {
    const { clientHeads, serverHeads } = this.#table.memory
    const buckets = this.#buckets
    const links = this.#links
    const indexes = this.#indexes
    for (let i = 0; i < count; i++) {
      indexes[i] = links[i] === KEY.nextClient ? clientHeads[buckets[i]] : serverHeads[buckets[i]]
    }
  }

  /** Reads one more key of each chain; returns how many chains go on. */
  #readKeys(count: number): number {
    const { keys } = this.#table.memory
    const links = this.#links
    const clients = this.#clients
    const words = this.#words
    const ports = this.#ports
    const indexes = this.#indexes
    const pending = this.#pending
    // Read once without looking: what depended on a key would wait for it and hold the others up.
    let readings = 0
    for (let j = 0; j < count; j++) readings ^= keys[indexes[pending[j]] * KEY_WORDS]
    this.readings ^= readings
    let left = 0
    for (let j = 0; j < count; j++) {
      const i = pending[j]
      const index = indexes[i]
      const at = index * KEY_WORDS
      const compared = links[i] === KEY.nextClient ? -1 : ~0xffff
      const next = keys[at + links[i]]
      // Without a branch on what the table holds, which a processor guesses wrong every other time.
      const differs = isNotZero((keys[at + words[i]] ^ clients[i]) | ((keys[at + KEY.ports] ^ ports[i]) & compared))
      indexes[i] = index ^ ((index ^ next) & -differs)
      pending[left] = i
      left += differs & isNotZero(next)
    }
    return left
  }

  #readStates(count: number): void {
    const { states } = this.#table.memory
    const indexes = this.#indexes
    let readings = 0
    for (let i = 0; i < count; i++) {
      const at = indexes[i] * STATE_WORDS
      // A state may lie across two cache lines.
      readings ^= states[at] ^ states[at + STATE_WORDS - 1]
    }
    this.readings ^= readings
  }
}

/** 1 or 0, of a 32-bit integer. */
function isNotZero(value: number): number {
  return (value | -value) >>> 31
}
