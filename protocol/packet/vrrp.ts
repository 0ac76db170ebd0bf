/**
 * VRRP (RFC 9568 section 5): who holds the virtual addresses, said to 224.0.0.18 or ff02::12 (or, by agreement, to each
 * peer's own address) in IP protocol 112. Version 3:
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * +-------+-------+---------------+---------------+---------------+
 * |   3   |   1   |     VRID      |   priority    | address count |
 * +-------+-------+---------------+---------------+---------------+
 * |   0   |  interval, centisec.  |           checksum            |
 * +-------+-----------------------+-------------------------------+
 * |     address, once per count: 4 bytes of IPv4, 16 of IPv6      |
 * +---------------------------------------------------------------+
 * ```
 *
 * Version 2 (RFC 3768 section 5), of IPv4 alone:
 *
 * ```
 * +-------+-------+---------------+---------------+---------------+
 * |   2   |   1   |     VRID      |   priority    | address count |
 * +-------+-------+---------------+---------------+---------------+
 * | authentication| interval, sec.|           checksum            |
 * +---------------+---------------+-------------------------------+
 * |                 IPv4 address, once per count                  |
 * +---------------------------------------------------------------+
 * |  8 bytes of authentication data: 0 when sent, not looked at   |
 * +---------------------------------------------------------------+
 * ```
 *
 * Authentication is 0, none: the RFC took the others out. The checksum is over the message alone.
 *
 * Behind either may be a trailer of our own that proves who sent it (vrrp-trailer.ts).
 *
 * Which family the message is of, the packet around it says: here, the sender's address.
 *
 * The checksum of version 3 over IPv4 has more than one reading. RFC 5798 was unclear, and keepalived, tcpdump and Wireshark put
 * a pseudo-header of source, destination, protocol and length before the message; RFC 9568 section 5.2.8 covers the
 * message alone. And keepalived until 1.3.6, later ones with `old_unicast_checksum`, has the group in the pseudo-header even of
 * what goes to a peer's own address. All are accepted, and the decoder tells which it was, so that a peer can be answered in its
 * own way. Over IPv6 the pseudo-header of the packet always counts.
 */
import { formatIPv4, parseIPv4, readInt32, readUint16, writeInt32, writeUint16 } from './bytes.ts'
import { checksum, pseudoHeaderSum } from './checksum.ts'
import { IPV4, IPV4_HEADER_LENGTH, soundIPv4HeaderLength } from './ipv4.ts'
import { IPV6, IPV6_HEADER_LENGTH, IPV6_MINIMUM_MTU, pseudoHeaderSumIPv6 } from './ipv6.ts'
import { ADDRESS_BYTES, isIPv6Text, parseIPv6, readIPv6Text, writeIPv6Words } from './ipv6-address.ts'
import { isCovered } from './prefix.ts'
import { isVrrpTrailer, VRRP_TRAILER_LENGTH } from './vrrp-trailer.ts'

export const PROTOCOL_VRRP = 112
export const VRRP_GROUP_IPV4 = '224.0.0.18'
export const VRRP_GROUP_IPV6 = 'ff02::12'
/** The hop limit of every advertisement: a packet that was routed here from elsewhere arrives with less. */
export const VRRP_HOP_LIMIT = 255
/** Priority of a router that resigns. */
export const PRIORITY_RESIGN = 0
/** Priority of a router that owns the addresses. */
export const PRIORITY_OWNER = 255

const TYPE_ADVERTISEMENT = 1
const HEADER_LENGTH = 8
const VRRP = { versionAndType: 0, vrid: 1, priority: 2, count: 3, interval: 4, checksum: 6 } as const
/** Version 2 has two bytes in place of version 3's interval. */
const VRRP2 = { authentication: 4, interval: 5 } as const
const AUTHENTICATION_NONE = 0
const AUTHENTICATION_LENGTH = 8
/** Bytes of an advertisement over IPv6 at most, so that it is one packet on every link. */
const LONGEST_IPV6_MESSAGE = IPV6_MINIMUM_MTU - IPV6_HEADER_LENGTH
/** Addresses of a virtual router of IPv6 at most. */
export const MOST_IPV6_ADDRESSES = Math.floor((LONGEST_IPV6_MESSAGE - HEADER_LENGTH) / ADDRESS_BYTES)
/** And of one whose advertisements have a trailer. */
export const MOST_SIGNED_IPV6_ADDRESSES = Math.floor(
  (LONGEST_IPV6_MESSAGE - VRRP_TRAILER_LENGTH - HEADER_LENGTH) / ADDRESS_BYTES,
)

export type VrrpChecksum = 'message' | 'pseudo-header' | 'group-pseudo-header'

export type VrrpVersion = 2 | 3

export interface Advertisement {
  readonly version: VrrpVersion
  /** 1 to 255. */
  readonly vrid: number
  /** 0 (resigns) to 255 (owns the addresses). */
  readonly priority: number
  /** Version 3: a multiple of 10, 10 to 40,950. Version 2: a multiple of 1000, 1000 to 255,000. */
  readonly intervalMs: number
  readonly addresses: readonly string[]
}

/** A VRRP message and what the IP header said of it. */
export interface VrrpDatagram {
  readonly source: string
  readonly destination: string
  readonly hopLimit: number
  readonly message: Uint8Array
}

/** Why a packet is not believed. Each is a counter. */
export const VRRP_REFUSALS = [
  'ip-header',
  'protocol',
  'hop-limit',
  'destination',
  'source',
  'version',
  'type',
  'length',
  'vrid',
  'authentication',
  'interval',
  'count',
  'checksum',
  'unsigned',
  'key',
  'signature',
  'replay',
  'clock',
] as const
export type VrrpRefusal = (typeof VRRP_REFUSALS)[number]

export type Decoded<Value> = ({ readonly ok: true } & Value) | { readonly ok: false; readonly reason: VrrpRefusal }

export interface DecodedAdvertisement {
  readonly advertisement: Advertisement
  readonly checksum: VrrpChecksum
  /** Has a trailer (vrrp-trailer.ts). Whether that is a true one, those may say who have the keys. */
  readonly isSigned: boolean
}

/** Where the advertisements of a sender with this address go, unless its peers are named. */
export function vrrpGroupOf(source: string): string {
  return isIPv6Text(source) ? VRRP_GROUP_IPV6 : VRRP_GROUP_IPV4
}

/**
 * The message of an advertisement that goes from `source` to `destination`.
 * @param checksumKind counts for version 3 over IPv4 alone
 */
export function encodeAdvertisement(
  advertisement: Advertisement,
  source: string,
  destination: string,
  checksumKind: VrrpChecksum,
): Uint8Array {
  const { version, addresses, intervalMs } = advertisement
  const isIPv6 = isIPv6Text(source)
  const message = new Uint8Array(messageLength(version, addresses.length, isIPv6))
  message[VRRP.versionAndType] = (version << 4) | TYPE_ADVERTISEMENT
  message[VRRP.vrid] = advertisement.vrid
  message[VRRP.priority] = advertisement.priority
  message[VRRP.count] = addresses.length
  if (version === 2) message[VRRP2.interval] = intervalMs / 1000
  else writeUint16(message, VRRP.interval, intervalMs / 10)
  for (const [index, address] of addresses.entries()) {
    const at = HEADER_LENGTH + index * addressLength(isIPv6)
    if (isIPv6) writeIPv6Words(message, at, parseIPv6(address))
    else writeInt32(message, at, parseIPv4(address))
  }
  const isAlone = version === 2 || (checksumKind === 'message' && !isIPv6)
  const covered = checksumKind === 'group-pseudo-header' && !isIPv6 ? VRRP_GROUP_IPV4 : destination
  const initial = isAlone ? 0 : pseudoHeader(source, covered, message.length)
  writeUint16(message, VRRP.checksum, checksum(message, 0, message.length, initial))
  return message
}

/**
 * Checks and reads a datagram as RFC 9568 section 7.1 and RFC 3768 section 7.1 ask, except for what needs to know the router's
 * configuration.
 * @param own the receiver's address. What is sent to that and not to the group may have been routed, and come from any address:
 *   keepalived's rule for unicast. Which senders are believed is for the router to say
 */
export function decodeAdvertisement(datagram: VrrpDatagram, own: string): Decoded<DecodedAdvertisement> {
  const { message, source, destination } = datagram
  const isIPv6 = isIPv6Text(source)
  if (destination !== own) {
    if (datagram.hopLimit !== VRRP_HOP_LIMIT) return refuse('hop-limit')
    if (destination !== vrrpGroupOf(source)) return refuse('destination')
    // Of a router of IPv6 the link-local address speaks (RFC 9568 section 5.1.2.1).
    if (isIPv6 && !isCovered(source, 'fe80::/10')) return refuse('source')
  }
  if (message.length < HEADER_LENGTH) return refuse('length')
  const version = message[VRRP.versionAndType] >> 4
  if (version !== 3 && (version !== 2 || isIPv6)) return refuse('version')
  if ((message[VRRP.versionAndType] & 15) !== TYPE_ADVERTISEMENT) return refuse('type')
  const count = message[VRRP.count]
  if (count === 0) return refuse('count')
  const length = messageLength(version, count, isIPv6)
  const isSigned = isVrrpTrailer(message.subarray(length))
  if (message.length !== length && !isSigned) return refuse('length')
  if (message[VRRP.vrid] === 0) return refuse('vrid')
  if (version === 2 && message[VRRP2.authentication] !== AUTHENTICATION_NONE) return refuse('authentication')
  const intervalMs = readIntervalMs(message, version)
  if (intervalMs === 0) return refuse('interval')
  const checksumKind = checksumKindOf({ ...datagram, message: message.subarray(0, length) }, version)
  if (checksumKind === undefined) return refuse('checksum')
  const addresses = Array.from({ length: count }, (_, index) => {
    const at = HEADER_LENGTH + index * addressLength(isIPv6)
    return isIPv6 ? readIPv6Text(message, at) : formatIPv4(readInt32(message, at))
  })
  return {
    ok: true,
    advertisement: { version, vrid: message[VRRP.vrid], priority: message[VRRP.priority], intervalMs, addresses },
    checksum: checksumKind,
    isSigned,
  }
}

/** The datagram in a whole IPv4 packet, as a raw socket delivers it. The message is a view into `packet`. */
export function readVrrpPacket(packet: Uint8Array): Decoded<{ readonly datagram: VrrpDatagram }> {
  const headerLength = soundIPv4HeaderLength(new DataView(packet.buffer, packet.byteOffset), 0, packet.length)
  if (headerLength === 0) return refuse('ip-header')
  if (packet[IPV4.protocol] !== PROTOCOL_VRRP) return refuse('protocol')
  return {
    ok: true,
    datagram: {
      source: formatIPv4(readInt32(packet, IPV4.source)),
      destination: formatIPv4(readInt32(packet, IPV4.destination)),
      hopLimit: packet[IPV4.ttl],
      message: packet.subarray(headerLength, readUint16(packet, IPV4.totalLength)),
    },
  }
}

function refuse(reason: VrrpRefusal): { readonly ok: false; readonly reason: VrrpRefusal } {
  return { ok: false, reason }
}

function addressLength(isIPv6: boolean): number {
  return isIPv6 ? ADDRESS_BYTES : 4
}

function messageLength(version: VrrpVersion, count: number, isIPv6: boolean): number {
  return HEADER_LENGTH + count * addressLength(isIPv6) + (version === 2 ? AUTHENTICATION_LENGTH : 0)
}

function readIntervalMs(message: Uint8Array, version: VrrpVersion): number {
  if (version === 2) return message[VRRP2.interval] * 1000
  // The four bits above the interval are reserved: whatever they hold is ignored (RFC 9568 section 5.2.6).
  return (readUint16(message, VRRP.interval) & 0x0fff) * 10
}

/** Undefined when the message holds no right checksum. */
function checksumKindOf(
  { source, destination, message }: VrrpDatagram,
  version: VrrpVersion,
): VrrpChecksum | undefined {
  const isIPv6 = isIPv6Text(source)
  const fits = (initial: number) => checksum(message, 0, message.length, initial) === 0
  if (!isIPv6 && fits(0)) return 'message'
  if (version === 2) return undefined
  if (fits(pseudoHeader(source, destination, message.length))) return 'pseudo-header'
  return !isIPv6 && fits(pseudoHeader(source, VRRP_GROUP_IPV4, message.length)) ? 'group-pseudo-header' : undefined
}

function pseudoHeader(source: string, destination: string, length: number): number {
  if (isIPv6Text(source)) {
    const header = new Uint8Array(IPV6_HEADER_LENGTH)
    writeIPv6Words(header, IPV6.source, parseIPv6(source))
    writeIPv6Words(header, IPV6.destination, parseIPv6(destination))
    return pseudoHeaderSumIPv6(header, 0, PROTOCOL_VRRP, length)
  }
  const header = new Uint8Array(IPV4_HEADER_LENGTH)
  writeInt32(header, IPV4.source, parseIPv4(source))
  writeInt32(header, IPV4.destination, parseIPv4(destination))
  return pseudoHeaderSum(header, 0, PROTOCOL_VRRP, length)
}
