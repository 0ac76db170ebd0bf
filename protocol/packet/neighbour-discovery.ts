/**
 * Neighbour discovery for IPv6 over Ethernet (RFC 4861 section 4.3, 4.4; RFC 2464 section 6, 7): who has an address, and who says
 * that it has one. Behind the ICMPv6 header:
 *
 * ```
 *  4 flags (advertisement) or reserved (4)   8 target address (16)   24 options: type, length in 8 bytes, MAC (6)
 * ```
 */
import { writeInt32 } from './bytes.ts'
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV6, writeEthernet } from './ethernet.ts'
import {
  ICMPV6,
  ICMPV6_NEIGHBOUR_ADVERTISEMENT,
  ICMPV6_NEIGHBOUR_SOLICITATION,
  refreshIcmpv6Checksum,
} from './icmpv6.ts'
import { IPV6, IPV6_HEADER_LENGTH, PROTOCOL_ICMPV6, writeIPv6 } from './ipv6.ts'
import { parseIPv6, writeIPv6Words } from './ipv6-address.ts'

export const NEIGHBOUR_DISCOVERY = { flags: 4, target: 8, options: 24 } as const
/** Of a message with one link-layer address. */
export const NEIGHBOUR_MESSAGE_LENGTH = 32
export const NEIGHBOUR_FRAME_LENGTH = ETHERNET_HEADER_LENGTH + IPV6_HEADER_LENGTH + NEIGHBOUR_MESSAGE_LENGTH

export const OPTION_SOURCE_LINK_ADDRESS = 1
export const OPTION_TARGET_LINK_ADDRESS = 2

/** Flags of an advertisement: from a router (as RFC 9568 section 6.4.2 wants); it answers a question; it replaces what was known. */
export const ADVERTISEMENT_ROUTER = 0x8000_0000 | 0
export const ADVERTISEMENT_SOLICITED = 0x4000_0000
export const ADVERTISEMENT_OVERRIDE = 0x2000_0000

/** A packet that was routed here from elsewhere arrives with less. */
export const NEIGHBOUR_HOP_LIMIT = 255

export const ALL_NODES: Int32Array = parseIPv6('ff02::1')

const NO_OPTION = -1

/**
 * Where the link-layer address of the given option is, NO_OPTION (-1) when there is none. Anything malformed ends the search
 * (RFC 4861 section 4.6: an option of length 0 makes the message worthless).
 * @param end offset behind the message
 */
export function findLinkAddress(bytes: Uint8Array, icmp: number, end: number, type: number): number {
  for (let at = icmp + NEIGHBOUR_DISCOVERY.options; at + 8 <= end; ) {
    const length = bytes[at + 1] << 3
    if (length === 0 || at + length > end) return NO_OPTION
    if (bytes[at] === type) return at + 2
    at += length
  }
  return NO_OPTION
}

/** The group in which an address is asked for: ff02::1:ff and its last three bytes (RFC 4291 section 2.7.1). */
export function solicitedNodeGroup(address: ArrayLike<number>, at = 0): Int32Array {
  return Int32Array.of(0xff02_0000 | 0, 0, 1, 0xff00_0000 | (address[at + 3] & 0xff_ffff))
}

/** The MAC of a multicast group: 33:33 and its last four bytes. */
export function multicastMac(group: ArrayLike<number>): Uint8Array {
  const mac = Uint8Array.of(0x33, 0x33, 0, 0, 0, 0)
  writeInt32(mac, 2, group[3])
  return mac
}

export interface NeighbourMessage {
  /** Solicitation or advertisement. */
  type: number
  /** Of an advertisement. */
  flags: number
  source: ArrayLike<number>
  destination: ArrayLike<number>
  target: ArrayLike<number>
  /** Sender's MAC, in the Ethernet header and in the option. */
  mac: Uint8Array
  destinationMac: Uint8Array
}

/** Writes a whole Ethernet frame of NEIGHBOUR_FRAME_LENGTH bytes from `at`. */
export function writeNeighbourFrame(bytes: Uint8Array, at: number, message: NeighbourMessage): void {
  writeEthernet(bytes, at, message.destinationMac, message.mac, ETHERTYPE_IPV6)
  const ip = at + ETHERNET_HEADER_LENGTH
  const icmp = ip + IPV6_HEADER_LENGTH
  writeIPv6(bytes, ip, {
    payloadLength: NEIGHBOUR_MESSAGE_LENGTH,
    nextHeader: PROTOCOL_ICMPV6,
    hopLimit: NEIGHBOUR_HOP_LIMIT,
    source: message.source,
    destination: message.destination,
  })
  bytes[icmp + ICMPV6.type] = message.type
  bytes[icmp + ICMPV6.code] = 0
  writeInt32(bytes, icmp + NEIGHBOUR_DISCOVERY.flags, message.flags)
  writeIPv6Words(bytes, icmp + NEIGHBOUR_DISCOVERY.target, message.target)
  const option = icmp + NEIGHBOUR_DISCOVERY.options
  const isSolicitation = message.type === ICMPV6_NEIGHBOUR_SOLICITATION
  bytes[option] = isSolicitation ? OPTION_SOURCE_LINK_ADDRESS : OPTION_TARGET_LINK_ADDRESS
  bytes[option + 1] = 1
  bytes.set(message.mac, option + 2)
  refreshIcmpv6Checksum(bytes, ip, icmp, NEIGHBOUR_MESSAGE_LENGTH)
}

/** Asks all who might have `target`. */
export function writeSolicitation(
  bytes: Uint8Array,
  at: number,
  mac: Uint8Array,
  source: ArrayLike<number>,
  target: ArrayLike<number>,
): void {
  const destination = solicitedNodeGroup(target)
  const type = ICMPV6_NEIGHBOUR_SOLICITATION
  const destinationMac = multicastMac(destination)
  writeNeighbourFrame(bytes, at, { type, flags: 0, source, destination, target, mac, destinationMac })
}

/** Tells all nodes, without being asked, that `address` is at `mac` now (RFC 4861 section 7.2.6). */
export function unsolicitedAdvertisement(address: ArrayLike<number>, mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(NEIGHBOUR_FRAME_LENGTH)
  writeNeighbourFrame(frame, 0, {
    type: ICMPV6_NEIGHBOUR_ADVERTISEMENT,
    flags: ADVERTISEMENT_ROUTER | ADVERTISEMENT_OVERRIDE,
    source: address,
    destination: ALL_NODES,
    target: address,
    mac,
    destinationMac: multicastMac(ALL_NODES),
  })
  return frame
}

/**
 * Whether a sound solicitation or advertisement of `length` bytes lies behind the IPv6 header (RFC 4861 section 7.1): it was not
 * routed, its code is 0, neither sender nor target is a group. The checksum is the caller's to check.
 */
export function isSoundNeighbourMessage(bytes: Uint8Array, ip: number, icmp: number, length: number): boolean {
  return (
    bytes[ip + IPV6.hopLimit] === NEIGHBOUR_HOP_LIMIT &&
    length >= NEIGHBOUR_DISCOVERY.options &&
    bytes[icmp + ICMPV6.code] === 0 &&
    bytes[ip + IPV6.source] !== 0xff &&
    bytes[icmp + NEIGHBOUR_DISCOVERY.target] !== 0xff
  )
}
