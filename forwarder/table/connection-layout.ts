/**
 * How a connection lies in shared memory: 64 bytes each, both directions' index included.
 *
 * Key, 8 words of 32 bits, what a lookup compares (one half of a cache line):
 * ```
 *  0 next in the client chain   1 next in the server chain
 *  2..5 client address, as in ConnectionKey
 *  6 client port << 16 | virtual port      7 virtual address, by its number (address-book.ts)
 * ```
 * State, 7 words, what a packet changes:
 * ```
 *  0 server slot                1 server port << 16 | protocol << 8 | state
 *  2 expiry tick                3 timer next   4 timer previous
 *  5 flags << 16 | edition << 12 | return path (packets from bit 27, IPv6 in bit 31)
 *  6 version << 16 | second of the last replication
 * ```
 * A persistence template is in no server chain: word 1 of its key counts the connections that it has made (24 bits, as many as a table
 * has), above them for which edition of its service's persistence. A connection that it counts has four bits of that.
 *
 * Chain heads, 1 word: half as many buckets as connections, for each direction.
 *
 * Index 0 is nobody, so that fresh zeroed memory is an empty table and pages cost nothing until used.
 * Only the forwarding loop writes. Other threads read (connection-reader.ts).
 */

declare const tag: unique symbol
/** 1 to capacity - 1; 0 is none. */
export type ConnectionIndex = number & { readonly [tag]: 'ConnectionIndex' }
export const NO_CONNECTION = 0 as ConnectionIndex

export const KEY_WORDS = 8
export const KEY = { nextClient: 0, nextServer: 1, clientAddress: 2, ports: 6, virtualAddress: 7 } as const

export const STATE_WORDS = 7
export const STATE = {
  server: 0,
  portProtocolState: 1,
  expires: 2,
  timerNext: 3,
  timerPrevious: 4,
  flagsReturnPath: 5,
  versionSynced: 6,
} as const

/** The record has been given to the peers at least once, so every change goes to them too. */
export const FLAG_REPLICATED = 0x0001
/** Counted as inactive on its server. */
export const FLAG_INACTIVE = 0x0002
/** Waits in the half-open queue instead of the timer wheel. */
export const FLAG_HALF_OPEN = 0x0004
/** Replies do not pass here (TUN, DR): the one-way state table applies. */
export const FLAG_ONE_WAY = 0x0008
/** FTP's control connection: what it says is looked at. (0x0030 is the method: record-codec.ts.) */
export const FLAG_FTP = 0x0040
/** A data connection of FTP, expected or there: its server is that of the control connection, whatever its ports. */
export const FLAG_FTP_DATA = 0x0080
/** Of one datagram: found by the server's reply alone, counted nowhere, told to nobody. */
export const FLAG_ONE_PACKET = 0x0100
/** Made by a persistence template, which counts it. */
export const FLAG_CONTROLLED = 0x0200
/**
 * Nothing has proved it (engine/room.ts). The server's first reply will: of UDP, a connection and the template that made it; of TCP, that
 * there is a connection. A template may be proved otherwise, too.
 */
export const FLAG_UNANSWERED = 0x0400
/** The client's and the virtual address are IPv6. */
export const FLAG_IPV6 = 0x8000

const TENTATIVE = FLAG_UNANSWERED | FLAG_HALF_OPEN

/** Of TCP's, whether the connection is one that its server may know nothing of (engine/tentative-connections.ts). UDP is never half open. */
export function isTentative(flags: number): boolean {
  return (flags & TENTATIVE) === TENTATIVE
}

/** From this bit of the flags on, in four of them: how many packets the client has sent, up to MOST_PACKETS. They tell drop_entry who has said little. */
export const PACKETS_SHIFT = 11
export const MOST_PACKETS = 9
/** In the word of flags and return path. */
const PACKETS_WORD_SHIFT = PACKETS_SHIFT + 16
export const ONE_PACKET = 1 << PACKETS_WORD_SHIFT

/** By the word of flags and return path; the bit above is FLAG_IPV6. */
export function packetsOf(word: number): number {
  return (word >>> PACKETS_WORD_SHIFT) & 15
}

/** In the word of flags and return path: the path (engine/return-paths.ts), and above it for which edition a template counts the connection. */
export const RETURN_PATH_MASK = 0x0fff
const EDITION_SHIFT = 12
export const EDITION_MASK = 15 << EDITION_SHIFT

/** An edition of a service's persistence (virtual-service.ts), as a connection has room for it. */
export function editionBits(edition: number): number {
  return (edition << EDITION_SHIFT) & EDITION_MASK
}

/** Time in the tables is counted in ticks of 128 ms since the host started: 31 bits of them last for 8 years. */
export const TICK_MS = 128

/**
 * The C library puts memory of this size 16 bytes behind the start of a page; with those the header ends at a cache line, and no
 * key lies across two. Half of them would: an eighth of a packet's time in a table of a million connections.
 */
const HEADER_BYTES = 240
const HEADER = { capacity: 0, used: 1, fresh: 2, freeHead: 3, tick: 4, epochTicks: 5 } as const

/** The views of one table's memory. */
export class ConnectionMemory {
  readonly shared: SharedArrayBuffer
  readonly capacity: number
  /** Chain heads are found with this mask. */
  readonly bucketMask: number
  readonly keys: Int32Array
  readonly states: Int32Array
  readonly clientHeads: Int32Array
  readonly serverHeads: Int32Array
  readonly header: Int32Array

  /** @param shared memory made by ConnectionMemory.allocate() */
  constructor(shared: SharedArrayBuffer) {
    this.shared = shared
    this.header = new Int32Array(shared, 0, HEADER_BYTES / 4)
    const capacity = this.header[HEADER.capacity]
    const buckets = capacity / 2
    this.capacity = capacity
    this.bucketMask = buckets - 1
    let at = HEADER_BYTES
    this.keys = new Int32Array(shared, at, capacity * KEY_WORDS)
    at += this.keys.byteLength
    this.states = new Int32Array(shared, at, capacity * STATE_WORDS)
    at += this.states.byteLength
    this.clientHeads = new Int32Array(shared, at, buckets)
    at += this.clientHeads.byteLength
    this.serverHeads = new Int32Array(shared, at, buckets)
  }

  /** @param capacity a power of two; index 0 stays unused */
  static allocate(capacity: number): SharedArrayBuffer {
    if (capacity < 4 || (capacity & (capacity - 1)) !== 0) throw new RangeError(`not a power of two: ${capacity}`)
    const shared = new SharedArrayBuffer(HEADER_BYTES + capacity * ConnectionMemory.bytesPerConnection)
    new Int32Array(shared, 0, HEADER_BYTES / 4)[HEADER.capacity] = capacity
    return shared
  }

  static readonly bytesPerConnection: number = (KEY_WORDS + STATE_WORDS + 1) * 4

  /** Connections in the table. */
  get used(): number {
    return this.header[HEADER.used]
  }
  set used(count: number) {
    this.header[HEADER.used] = count
  }

  /** Indexes from here on have never been used. */
  get fresh(): number {
    return this.header[HEADER.fresh] || 1
  }
  set fresh(index: number) {
    this.header[HEADER.fresh] = index
  }

  /** First of the chain of freed indexes, linked through KEY.nextClient. */
  get freeHead(): number {
    return this.header[HEADER.freeHead]
  }
  set freeHead(index: number) {
    this.header[HEADER.freeHead] = index
  }

  /** The loop's time, in ticks since the clock's origin. */
  get tick(): number {
    return this.header[HEADER.tick]
  }
  set tick(tick: number) {
    this.header[HEADER.tick] = tick
  }

  /** Wall clock ticks minus table ticks, of which versions are made: as of the forwarder's start, since no version may go back. */
  get epochTicks(): number {
    return this.header[HEADER.epochTicks]
  }
  set epochTicks(ticks: number) {
    this.header[HEADER.epochTicks] = ticks
  }

  /** A version without anything before it, made in this tick. */
  versionAt(tick: number): number {
    return (tick + this.epochTicks) & 0xffff
  }
}
