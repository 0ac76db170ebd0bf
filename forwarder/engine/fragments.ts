/**
 * The datagrams that come in fragments: which bytes of each have come, what its first fragment said, and the fragments that came
 * before it. Memory of fixed size; nobody can fill it alone, and nobody outside can choose where in it something falls.
 *
 * A datagram is known by its name, of ten words: source, destination, identification and kind. An IPv4 address is the first of
 * its four words and the others 0, and the kind is the protocol (RFC 791); of IPv6 it is KIND_IPV6, since the fragments may name
 * different protocols (RFC 8200 section 4.5). A datagram is forgotten when all of it has come, after 30 s (RFC 8200 asks for at most
 * 60), or when it is the oldest and a new one needs the room. A sender is an IPv4 address or an IPv6 network of /64, whose
 * addresses a host can choose as it likes.
 *
 * One datagram's words:
 * ```
 *  0 its name                10 ports of the first fragment     11 protocol of the first fragment
 * 12 expiry, seconds         13 units that have come            14 units in all (0: not known)
 * 15 highest unit that came  16 first held fragment             17 1 when the first fragment has come
 * 18 next in its chain       19 newer      20 older             24.. a bit a unit of eight bytes
 * ```
 * Source: RFC 791 section 3.2, RFC 8200 section 4.5; RFC 1858 and RFC 3128 (attacks); Linux net/ipv4/ip_fragment.c (30 s),
 * net/ipv4/inet_fragment.c.
 */
import { hashWords } from '../table/keyed-hash.ts'
import type { PooledFrame } from './frame-pool.ts'

/** Index of a datagram; 0 is none. */
export type Datagram = number
export const NO_DATAGRAM = 0

/** Places in a datagram's name. */
export const NAME = { source: 0, destination: 4, identification: 8, kind: 9 } as const
export const NAME_WORDS = 10
/** No protocol: those have eight bits. */
export const KIND_IPV6 = 0x100

const DATAGRAMS = 1024
const MOST_OF_A_SOURCE = DATAGRAMS / 16
const BUCKETS = 2048
const LIFETIME_S = 30
/** Fragments that wait for their first. */
const HELD = 1024
const MOST_HELD_OF_A_SOURCE = 32

const UNIT = 8
const WORDS = 24 + 65_536 / UNIT / 32
const AT = {
  name: 0,
  ports: 10,
  protocol: 11,
  expires: 12,
  came: 13,
  total: 14,
  highest: 15,
  held: 16,
  hasFirst: 17,
  next: 18,
  newer: 19,
  older: 20,
  units: 24,
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
  readonly #heldProtocol = new Uint8Array(HELD + 1)
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

  /** The datagram that a fragment belongs to, made if it is new; NO_DATAGRAM when its sender has too many already. */
  enter(name: Int32Array): Datagram {
    const words = this.#words
    const bucket = this.#bucketOf(name, 0)
    for (let datagram = this.#heads[bucket]; datagram !== 0; datagram = words[datagram * WORDS + AT.next]) {
      if (hasName(words, datagram * WORDS + AT.name, name)) return datagram
    }
    const sourceBucket = this.#sourceBucketOf(name, 0)
    if (this.#ofSource[sourceBucket] >= MOST_OF_A_SOURCE) return NO_DATAGRAM
    if (this.#free === 0) this.forget(this.#oldest)
    const datagram = this.#free
    const at = datagram * WORDS
    this.#free = words[at + AT.next]
    words.fill(0, at, at + WORDS)
    words.set(name, at + AT.name)
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

  /** As setFirst() was told. */
  ports(datagram: Datagram): number {
    return this.#words[datagram * WORDS + AT.ports]
  }

  /** As setFirst() was told. */
  protocol(datagram: Datagram): number {
    return this.#words[datagram * WORDS + AT.protocol]
  }

  /** The first fragment has come, and says by which protocol and ports its connection is found: those that waited for it are ready. */
  setFirst(datagram: Datagram, protocol: number, ports: number): void {
    const at = datagram * WORDS
    this.#words[at + AT.hasFirst] = 1
    this.#words[at + AT.protocol] = protocol
    this.#words[at + AT.ports] = ports
    let held = this.#words[at + AT.held]
    this.#words[at + AT.held] = 0
    while (held !== 0) {
      const next = this.#heldNext[held]
      this.#heldPorts[held] = ports
      this.#heldProtocol[held] = protocol
      this.#heldNext[held] = 0
      if (this.#lastReady === 0) this.#ready = held
      else this.#heldNext[this.#lastReady] = held
      this.#lastReady = held
      held = next
    }
  }

  /** Whether another fragment of this datagram may wait. */
  mayHold(datagram: Datagram): boolean {
    const bucket = this.#sourceBucketOf(this.#words, datagram * WORDS + AT.name)
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
    this.#heldBucket[held] = this.#sourceBucketOf(this.#words, at + AT.name)
    this.#heldOfSource[this.#heldBucket[held]]++
  }

  /** Hands each fragment that is ready to `forward`, with what its first fragment said. */
  release(forward: (frame: PooledFrame, protocol: number, ports: number) => void): void {
    while (this.#ready !== 0) {
      const held = this.#ready
      this.#ready = this.#heldNext[held]
      if (this.#ready === 0) this.#lastReady = 0
      forward(this.#take(held), this.#heldProtocol[held], this.#heldPorts[held])
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
    const bucket = this.#bucketOf(words, at + AT.name)
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
    this.#ofSource[this.#sourceBucketOf(words, at + AT.name)]--
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

  #bucketOf(words: Int32Array, at: number): number {
    let hash = this.#key
    for (let word = at; word < at + NAME_WORDS; word += 2) hash = hashWords(words[word], words[word + 1], 0, hash)
    return hash & (BUCKETS - 1)
  }

  /** Of a sender, whose addresses may differ in their last two words. */
  #sourceBucketOf(words: Int32Array, at: number): number {
    return hashWords(words[at], words[at + 1], 0, this.#key) & (BUCKETS - 1)
  }
}

function hasName(words: Int32Array, at: number, name: Int32Array): boolean {
  for (let word = 0; word < NAME_WORDS; word++) if (words[at + word] !== name[word]) return false
  return true
}

/** The bits of the units from `from` to before `to` that lie in this word. */
function mask(word: number, from: number, to: number): number {
  const low = word === from >> 5 ? -1 << (from & 31) : -1
  const high = word === (to - 1) >> 5 ? -1 >>> (31 - ((to - 1) & 31)) : -1
  return low & high
}
