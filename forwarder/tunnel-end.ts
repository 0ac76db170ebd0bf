/**
 * Where the packet inside a tunnel packet begins, at the tunnel's far end: protocol/packet/tunnel.ts, with what only the end can
 * know: which ports are tunnels, and whether the tunnel's own checksum, where it has one, is right.
 *
 * A UDP checksum that is still the bare pseudo-header sum is right: the kernel leaves it so on packets that never crossed a wire.
 * Without one a datagram is let in over IPv6 too (RFC 6935 section 5).
 */
import { readUint16, writeUint16 } from '../protocol/packet/bytes.ts'
import { addBytes, checksum, fold } from '../protocol/packet/checksum.ts'
import { GRE_HEADER_LENGTH, PROTOCOL_GRE } from '../protocol/packet/gre.ts'
import { GUE, hasRemoteChecksum } from '../protocol/packet/gue.ts'
import { PROTOCOL_UDP } from '../protocol/packet/ipv4.ts'
import { pseudoHeaderSumOf } from '../protocol/packet/pseudo-header.ts'
import { tunnelledPacket } from '../protocol/packet/tunnel.ts'
import { UDP, UDP_HEADER_LENGTH } from '../protocol/packet/udp.ts'
import type { Frame } from './link/link.ts'

/** UDP ports of GUE tunnels that end here. */
export type GuePorts = ReadonlySet<number>

/**
 * Offset of the inner packet; 0 when there is none, or the tunnel's headers are not sound.
 * @param packet begins at the outer IP header, and may be of any length
 * @param protocol that the outer header names, and `at` where it begins
 */
export function innerPacket(packet: Frame, protocol: number, at: number, guePorts: GuePorts): number {
  const { bytes, view } = packet.memory
  const end = packet.start + packet.length
  const inner = tunnelledPacket(view, protocol, at, end)
  if (inner === 0) return 0
  if (protocol === PROTOCOL_GRE && inner - at > GRE_HEADER_LENGTH && checksum(bytes, at, end - at) !== 0) return 0
  if (protocol !== PROTOCOL_UDP) return inner
  const isWhole = readUint16(bytes, at + UDP.length) === end - at
  if (!isWhole || !guePorts.has(readUint16(bytes, at + UDP.destinationPort))) return 0
  return udpChecksumIsRight(bytes, packet.start, at, end - at) ? inner : 0
}

/**
 * Finishes the inner checksum as the GUE header in front of `inner` asks, if it does. Only after the inner packet, of `length`
 * bytes, has been found sound. False when the header points outside the packet.
 */
export function finishRemoteChecksum(
  packet: Frame,
  protocol: number,
  at: number,
  inner: number,
  length: number,
): boolean {
  const { bytes, view } = packet.memory
  const gue = at + UDP_HEADER_LENGTH
  if (protocol !== PROTOCOL_UDP || !hasRemoteChecksum(view, gue)) return true
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
  const pseudoHeader = pseudoHeaderSumOf(bytes, ip, PROTOCOL_UDP, length)
  return fold(addBytes(pseudoHeader, bytes, udp, length)) === 0xffff || field === fold(pseudoHeader)
}
