/**
 * The forwarder's own ARP and neighbour cache: next hops by link and address, their MAC, and the few packets that wait for one.
 *
 * An entry is probed while it is in use and unconfirmed for 30 s, and given up after three unanswered requests a second
 * apart (RFC 1122 2.3.2.1 wants both a refresh and a limit on the rate of requests; RFC 4861 7.2.2 asks for the same). Then it is
 * still asked for, but nothing waits for its answer: hosts that are gone for good would take the room of those about to answer.
 */
import { ARP_FRAME_LENGTH, ARP_REQUEST, writeArpFrame } from '../../protocol/packet/arp.ts'
import { readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import { BROADCAST_MAC } from '../../protocol/packet/ethernet.ts'
import { ADDRESS_WORDS } from '../../protocol/packet/ipv6-address.ts'
import { NEIGHBOUR_FRAME_LENGTH, writeSolicitation } from '../../protocol/packet/neighbour-discovery.ts'
import type { Frame } from '../link/link.ts'
import { type AddressBook, isIPv6Number } from '../table/address-book.ts'
import type { FramePool, PooledFrame } from './frame-pool.ts'
import { WaitingFrames } from './waiting-frames.ts'

const MAX_NEIGHBOURS = 4096
const MAX_EXPECTED = MAX_NEIGHBOURS / 4
/** As many as a takeover may bring in the milliseconds that a client's address takes on a busy host. */
const MAX_HELD = 192
const CONFIRM_AFTER_MS = 30_000
const PROBE_INTERVAL_MS = 1_000
const MAX_PROBES = 3
const FORGET_AFTER_MS = 600_000

const UNKNOWN_MAC = new Uint8Array(6)

export interface Neighbour {
  readonly link: number
  /** By its number (address-book.ts), as `source`. */
  readonly address: number
  /** Our address on the link, sender of requests and of what goes through tunnels. */
  source: number
  resolved: boolean
  /** First two bytes of the MAC. */
  macHigh: number
  /** Last four bytes of the MAC, signed. */
  macLow: number
  confirmedMs: number
  usedMs: number
  probedMs: number
  probes: number
  /** How many real servers' next hop it is: kept resolved for them even while nothing is sent there. */
  servers: number
  readonly held: PooledFrame[]
}

/** One of which nothing is known yet. */
export function newNeighbour(link: number, address: number, source: number, nowMs: number): Neighbour {
  return {
    link,
    address,
    source,
    resolved: false,
    macHigh: 0,
    macLow: 0,
    confirmedMs: 0,
    usedMs: nowMs,
    probedMs: 0,
    probes: 0,
    servers: 0,
    held: [],
  }
}

/** Whether it has left all requests unanswered. */
export function hasFailed(neighbour: Neighbour): boolean {
  return !neighbour.resolved && neighbour.probes > MAX_PROBES
}

export class Neighbours {
  /** Frames for addresses that are not resolved yet. */
  readonly waiting: WaitingFrames
  readonly #byLink: Map<number, Neighbour>[] = []
  readonly #macs: readonly Uint8Array[]
  readonly #pool: FramePool
  readonly #book: AddressBook
  readonly #emit: (frame: PooledFrame) => void
  #count = 0

  /**
   * @param macs our MAC by link number
   * @param emit takes a frame to be transmitted on frame.link
   */
  constructor(macs: readonly Uint8Array[], pool: FramePool, book: AddressBook, emit: (frame: PooledFrame) => void) {
    this.#macs = macs
    this.#pool = pool
    this.#book = book
    this.#emit = emit
    this.waiting = new WaitingFrames(pool, emit)
    for (let link = 0; link < macs.length; link++) this.#byLink.push(new Map())
  }

  /** The entry for an address, if there is one. */
  find(link: number, address: number): Neighbour | undefined {
    return this.#byLink[link].get(address)
  }

  /** The entry for an address, made and asked for if it is new; undefined when the table is full. */
  get(link: number, address: number, source: number, nowMs: number): Neighbour | undefined {
    const known = this.#byLink[link].get(address)
    if (known) {
      if (known.source !== source) this.#changeSource(known, source)
      return known
    }
    if (this.#count >= MAX_NEIGHBOURS) return undefined
    const neighbour = newNeighbour(link, address, source, nowMs)
    this.#byLink[link].set(address, neighbour)
    this.#count++
    this.#book.retain(address)
    this.#book.retain(source)
    this.#probe(neighbour, nowMs)
    return neighbour
  }

  /** The entry for an address will soon be wanted: it is asked for, or kept, as long as that leaves room for those that are wanted now. */
  expect(link: number, address: number, source: number, nowMs: number): Neighbour | undefined {
    const known = this.#byLink[link].get(address)
    if (known === undefined && this.#count >= MAX_EXPECTED) return undefined
    const neighbour = this.get(link, address, source, nowMs)
    if (neighbour) neighbour.usedMs = nowMs
    return neighbour
  }

  /**
   * Takes a MAC that somebody says is his in, if it is somebody we have asked for.
   * @param overrides false: not in the place of another that is known. That one is asked for soon (RFC 4861 section 7.2.5)
   */
  learn(link: number, address: number, bytes: Uint8Array, macAt: number, overrides: boolean, nowMs: number): void {
    const neighbour = this.#byLink[link].get(address)
    if (neighbour === undefined || (bytes[macAt] & 1) !== 0) return
    const macHigh = readUint16(bytes, macAt)
    const macLow = readInt32(bytes, macAt + 2)
    const isOther = macHigh !== neighbour.macHigh || macLow !== neighbour.macLow
    if (isOther && neighbour.resolved && !overrides) {
      neighbour.confirmedMs = Math.min(neighbour.confirmedMs, nowMs - CONFIRM_AFTER_MS - 1)
      return
    }
    neighbour.macHigh = macHigh
    neighbour.macLow = macLow
    neighbour.resolved = true
    neighbour.confirmedMs = nowMs
    neighbour.probes = 0
    for (const frame of neighbour.held) {
      frame.memory.bytes.set(bytes.subarray(macAt, macAt + 6), frame.start)
      this.waiting.send(frame, link)
    }
    neighbour.held.length = 0
  }

  /** Keeps a copy of a finished frame until its next hop is known. False when there is no room. */
  hold(neighbour: Neighbour, frame: Frame): boolean {
    if (neighbour.held.length >= MAX_HELD) return false
    const copy = this.waiting.keep(frame, neighbour.link)
    if (copy === undefined) return false
    neighbour.held.push(copy)
    return true
  }

  /** Once a second: asks again, asks in time, gives up. Returns how many held frames were given up. */
  maintain(nowMs: number): number {
    let givenUp = 0
    for (const neighbours of this.#byLink) {
      for (const neighbour of neighbours.values()) {
        const wanted = neighbour.servers > 0 || nowMs - neighbour.usedMs < FORGET_AFTER_MS
        if (!wanted) {
          givenUp += this.#dropHeld(neighbour)
          neighbours.delete(neighbour.address)
          this.#count--
          this.#book.release(neighbour.address)
          this.#book.release(neighbour.source)
        } else if (!neighbour.resolved || nowMs - neighbour.confirmedMs > CONFIRM_AFTER_MS) {
          if (neighbour.probes >= MAX_PROBES) {
            neighbour.resolved = false
            givenUp += this.#dropHeld(neighbour)
          }
          if (nowMs - neighbour.probedMs >= PROBE_INTERVAL_MS) this.#probe(neighbour, nowMs)
        }
      }
    }
    return givenUp
  }

  /** Our address has changed. The servers' route counts before others that lead the same way: new routes find none of them here. */
  #changeSource(neighbour: Neighbour, source: number): void {
    if (neighbour.servers > 0) return
    this.#book.retain(source)
    this.#book.release(neighbour.source)
    neighbour.source = source
  }

  #dropHeld(neighbour: Neighbour): number {
    const count = neighbour.held.length
    for (const frame of neighbour.held) this.waiting.giveBack(frame)
    neighbour.held.length = 0
    return count
  }

  #probe(neighbour: Neighbour, nowMs: number): void {
    const frame = this.#pool.take()
    if (frame === undefined) return
    neighbour.probedMs = nowMs
    neighbour.probes++
    const { bytes } = frame.memory
    const mac = this.#macs[neighbour.link]
    if (isIPv6Number(neighbour.address)) {
      writeSolicitation(bytes, frame.start, mac, this.#words(neighbour.source), this.#words(neighbour.address))
      frame.length = NEIGHBOUR_FRAME_LENGTH
    } else {
      writeArpFrame(bytes, frame.start, BROADCAST_MAC, {
        operation: ARP_REQUEST,
        senderMac: mac,
        senderAddress: neighbour.source,
        targetMac: UNKNOWN_MAC,
        targetAddress: neighbour.address,
      })
      frame.length = ARP_FRAME_LENGTH
    }
    frame.link = neighbour.link
    this.#emit(frame)
  }

  #words(address: number): Int32Array {
    return this.#book.words.subarray(address * ADDRESS_WORDS, (address + 1) * ADDRESS_WORDS)
  }
}
