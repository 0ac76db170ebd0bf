/** ICMPv6 (RFC 4443): types, and what its errors may quote. */
import { writeUint16 } from './bytes.ts'
import { checksum } from './checksum.ts'
import { PROTOCOL_ICMPV6, pseudoHeaderSumIPv6 } from './ipv6.ts'

export const ICMPV6_HEADER_LENGTH = 8

export const ICMPV6 = { type: 0, code: 1, checksum: 2, rest: 4 } as const

export const ICMPV6_UNREACHABLE = 1
export const ICMPV6_PACKET_TOO_BIG = 2
export const ICMPV6_TIME_EXCEEDED = 3
export const ICMPV6_PARAMETER_PROBLEM = 4
export const ICMPV6_ECHO_REQUEST = 128
export const ICMPV6_ECHO_REPLY = 129
export const ICMPV6_NEIGHBOUR_SOLICITATION = 135
export const ICMPV6_NEIGHBOUR_ADVERTISEMENT = 136

export const ICMPV6_CODE_ADDRESS_UNREACHABLE = 3
export const ICMPV6_CODE_PORT_UNREACHABLE = 4

/** An error, IPv6 header included, is at most as long as every link can carry (RFC 4443 section 2.4 c). */
export const ICMPV6_ERROR_MAX_LENGTH = 1280

/** Whether the message quotes a packet that a connection may own. */
export function isIcmpv6Error(type: number): boolean {
  return type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER_PROBLEM
}

/** The checksum over the message as it stands and its pseudo-header: 0 when it holds the right one. */
export function icmpv6Checksum(bytes: Uint8Array, ip: number, icmp: number, length: number): number {
  return checksum(bytes, icmp, length, pseudoHeaderSumIPv6(bytes, ip, PROTOCOL_ICMPV6, length))
}

/** Computes the message's checksum anew. */
export function refreshIcmpv6Checksum(bytes: Uint8Array, ip: number, icmp: number, length: number): void {
  writeUint16(bytes, icmp + ICMPV6.checksum, 0)
  writeUint16(bytes, icmp + ICMPV6.checksum, icmpv6Checksum(bytes, ip, icmp, length))
}
