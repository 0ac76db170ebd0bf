/**
 * The sync protocol of the kernel's IPVS: what its master daemon multicasts and its backup daemons take in. Big endian.
 *
 * A datagram of version 1 (a version 0 backup sees no entries in it, since its count stands in byte 0):
 * ```
 *  0      1         2      4         5         6       8
 * +------+---------+------+---------+---------+-------+---------------------------------------+
 * |  0   | sync id | size | entries | version |   0   | entries, each at a multiple of 4 bytes |
 * +------+---------+------+---------+---------+-------+---------------------------------------+
 * ```
 * One of its entries; `size` counts the options in, and its upper four bits are the entry's version, 0:
 * ```
 *  0      1          2      4       8       10      12      14      16       20          24
 * +------+----------+------+-------+-------+-------+-------+-------+--------+-----------+---------------------------------+
 * | type | protocol | size | flags | state | cport | vport | dport | fwmark | timeout s | client, virtual, server address |
 * +------+----------+------+-------+-------+-------+-------+-------+--------+-----------+---------------------------------+
 * ```
 * type bit 0: the addresses are IPv6 (16 bytes each, 72 in all) instead of IPv4 (4 bytes each, 36 in all). Options follow:
 * ```
 * +------+--------+------+   1: sequence data, 24 bytes: initial number, delta and previous delta, inwards, then outwards
 * | type | length | data |   2: what the persistence engine read from the packet   3: that engine's name, at most 16 bytes
 * +------+--------+------+   bit 0x40 of the type: may be skipped by who does not know it
 * ```
 * A datagram of version 0 has a header of 4 bytes and IPv4 entries of 24, 48 with sequence data (in the sender's byte order,
 * read here as little endian). It is read, never written:
 * ```
 *  0         1         2      4          0   1          2       4       6       8                                 20      22
 * +---------+---------+------+          +---+----------+-------+-------+-------+---------------------------------+-------+-------+
 * | entries | sync id | size |          | 0 | protocol | cport | vport | dport | client, virtual, server address | flags | state |
 * +---------+---------+------+          +---+----------+-------+-------+-------+---------------------------------+-------+-------+
 * ```
 * Version rule: none of the protocol's own; what is neither 1 nor laid out as 0 is refused.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_sync.c, include/uapi/linux/ip_vs.h (connection flags).
 */
export const SYNC_GROUP = '224.0.0.81'
export const SYNC_PORT = 8848

/** Connection flags that cross the wire. */
export const SYNC_FLAG = {
  methodMask: 0x0007,
  /** The server's replies do not pass the director. */
  noOutput: 0x0080,
  /** Counted as inactive on its server. */
  inactive: 0x0100,
  sequenceMask: 0x0600,
  /** A client port that is not known yet (FTP's data connections). */
  noClientPort: 0x0800,
  /** A persistence template. */
  template: 0x1000,
} as const

/** Values of SYNC_FLAG.methodMask. */
export const SYNC_METHOD = { nat: 0, local: 1, tunnel: 2, direct: 3 } as const

/** What a backup keeps of the flags. */
const FLAGS_TAKEN =
  SYNC_FLAG.methodMask |
  SYNC_FLAG.noOutput |
  SYNC_FLAG.inactive |
  SYNC_FLAG.sequenceMask |
  SYNC_FLAG.noClientPort |
  SYNC_FLAG.template

const VERSION = 1
const HEADER_LENGTH = 8
const HEADER_LENGTH_V0 = 4
const ADDRESSES = 24
const ENTRY_LENGTH_IPV4 = ADDRESSES + 3 * 4
const ENTRY_LENGTH_IPV6 = ADDRESSES + 3 * 16
const ENTRY_LENGTH_V0 = 24
const SEQUENCE_LENGTH = 24
const TYPE_IPV6 = 1
const SIZE_MASK = 0x0fff
const ENTRIES_MAX = 255

const OPTION_SEQUENCE = 1
const OPTION_ENGINE_DATA = 2
const OPTION_ENGINE_NAME = 3
const OPTION_MAY_BE_SKIPPED = 0x40
const ENGINE_NAME_MAX = 16

/** How one direction's sequence numbers are shifted. */
export interface SequenceShift {
  readonly initial: number
  readonly delta: number
  readonly previousDelta: number
}

export interface SyncEntry {
  readonly protocol: number
  /** Of SYNC_FLAG. */
  readonly flags: number
  /** The kernel's number of the state. */
  readonly state: number
  readonly clientPort: number
  readonly virtualPort: number
  readonly serverPort: number
  readonly firewallMark: number
  /** 0: what the protocol's state asks for (version 0 tells no other). */
  readonly timeoutS: number
  /** Each 4 bytes or each 16. */
  readonly clientAddress: Uint8Array
  readonly virtualAddress: Uint8Array
  readonly serverAddress: Uint8Array
  readonly sequence?: { readonly inwards: SequenceShift; readonly outwards: SequenceShift }
  readonly engineData?: Uint8Array
  /** One character a byte. */
  readonly engineName?: string
}

/** Why the rest of a datagram was given up; what stood before it counts. */
export type SyncFault = 'truncated' | 'unknown-entry-type' | 'unknown-entry-version' | 'bad-option'

export interface SyncMessage {
  readonly version: 0 | 1
  readonly syncId: number
  readonly entries: readonly SyncEntry[]
  /** Entries passed over because they have an option that must be understood and is not. */
  readonly skipped: number
  readonly fault?: SyncFault
}

/** Undefined for what is no datagram of this protocol: too short, or of another length than it says. */
export function parseSyncDatagram(bytes: Uint8Array): SyncMessage | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < HEADER_LENGTH_V0 || view.getUint16(2) !== bytes.length) return undefined
  const isVersion1 = bytes.length >= HEADER_LENGTH && bytes[0] === 0 && bytes[5] === VERSION && view.getUint16(6) === 0
  return isVersion1 ? parseVersion1(bytes, view) : parseVersion0(bytes, view)
}

function parseVersion1(bytes: Uint8Array, view: DataView): SyncMessage {
  const entries: SyncEntry[] = []
  let skipped = 0
  const give = (fault?: SyncFault): SyncMessage => ({ version: 1, syncId: bytes[1], entries, skipped, fault })
  let at = HEADER_LENGTH
  for (let left = bytes[4]; left > 0; left--) {
    if (at + ENTRY_LENGTH_IPV4 > bytes.length) return give('truncated')
    const size = view.getUint16(at + 2) & SIZE_MASK
    const end = at + size
    if (end > bytes.length) return give('truncated')
    if (view.getUint16(at + 2) > SIZE_MASK) return give('unknown-entry-version')
    const entry = parseEntry(bytes, view, at, end)
    if (typeof entry === 'string') {
      if (entry !== 'skip') return give(entry)
      skipped++
    } else entries.push(entry)
    at += (size + 3) & ~3
  }
  return give()
}

function parseEntry(bytes: Uint8Array, view: DataView, at: number, end: number): SyncEntry | SyncFault | 'skip' {
  const type = bytes[at]
  if (type !== 0 && (type & TYPE_IPV6) === 0) return 'unknown-entry-type'
  const addressLength = type & TYPE_IPV6 ? 16 : 4
  const options = at + ADDRESSES + 3 * addressLength
  if (options > end) return 'truncated'
  const read = parseOptions(bytes, view, options, end)
  if (typeof read === 'string') return read
  const address = (index: number) => {
    const from = at + ADDRESSES + index * addressLength
    return bytes.slice(from, from + addressLength)
  }
  return {
    protocol: bytes[at + 1],
    flags: view.getUint32(at + 4) & FLAGS_TAKEN,
    state: view.getUint16(at + 8),
    clientPort: view.getUint16(at + 10),
    virtualPort: view.getUint16(at + 12),
    serverPort: view.getUint16(at + 14),
    firewallMark: view.getUint32(at + 16),
    timeoutS: view.getUint32(at + 20),
    clientAddress: address(0),
    virtualAddress: address(1),
    serverAddress: address(2),
    ...read,
  }
}

type Options = Pick<SyncEntry, 'sequence' | 'engineData' | 'engineName'>

function parseOptions(bytes: Uint8Array, view: DataView, from: number, end: number): Options | 'bad-option' | 'skip' {
  const options: { -readonly [Name in keyof Options]: Options[Name] } = {}
  for (let at = from; at < end; ) {
    if (at + 2 > end) return 'bad-option'
    const type = bytes[at] & ~OPTION_MAY_BE_SKIPPED
    const length = bytes[at + 1]
    const data = at + 2
    if (length === 0 || data + length > end) return 'bad-option'
    if (type === OPTION_SEQUENCE) {
      if (length !== SEQUENCE_LENGTH || options.sequence) return 'bad-option'
      options.sequence = readSequence(view, data, false)
    } else if (type === OPTION_ENGINE_DATA) {
      if (options.engineData) return 'bad-option'
      options.engineData = bytes.slice(data, data + length)
    } else if (type === OPTION_ENGINE_NAME) {
      if (length > ENGINE_NAME_MAX || options.engineName !== undefined) return 'bad-option'
      options.engineName = String.fromCharCode(...bytes.subarray(data, data + length))
    } else if ((bytes[at] & OPTION_MAY_BE_SKIPPED) === 0) {
      return 'skip'
    }
    at = data + length
  }
  return options
}

function parseVersion0(bytes: Uint8Array, view: DataView): SyncMessage {
  const entries: SyncEntry[] = []
  let at = HEADER_LENGTH_V0
  let fault: SyncFault | undefined
  for (let left = bytes[0]; left > 0; left--) {
    const flags = at + ENTRY_LENGTH_V0 <= bytes.length ? view.getUint16(at + 20) & FLAGS_TAKEN : 0
    const length = ENTRY_LENGTH_V0 + (flags & SYNC_FLAG.sequenceMask ? SEQUENCE_LENGTH : 0)
    if (at + length > bytes.length) {
      fault = 'truncated'
      break
    }
    entries.push({
      protocol: bytes[at + 1],
      flags,
      state: view.getUint16(at + 22),
      clientPort: view.getUint16(at + 2),
      virtualPort: view.getUint16(at + 4),
      serverPort: view.getUint16(at + 6),
      firewallMark: 0,
      timeoutS: 0,
      clientAddress: bytes.slice(at + 8, at + 12),
      virtualAddress: bytes.slice(at + 12, at + 16),
      serverAddress: bytes.slice(at + 16, at + 20),
      ...(length > ENTRY_LENGTH_V0 && { sequence: readSequence(view, at + ENTRY_LENGTH_V0, true) }),
    })
    at += length
  }
  return { version: 0, syncId: bytes[1], entries, skipped: 0, fault }
}

function readSequence(view: DataView, at: number, littleEndian: boolean): NonNullable<SyncEntry['sequence']> {
  const shift = (from: number): SequenceShift => ({
    initial: view.getUint32(from, littleEndian),
    delta: view.getUint32(from + 4, littleEndian),
    previousDelta: view.getUint32(from + 8, littleEndian),
  })
  return { inwards: shift(at), outwards: shift(at + SEQUENCE_LENGTH / 2) }
}

/** Gathers entries into one datagram of version 1. */
export class SyncDatagramWriter {
  readonly #syncId: number
  readonly #maxLength: number
  #entries: Uint8Array[] = []
  #length = HEADER_LENGTH

  /** @param maxLength of a datagram, bytes; one whose only entry is longer is longer too */
  constructor(syncId: number, maxLength: number) {
    this.#syncId = syncId
    this.#maxLength = maxLength
  }

  get count(): number {
    return this.#entries.length
  }

  /** False when it no longer fits: finish the datagram first. */
  add(entry: SyncEntry): boolean {
    const bytes = encodeEntry(entry)
    const start = (this.#length + 3) & ~3
    if (this.count === ENTRIES_MAX) return false
    if (this.count > 0 && start + bytes.length > this.#maxLength) return false
    this.#entries.push(bytes)
    this.#length = start + bytes.length
    return true
  }

  /** The datagram; the writer is empty then. */
  finish(): Uint8Array {
    const bytes = new Uint8Array(this.#length)
    const view = new DataView(bytes.buffer)
    bytes[1] = this.#syncId
    view.setUint16(2, this.#length)
    bytes[4] = this.count
    bytes[5] = VERSION
    let at = HEADER_LENGTH
    for (const entry of this.#entries) {
      bytes.set(entry, at)
      at = (at + entry.length + 3) & ~3
    }
    this.#entries = []
    this.#length = HEADER_LENGTH
    return bytes
  }
}

function encodeEntry(entry: SyncEntry): Uint8Array {
  const { sequence, engineData, engineName } = entry
  const isIPv6 = entry.clientAddress.length === 16
  const fixed = isIPv6 ? ENTRY_LENGTH_IPV6 : ENTRY_LENGTH_IPV4
  const options: [type: number, data: Uint8Array][] = []
  if (sequence) options.push([OPTION_SEQUENCE, encodeSequence(sequence)])
  if (engineData) options.push([OPTION_ENGINE_DATA, engineData])
  if (engineName !== undefined)
    options.push([OPTION_ENGINE_NAME, Uint8Array.from(engineName, (character) => character.charCodeAt(0))])
  const length = options.reduce((sum, [, data]) => sum + 2 + data.length, fixed)
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  bytes[0] = isIPv6 ? TYPE_IPV6 : 0
  bytes[1] = entry.protocol
  view.setUint16(2, length)
  view.setUint32(4, entry.flags)
  view.setUint16(8, entry.state)
  view.setUint16(10, entry.clientPort)
  view.setUint16(12, entry.virtualPort)
  view.setUint16(14, entry.serverPort)
  view.setUint32(16, entry.firewallMark)
  view.setUint32(20, entry.timeoutS)
  let at = ADDRESSES
  for (const address of [entry.clientAddress, entry.virtualAddress, entry.serverAddress]) {
    bytes.set(address, at)
    at += address.length
  }
  for (const [type, data] of options) {
    bytes[at] = type
    bytes[at + 1] = data.length
    bytes.set(data, at + 2)
    at += 2 + data.length
  }
  return bytes
}

function encodeSequence({ inwards, outwards }: NonNullable<SyncEntry['sequence']>): Uint8Array {
  const view = new DataView(new ArrayBuffer(SEQUENCE_LENGTH))
  for (const [index, shift] of [inwards, outwards].entries()) {
    const at = (index * SEQUENCE_LENGTH) / 2
    view.setUint32(at, shift.initial)
    view.setUint32(at + 4, shift.delta)
    view.setUint32(at + 8, shift.previousDelta)
  }
  return new Uint8Array(view.buffer)
}
