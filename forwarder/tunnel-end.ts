/**
 * Where the packet inside a tunnel packet begins, at the tunnel's far end: IPIP (RFC 2003), GRE (RFC 2784), GUE (RFC 768 around
 * draft-ietf-intarea-gue-09), told apart by what the outer header names.
 *
 * The tunnel's own checksum, where it has one, must be right. One that is still the bare pseudo-header sum is right too: the
 * kernel leaves it so on packets that never crossed a wire.
 */
import { readUint16, writeUint16 } from '../protocol/packet/bytes.ts'
import { addBytes, checksum, fold, pseudoHeaderSum } from '../protocol/packet/checksum.ts'
import { ETHERTYPE_IPV4 } from '../protocol/packet/ethernet.ts'
import { GRE_HEADER_LENGTH, greHeaderLength, PROTOCOL_GRE } from '../protocol/packet/gre.ts'
import { GUE, gueHeaderLength, hasRemoteChecksum } from '../protocol/packet/gue.ts'
import { IPV4, PROTOCOL_IPIP, PROTOCOL_UDP } from '../protocol/packet/ipv4.ts'
import { UDP, UDP_HEADER_LENGTH } from '../protocol/packet/udp.ts'
import type { Frame } from './link/link.ts'

/** UDP ports of GUE tunnels that end here. */
export type GuePorts = ReadonlySet<number>

/**
 * Offset of the inner packet; 0 when there is none, or the tunnel's headers are not sound.
 * @param packet begins at the outer IPv4 header, and may be of any length
 */
export function innerPacket(packet: Frame, outerHeaderLength: number, guePorts: GuePorts): number {
  const { bytes, view } = packet.memory
  const at = packet.start + outerHeaderLength
  const length = packet.length - outerHeaderLength
  const protocol = bytes[packet.start + IPV4.protocol]
  if (protocol === PROTOCOL_IPIP) return at
  if (protocol === PROTOCOL_GRE) {
    const header = greHeaderLength(view, at, length, ETHERTYPE_IPV4)
    if (header > GRE_HEADER_LENGTH && checksum(bytes, at, length) !== 0) return 0
    return header === 0 ? 0 : at + header
  }
  if (protocol !== PROTOCOL_UDP || length < UDP_HEADER_LENGTH) return 0
  if (!guePorts.has(readUint16(bytes, at + UDP.destinationPort))) return 0
  if (readUint16(bytes, at + UDP.length) !== length || !udpChecksumIsRight(bytes, packet.start, at, length)) return 0
  const gue = at + UDP_HEADER_LENGTH
  const header = gueHeaderLength(view, gue, length - UDP_HEADER_LENGTH, PROTOCOL_IPIP)
  return header === 0 ? 0 : gue + header
}

/**
 * Finishes the inner checksum as the GUE header in front of `inner` asks, if it does. Only after the inner packet, of `length`
 * bytes, has been found sound. False when the header points outside the packet.
 */
export function finishRemoteChecksum(packet: Frame, outerHeaderLength: number, inner: number, length: number): boolean {
  const { bytes, view } = packet.memory
  const gue = packet.start + outerHeaderLength + UDP_HEADER_LENGTH
  if (bytes[packet.start + IPV4.protocol] !== PROTOCOL_UDP || !hasRemoteChecksum(view, gue)) return true
  const start = view.getUint16(gue + GUE.checksumStart)
  const field = view.getUint16(gue + GUE.checksumField)
  if (start > field || field + 2 > length) return false
  // 0 would say that there is none (RFC 768), and where it does not, 0xffff is the same number.
  writeUint16(bytes, inner + field, checksum(bytes, inner + start, length - start) || 0xffff)
  return true
}

function udpChecksumIsRight(bytes: Uint8Array, ip: number, udp: number, length: number): boolean {
  const field = readUint16(bytes, udp + UDP.checksum)
  if (field === 0) return true
  const pseudoHeader = pseudoHeaderSum(bytes, ip, PROTOCOL_UDP, length)
  return fold(addBytes(pseudoHeader, bytes, udp, length)) === 0xffff || field === fold(pseudoHeader)
}
