/** IPv4 header (RFC 791): field offsets from its first byte, and what the forwarder asks of it. */
import { writeInt32, writeUint16 } from './bytes.ts'
import { checksum, fold } from './checksum.ts'

export const IPV4_HEADER_LENGTH = 20
/** Every link carries packets of this length whole (RFC 791). */
export const IPV4_MINIMUM_MTU = 68
export const PROTOCOL_ICMP = 1
export const PROTOCOL_IPIP = 4
export const PROTOCOL_TCP = 6
export const PROTOCOL_UDP = 17
export const PROTOCOL_ESP = 50
export const PROTOCOL_AH = 51
export const PROTOCOL_SCTP = 132
export const DONT_FRAGMENT = 0x4000
export const MORE_FRAGMENTS = 0x2000
export const FRAGMENT_OFFSET_MASK = 0x1fff

export const IPV4 = {
  tos: 1,
  totalLength: 2,
  identification: 4,
  fragment: 6,
  ttl: 8,
  protocol: 9,
  checksum: 10,
  source: 12,
  destination: 16,
} as const

/**
 * The length of the header at `at`, or 0 when it is not a sound IPv4 header: wrong version, lengths that do not fit into
 * `available` bytes, or a wrong checksum (RFC 1122 3.2.1.2 asks to drop such a packet).
 */
export function soundIPv4HeaderLength(view: DataView, at: number, available: number): number {
  if (available < IPV4_HEADER_LENGTH) return 0
  const first = view.getInt32(at)
  const headerLength = (first >>> 22) & 0x3c
  const totalLength = first & 0xffff
  if (first >>> 28 !== 4 || headerLength < IPV4_HEADER_LENGTH) return 0
  if (totalLength < headerLength || totalLength > available) return 0
  let sum = (first >>> 16) + totalLength
  for (let word = at + 4; word < at + headerLength; word += 4) {
    const value = view.getInt32(word)
    sum += (value >>> 16) + (value & 0xffff)
  }
  return fold(sum) === 0xffff ? headerLength : 0
}

/** Whether an address, 32-bit, can be one host's: not "this network", loopback, multicast, reserved or broadcast (RFC 1812 5.3.7). */
export function isHostAddress(address: number): boolean {
  const first = address >>> 24
  return first !== 0 && first !== 127 && first < 224
}

export interface IPv4Fields {
  tos: number
  totalLength: number
  identification: number
  /** Flags and offset, the 16-bit word as it stands. */
  fragment: number
  ttl: number
  protocol: number
  source: number
  destination: number
}

/** Writes a header of 20 bytes with its checksum. */
export function writeIPv4(bytes: Uint8Array, at: number, fields: IPv4Fields): void {
  bytes[at] = 0x45
  bytes[at + IPV4.tos] = fields.tos
  writeUint16(bytes, at + IPV4.totalLength, fields.totalLength)
  writeUint16(bytes, at + IPV4.identification, fields.identification)
  writeUint16(bytes, at + IPV4.fragment, fields.fragment)
  bytes[at + IPV4.ttl] = fields.ttl
  bytes[at + IPV4.protocol] = fields.protocol
  writeInt32(bytes, at + IPV4.source, fields.source)
  writeInt32(bytes, at + IPV4.destination, fields.destination)
  refreshIPv4Checksum(bytes, at, IPV4_HEADER_LENGTH)
}

/** Computes the header's checksum anew. */
export function refreshIPv4Checksum(bytes: Uint8Array, at: number, headerLength: number): void {
  writeUint16(bytes, at + IPV4.checksum, 0)
  writeUint16(bytes, at + IPV4.checksum, checksum(bytes, at, headerLength))
}
