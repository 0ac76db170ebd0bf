/**
 * The datagrams that come in fragments: which bytes of each have come, what its first fragment said, and the fragments that came
 * before it. Memory of fixed size; nobody can fill it alone, and nobody outside can choose where in it something falls.
 *
 * A datagram is known by source, destination, identification and protocol (RFC 791). It is forgotten when all of it has come,
 * after 30 s, or when it is the oldest and a new one needs the room.
 *
 * One datagram's words:
 * ```
 *  0 source   1 destination   2 identification << 16 | protocol   3 ports of the first fragment
 *  4 expiry, seconds          5 units that have come              6 units in all (0: not known)
 *  7 highest unit that came   8 first held fragment               9 1 when the first fragment has come
 * 10 next in its chain       11 newer      12 older              16.. a bit a unit of eight bytes
 * ```
 * Source: RFC 791 section 3.2; RFC 1858 and RFC 3128 (attacks); Linux net/ipv4/ip_fragment.c (30 s), net/ipv4/inet_fragment.c.
 */
import { hashWords } from '../table/keyed-hash.ts'
import type { PooledFrame } from './frame-pool.ts'

/** Index of a datagram; 0 is none. */
export type Datagram = number
export const NO_DATAGRAM = 0

const DATAGRAMS = 1024
const MOST_OF_A_SOURCE = DATAGRAMS / 16
const BUCKETS = 2048
const LIFETIME_S = 30
/** Fragments that wait for their first. */
const HELD = 1024
const MOST_HELD_OF_A_SOURCE = 32

const UNIT = 8
const WORDS = 16 + 65_536 / UNIT / 32
const AT = {
  source: 0,
  destination: 1,
  name: 2,
  ports: 3,
  expires: 4,
  came: 5,
  total: 6,
  highest: 7,
  held: 8,
  hasFirst: 9,
  next: 10,
  newer: 11,
  older: 12,
  units: 16,
} as const

export class Fragments {
  readonly #words = new Int32Array((DATAGRAMS + 1) * WORDS)
  readonly #heads = new Int16Array(BUCKETS)
  /** Datagrams, and held fragments, by the hash of their source. */
  readonly #ofSource = new Uint16Array(BUCKETS)
  readonly #heldOfSource = new Uint16Array(BUCKETS)
  readonly #heldFrames: (PooledFrame | undefined)[] = new Array(HELD + 1).fill(undefined)
  readonly #heldNext = new Int16Array(HELD + 1)
  readonly #heldPorts = new Int32Array(HELD + 1)
  readonly #heldBucket = new Uint16Array(HELD + 1)
  readonly #key: number
  readonly #giveUp: (frame: PooledFrame) => void
  #free = 0
  #freeHeld = 0
  #oldest = 0
  #newest = 0
  /** Held fragments whose first has come, in order. */
  #ready = 0
  #lastReady = 0
  #nowS = 0

  /**
   * @param key of the hash; secret
   * @param giveUp takes a held fragment whose first did not come
   */
  constructor(key: number, giveUp: (frame: PooledFrame) => void) {
    this.#key = key
    this.#giveUp = giveUp
    for (let datagram = DATAGRAMS; datagram > 0; datagram--) {
      this.#words[datagram * WORDS + AT.next] = this.#free
      this.#free = datagram
    }
    for (let held = HELD; held > 0; held--) {
      this.#heldNext[held] = this.#freeHeld
      this.#freeHeld = held
    }
  }

  /** Forgets what has run out. */
  setTime(nowMs: number): void {
    this.#nowS = Math.floor(nowMs / 1000)
    while (this.#oldest !== 0 && this.#words[this.#oldest * WORDS + AT.expires] <= this.#nowS) this.forget(this.#oldest)
  }

  /** The datagram that a fragment belongs to, made if it is new; NO_DATAGRAM when its source has too many already. */
  enter(source: number, destination: number, identification: number, protocol: number): Datagram {
    const words = this.#words
    const name = (identification << 16) | protocol
    const bucket = this.#bucket(source, destination, name)
    for (let datagram = this.#heads[bucket]; datagram !== 0; datagram = words[datagram * WORDS + AT.next]) {
      const at = datagram * WORDS
      if (
        words[at + AT.name] === name &&
        words[at + AT.source] === source &&
        words[at + AT.destination] === destination
      ) {
        return datagram
      }
    }
    const sourceBucket = this.#bucket(source, 0, 0)
    if (this.#ofSource[sourceBucket] >= MOST_OF_A_SOURCE) return NO_DATAGRAM
    if (this.#free === 0) this.forget(this.#oldest)
    const datagram = this.#free
    const at = datagram * WORDS
    this.#free = words[at + AT.next]
    words.fill(0, at, at + WORDS)
    words[at + AT.source] = source
    words[at + AT.destination] = destination
    words[at + AT.name] = name
    words[at + AT.expires] = this.#nowS + LIFETIME_S
    words[at + AT.next] = this.#heads[bucket]
    words[at + AT.older] = this.#newest
    if (this.#newest === 0) this.#oldest = datagram
    else words[this.#newest * WORDS + AT.newer] = datagram
    this.#newest = datagram
    this.#heads[bucket] = datagram
    this.#ofSource[sourceBucket]++
    return datagram
  }

  /**
   * Takes note of bytes that have come.
   * @param offset of the first, a multiple of eight
   * @param isLast no fragment comes behind this one
   * @returns false when they, or the end they claim, contradict what has come before
   */
  note(datagram: Datagram, offset: number, length: number, isLast: boolean): boolean {
    const words = this.#words
    const at = datagram * WORDS
    const from = offset / UNIT
    const to = Math.ceil((offset + length) / UNIT)
    const total = words[at + AT.total]
    if (total !== 0 && (isLast || to > total)) return false
    if (isLast && to < words[at + AT.highest]) return false
    const first = from >> 5
    const last = (to - 1) >> 5
    for (let word = first; word <= last; word++) {
      if ((words[at + AT.units + word] & mask(word, from, to)) !== 0) return false
    }
    for (let word = first; word <= last; word++) words[at + AT.units + word] |= mask(word, from, to)
    words[at + AT.came] += to - from
    if (to > words[at + AT.highest]) words[at + AT.highest] = to
    if (isLast) words[at + AT.total] = to
    return true
  }

  isComplete(datagram: Datagram): boolean {
    const at = datagram * WORDS
    return this.#words[at + AT.came] === this.#words[at + AT.total]
  }

  hasFirst(datagram: Datagram): boolean {
    return this.#words[datagram * WORDS + AT.hasFirst] === 1
  }

  /** The first four bytes of the datagram's transport header. */
  ports(datagram: Datagram): number {
    return this.#words[datagram * WORDS + AT.ports]
  }

  /** The first fragment has come: those that waited for it are ready. */
  setFirst(datagram: Datagram, ports: number): void {
    const at = datagram * WORDS
    this.#words[at + AT.hasFirst] = 1
    this.#words[at + AT.ports] = ports
    let held = this.#words[at + AT.held]
    this.#words[at + AT.held] = 0
    while (held !== 0) {
      const next = this.#heldNext[held]
      this.#heldPorts[held] = ports
      this.#heldNext[held] = 0
      if (this.#lastReady === 0) this.#ready = held
      else this.#heldNext[this.#lastReady] = held
      this.#lastReady = held
      held = next
    }
  }

  /** Whether another fragment of this datagram may wait. */
  mayHold(datagram: Datagram): boolean {
    const bucket = this.#bucket(this.#words[datagram * WORDS + AT.source], 0, 0)
    return this.#freeHeld !== 0 && this.#heldOfSource[bucket] < MOST_HELD_OF_A_SOURCE
  }

  /** Keeps a fragment until its first comes, if mayHold(). */
  hold(datagram: Datagram, frame: PooledFrame): void {
    const at = datagram * WORDS
    const held = this.#freeHeld
    this.#freeHeld = this.#heldNext[held]
    this.#heldFrames[held] = frame
    this.#heldNext[held] = this.#words[at + AT.held]
    this.#words[at + AT.held] = held
    this.#heldBucket[held] = this.#bucket(this.#words[at + AT.source], 0, 0)
    this.#heldOfSource[this.#heldBucket[held]]++
  }

  /** Hands each fragment that is ready to `forward`, with what its first fragment said. */
  release(forward: (frame: PooledFrame, ports: number) => void): void {
    while (this.#ready !== 0) {
      const held = this.#ready
      this.#ready = this.#heldNext[held]
      if (this.#ready === 0) this.#lastReady = 0
      forward(this.#take(held), this.#heldPorts[held])
    }
  }

  /** The datagram's place is free again. Fragments that waited in vain are given up. */
  forget(datagram: Datagram): void {
    const words = this.#words
    const at = datagram * WORDS
    for (let held = words[at + AT.held]; held !== 0; ) {
      const next = this.#heldNext[held]
      this.#giveUp(this.#take(held))
      held = next
    }
    const bucket = this.#bucket(words[at + AT.source], words[at + AT.destination], words[at + AT.name])
    if (this.#heads[bucket] === datagram) this.#heads[bucket] = words[at + AT.next]
    else {
      let before = this.#heads[bucket]
      while (words[before * WORDS + AT.next] !== datagram) before = words[before * WORDS + AT.next]
      words[before * WORDS + AT.next] = words[at + AT.next]
    }
    const newer = words[at + AT.newer]
    const older = words[at + AT.older]
    if (older === 0) this.#oldest = newer
    else words[older * WORDS + AT.newer] = newer
    if (newer === 0) this.#newest = older
    else words[newer * WORDS + AT.older] = older
    this.#ofSource[this.#bucket(words[at + AT.source], 0, 0)]--
    words[at + AT.next] = this.#free
    this.#free = datagram
  }

  #take(held: number): PooledFrame {
    const frame = this.#heldFrames[held] as PooledFrame
    this.#heldFrames[held] = undefined
    this.#heldOfSource[this.#heldBucket[held]]--
    this.#heldNext[held] = this.#freeHeld
    this.#freeHeld = held
    return frame
  }

  #bucket(first: number, second: number, third: number): number {
    return hashWords(first, second, third, this.#key) & (BUCKETS - 1)
  }
}

/** The bits of the units from `from` to before `to` that lie in this word. */
function mask(word: number, from: number, to: number): number {
  const low = word === from >> 5 ? -1 << (from & 31) : -1
  const high = word === (to - 1) >> 5 ? -1 >>> (31 - ((to - 1) & 31)) : -1
  return low & high
}
