/** The addresses that the forwarder owns, by their numbers, found by one probe or two for every packet. */
import { isHostAddress } from '../../protocol/packet/ipv4.ts'
import { isHostIPv6 } from '../../protocol/packet/ipv6-address.ts'
import type { VirtualAddress } from '../commands.ts'
import { type AddressBook, NO_ADDRESS } from '../table/address-book.ts'

export const ADDRESS_UNKNOWN = 0
export const ADDRESS_STANDBY = 1
export const ADDRESS_LINGERING = 2
export const ADDRESS_ACTIVE = 3

/** After a takeover, what the director before this one told the peers last may be under way, even if all of them have too much to do. */
const LAST_WORDS_MS = 1000
/** Of an address that is not active. */
const NEVER_MS = Number.NEGATIVE_INFINITY

const STATES: Record<VirtualAddress['state'], number> = {
  standby: ADDRESS_STANDBY,
  lingering: ADDRESS_LINGERING,
  active: ADDRESS_ACTIVE,
}

export class VirtualAddresses {
  /** Open addressing; an empty cell holds ADDRESS_UNKNOWN as its state. */
  #addresses = new Int32Array(8)
  #states = new Uint8Array(8)
  #links = new Uint8Array(8)
  #takenMs = new Float64Array(8)
  #macs: (Uint8Array | undefined)[] = []
  #mask = 7
  /** The state of the best of them; ADDRESS_ACTIVE when there is none: then nobody else can be meant. */
  bestState = ADDRESS_ACTIVE
  /** Nobody who asks where one of them is is answered: we may not know it ourselves. */
  isSilent = false
  /** Nor is anybody later than this: whoever decides which of them are active has not been heard for too long. */
  answersUntilMs = Number.POSITIVE_INFINITY
  readonly #book: AddressBook
  /** Numbers that the book keeps for us. */
  #retained: number[] = []
  /** When the last of them became active, of those that are. */
  #lastTakenMs = NEVER_MS
  #nowMs = 0

  constructor(book: AddressBook) {
    this.#book = book
  }

  setTime(nowMs: number): void {
    this.#nowMs = nowMs
  }

  /** @returns whether one that was active is lingering now */
  replace(addresses: readonly VirtualAddress[], links: readonly string[]): boolean {
    let size = 8
    while (size < addresses.length * 4) size *= 2
    const active = this.#retained.filter((value) => this.stateOf(value) === ADDRESS_ACTIVE)
    const takenMs = new Map(active.map((value) => [value, this.#takenMsOf(value)]))
    this.#addresses = new Int32Array(size)
    this.#states = new Uint8Array(size)
    this.#links = new Uint8Array(size)
    this.#takenMs = new Float64Array(size).fill(NEVER_MS)
    this.#lastTakenMs = NEVER_MS
    this.#macs = Array(size).fill(undefined)
    this.#mask = size - 1
    this.bestState = addresses.length === 0 ? ADDRESS_ACTIVE : ADDRESS_STANDBY
    const before = this.#retained
    this.#retained = []
    for (const { address, link, state, mac } of addresses) {
      const value = this.#book.internText(address)
      if (value === NO_ADDRESS) continue
      this.#book.retain(value)
      this.#retained.push(value)
      let cell = this.#cell(value)
      while (this.#states[cell] !== ADDRESS_UNKNOWN && this.#addresses[cell] !== value) cell = (cell + 1) & this.#mask
      this.#addresses[cell] = value
      this.#links[cell] = links.indexOf(link)
      this.#macs[cell] = mac
      this.#states[cell] = STATES[state]
      this.#takenMs[cell] = state === 'active' ? (takenMs.get(value) ?? this.#nowMs) : NEVER_MS
      this.#lastTakenMs = Math.max(this.#lastTakenMs, this.#takenMs[cell])
      this.bestState = Math.max(this.bestState, STATES[state])
    }
    const resigned = active.some((value) => this.stateOf(value) === ADDRESS_LINGERING)
    for (const value of before) this.#book.release(value)
    return resigned
  }

  /** ADDRESS_UNKNOWN when it is not ours. */
  stateOf(address: number): number {
    let cell = this.#cell(address)
    while (this.#states[cell] !== ADDRESS_UNKNOWN) {
      if (this.#addresses[cell] === address) return this.#states[cell]
      cell = (cell + 1) & this.#mask
    }
    return ADDRESS_UNKNOWN
  }

  /** As stateOf(), of an address that has connections: one that is none of ours, as what a firewall mark's rule names, is as the best of ours. */
  stateOfServed(address: number): number {
    const state = this.stateOf(address)
    return state === ADDRESS_UNKNOWN ? this.bestState : state
  }

  /** Whether this director has the packets of connections to an address. */
  isServedHere(address: number): boolean {
    return this.stateOfServed(address) === ADDRESS_ACTIVE
  }

  /** Whether the address is active, and became so at most `ms` ago. One comparison when none did. */
  wasTakenWithin(ms: number, address: number): boolean {
    return this.#nowMs - this.#lastTakenMs < ms && this.#nowMs - this.#takenMsOf(address) < ms
  }

  /** Whether it was taken so lately that something may yet be heard of its connections from whoever had it before. */
  wasJustTaken(address: number): boolean {
    return this.wasTakenWithin(LAST_WORDS_MS, address)
  }

  /** Whether a packet from this address is a lie: no host can have it, or it is ours. */
  isMartian(source: number): boolean {
    return !isHostAddress(source) || this.stateOf(source) !== ADDRESS_UNKNOWN
  }

  /** As isMartian(), of an IPv6 packet. */
  isMartian6(first: number, second: number, third: number, fourth: number): boolean {
    if (!isHostIPv6(first, second, third, fourth)) return true
    return this.stateOf(this.#book.find(first, second, third, fourth)) !== ADDRESS_UNKNOWN
  }

  /** The link on which one of ours is answered for. */
  linkOf(address: number): number {
    let cell = this.#cell(address)
    while (this.#addresses[cell] !== address) cell = (cell + 1) & this.#mask
    return this.#links[cell]
  }

  /** The virtual router MAC that an address is answered for with; undefined when it is the link's own, or the address not ours. */
  macOf(address: number): Uint8Array | undefined {
    let cell = this.#cell(address)
    while (this.#states[cell] !== ADDRESS_UNKNOWN) {
      if (this.#addresses[cell] === address) return this.#macs[cell]
      cell = (cell + 1) & this.#mask
    }
    return undefined
  }

  /** Whether ARP or neighbour discovery for the address is answered on this link. */
  isAnsweredOn(address: number, link: number): boolean {
    if (this.isSilent || this.#nowMs > this.answersUntilMs) return false
    let cell = this.#cell(address)
    while (this.#states[cell] !== ADDRESS_UNKNOWN) {
      if (this.#addresses[cell] === address) {
        return this.#states[cell] === ADDRESS_ACTIVE && this.#links[cell] === link
      }
      cell = (cell + 1) & this.#mask
    }
    return false
  }

  #takenMsOf(address: number): number {
    let cell = this.#cell(address)
    while (this.#states[cell] !== ADDRESS_UNKNOWN) {
      if (this.#addresses[cell] === address) return this.#takenMs[cell]
      cell = (cell + 1) & this.#mask
    }
    return NEVER_MS
  }

  #cell(address: number): number {
    return (Math.imul(address, 0x9e3779b1) >>> 16) & this.#mask
  }
}
