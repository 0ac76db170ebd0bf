/**
 * IPv6 header and the walk along its extension headers (RFC 8200), for the forwarder.
 *
 * ```
 *  0 version, traffic class, flow label (4)   4 payload length (2)   6 next header   7 hop limit
 *  8 source (16)                             24 destination (16)
 * ```
 */
import { writeInt32, writeUint16 } from './bytes.ts'
import { writeIPv6Words } from './ipv6-address.ts'

export const IPV6_HEADER_LENGTH = 40
export const IPV6 = { flow: 0, payloadLength: 4, nextHeader: 6, hopLimit: 7, source: 8, destination: 24 } as const

export const PROTOCOL_HOP_BY_HOP = 0
export const PROTOCOL_IPV6 = 41
export const PROTOCOL_ROUTING = 43
export const PROTOCOL_FRAGMENT = 44
export const PROTOCOL_ICMPV6 = 58
export const PROTOCOL_DESTINATION_OPTIONS = 60

/** Every link carries packets of this length whole (RFC 8200 section 5). */
export const IPV6_MINIMUM_MTU = 1280

/** The fragment header (RFC 8200 section 4.5): what follows (1), reserved (1), offset and flag (2), identification (4). */
export const FRAGMENT = { nextHeader: 0, offset: 2, identification: 4 } as const
export const FRAGMENT_HEADER_LENGTH = 8
/** Of its second word: the offset, in bytes, and whether there are more fragments. */
export const FRAGMENT_OFFSET = 0xfff8
export const FRAGMENT_MORE = 1
/** A fragment that is the whole packet is no fragment (RFC 6946). */
const IS_FRAGMENT = FRAGMENT_OFFSET | FRAGMENT_MORE

/** RFC 8200 section 4.1 knows seven kinds, one of which may come twice; who sends more hides something. */
const MOST_EXTENSION_HEADERS = 8

export const WALK_TRUNCATED = -1
export const WALK_TOO_LONG = -2
export const WALK_FRAGMENT = -3

/**
 * Where the transport header is: its offset from the IPv6 header << 8 | its protocol, or one of the WALK_ codes below 0: the
 * packet ends before, it has too many headers, or it is one fragment of several. A routing header is walked over whatever it
 * says: the destination in the IPv6 header is this hop's business.
 * @param end offset behind the packet
 */
export function walkToTransport(view: DataView, ip: number, end: number): number {
  return walk(view, ip, end, IS_FRAGMENT)
}

/** As walkToTransport(), but in a first fragment too, behind whose fragment header there is a transport header as well. */
export function walkInFragment(view: DataView, ip: number, end: number): number {
  return walk(view, ip, end, FRAGMENT_OFFSET)
}

/** Where the fragment header is of a packet for which walkToTransport() said WALK_FRAGMENT: its offset from the IPv6 header. */
export function fragmentHeaderAt(view: DataView, ip: number): number {
  let protocol = view.getUint8(ip + IPV6.nextHeader)
  let at = ip + IPV6_HEADER_LENGTH
  while (protocol !== PROTOCOL_FRAGMENT || (view.getUint16(at + FRAGMENT.offset) & IS_FRAGMENT) === 0) {
    const length = protocol === PROTOCOL_FRAGMENT ? FRAGMENT_HEADER_LENGTH : (view.getUint8(at + 1) + 1) << 3
    protocol = view.getUint8(at)
    at += length
  }
  return at - ip
}

/** @param stopBits bits of a fragment header's second word that end the walk there */
function walk(view: DataView, ip: number, end: number, stopBits: number): number {
  let protocol = view.getUint8(ip + IPV6.nextHeader)
  let at = ip + IPV6_HEADER_LENGTH
  for (let headers = 0; headers <= MOST_EXTENSION_HEADERS; headers++) {
    if (!isExtensionHeader(protocol)) return ((at - ip) << 8) | protocol
    if (at + 8 > end) return WALK_TRUNCATED
    let length = FRAGMENT_HEADER_LENGTH
    if (protocol === PROTOCOL_FRAGMENT) {
      if ((view.getUint16(at + FRAGMENT.offset) & stopBits) !== 0) return WALK_FRAGMENT
    } else {
      length = (view.getUint8(at + 1) + 1) << 3
    }
    protocol = view.getUint8(at)
    at += length
    if (at > end) return WALK_TRUNCATED
  }
  return WALK_TOO_LONG
}

function isExtensionHeader(protocol: number): boolean {
  return (
    protocol === PROTOCOL_HOP_BY_HOP ||
    protocol === PROTOCOL_ROUTING ||
    protocol === PROTOCOL_FRAGMENT ||
    protocol === PROTOCOL_DESTINATION_OPTIONS
  )
}

/** Length of the packet at `at`, or 0 when it has no sound IPv6 header or does not fit into `available` bytes. */
export function soundIPv6Length(view: DataView, at: number, available: number): number {
  if (available < IPV6_HEADER_LENGTH || view.getUint8(at) >> 4 !== 6) return 0
  const length = IPV6_HEADER_LENGTH + view.getUint16(at + IPV6.payloadLength)
  return length > available ? 0 : length
}

/** The eight bits that are TOS in IPv4: differentiated services and congestion notification. */
export function trafficClass(view: DataView, at: number): number {
  return (view.getUint16(at) >> 4) & 0xff
}

export interface IPv6Fields {
  /** 8 bits; 0 unless given. */
  trafficClass?: number
  /** 20 bits; 0 unless given. */
  flowLabel?: number
  payloadLength: number
  nextHeader: number
  hopLimit: number
  source: ArrayLike<number>
  destination: ArrayLike<number>
}

/** Writes a header of 40 bytes. */
export function writeIPv6(bytes: Uint8Array, at: number, fields: IPv6Fields): void {
  writeInt32(bytes, at, (6 << 28) | ((fields.trafficClass ?? 0) << 20) | (fields.flowLabel ?? 0))
  writeUint16(bytes, at + IPV6.payloadLength, fields.payloadLength)
  bytes[at + IPV6.nextHeader] = fields.nextHeader
  bytes[at + IPV6.hopLimit] = fields.hopLimit
  writeIPv6Words(bytes, at + IPV6.source, fields.source)
  writeIPv6Words(bytes, at + IPV6.destination, fields.destination)
}

/**
 * Running sum of the pseudo-header of the packet whose IPv6 header is at `ip` (RFC 8200 section 8.1). Of a packet with a routing
 * header the final destination would count; such a packet's checksum is only ever changed by its difference.
 */
export function pseudoHeaderSumIPv6(bytes: Uint8Array, ip: number, protocol: number, transportLength: number): number {
  let sum = protocol + (transportLength >>> 16) + (transportLength & 0xffff)
  for (let at = ip + IPV6.source; at < ip + IPV6_HEADER_LENGTH; at += 2) sum += (bytes[at] << 8) | bytes[at + 1]
  return sum
}
