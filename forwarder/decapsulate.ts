/**
 * Takes the inner packet out of a tunnel packet, in place, as a real server behind a tunnelling director needs it.
 *
 * - The inner TTL stays as it is: decapsulation is not forwarding (RFC 2003 section 3.1).
 * - Congestion marked on the outer header is carried inside (RFC 6040 section 4.2).
 * - A transport checksum that is still the bare pseudo-header sum is finished. The kernel leaves it so on packets that never
 *   crossed a wire, and on those its receive offload (GRO, which looks into IPIP) has merged; a raw socket is not told.
 */
import { readInt32, readUint16, writeUint16 } from '../protocol/packet/bytes.ts'
import { checksum, difference16, fold, pseudoHeaderSum, updateChecksum } from '../protocol/packet/checksum.ts'
import {
  FRAGMENT_OFFSET_MASK,
  IPV4,
  IPV4_HEADER_LENGTH,
  MORE_FRAGMENTS,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  soundIPv4HeaderLength,
} from '../protocol/packet/ipv4.ts'
import { TCP, TCP_HEADER_LENGTH } from '../protocol/packet/tcp.ts'
import { UDP, UDP_HEADER_LENGTH } from '../protocol/packet/udp.ts'
import type { Frame } from './link/link.ts'
import { finishRemoteChecksum, type GuePorts, innerPacket } from './tunnel-end.ts'

/**
 * malformed: a header, a length or the tunnel's own checksum is not sound. not-virtual: for an address that is not a VIP.
 * congestion: marked outside, but the inner packet cannot carry the mark, so it must be dropped as the router meant it.
 */
export type DecapsulationRefusal = 'malformed' | 'not-virtual' | 'congestion'

const ECN_MASK = 3
const ECN_CONGESTION_EXPERIENCED = 3

/**
 * Narrows `packet`, which begins at the outer IPv4 header, to the inner packet.
 * @param guePorts UDP ports of GUE tunnels that end here
 * @param virtualAddresses the inner destinations that are let in, as readInt32 gives them; undefined: any
 * @returns undefined, or why the packet is refused; then `packet` is as it was
 */
export function decapsulate(
  packet: Frame,
  guePorts: GuePorts,
  virtualAddresses: ReadonlySet<number> | undefined,
): DecapsulationRefusal | undefined {
  const { bytes, view } = packet.memory
  const outerHeaderLength = (bytes[packet.start] & 15) << 2
  if (packet.length < outerHeaderLength + IPV4_HEADER_LENGTH || outerHeaderLength < IPV4_HEADER_LENGTH) {
    return 'malformed'
  }
  const inner = innerPacket(packet, outerHeaderLength, guePorts)
  if (inner === 0) return 'malformed'
  const headerLength = soundIPv4HeaderLength(view, inner, packet.start + packet.length - inner)
  if (headerLength === 0) return 'malformed'
  const length = readUint16(bytes, inner + IPV4.totalLength)
  if (virtualAddresses && !virtualAddresses.has(readInt32(bytes, inner + IPV4.destination))) return 'not-virtual'
  if ((bytes[packet.start + IPV4.tos] & ECN_MASK) === ECN_CONGESTION_EXPERIENCED && !markCongestion(bytes, inner)) {
    return 'congestion'
  }
  if (!finishRemoteChecksum(packet, outerHeaderLength, inner, length)) return 'malformed'
  finishTransportChecksum(bytes, inner, headerLength, length - headerLength)
  packet.start = inner
  packet.length = length
  return undefined
}

/** False when the packet at `ip` comes from a transport that does not take part in ECN. */
function markCongestion(bytes: Uint8Array, ip: number): boolean {
  const tos = bytes[ip + IPV4.tos]
  if ((tos & ECN_MASK) === 0) return false
  bytes[ip + IPV4.tos] = tos | ECN_CONGESTION_EXPERIENCED
  const before = readUint16(bytes, ip + IPV4.checksum)
  writeUint16(bytes, ip + IPV4.checksum, updateChecksum(before, difference16(tos, tos | ECN_CONGESTION_EXPERIENCED)))
  return true
}

function finishTransportChecksum(bytes: Uint8Array, ip: number, headerLength: number, length: number): void {
  if (readUint16(bytes, ip + IPV4.fragment) & (MORE_FRAGMENTS | FRAGMENT_OFFSET_MASK)) return
  const protocol = bytes[ip + IPV4.protocol]
  const field = ip + headerLength + checksumOffset(protocol, length)
  if (field < ip + headerLength) return
  const pseudoHeader = fold(pseudoHeaderSum(bytes, ip, protocol, length))
  if (readUint16(bytes, field) !== pseudoHeader) return
  // The field holds the pseudo-header's part of the sum. A checksum that was finished and equals it by chance stays the same.
  const finished = checksum(bytes, ip + headerLength, length)
  writeUint16(bytes, field, protocol === PROTOCOL_UDP && finished === 0 ? 0xffff : finished)
}

/** Where the checksum is in the transport header; negative: there is none. */
function checksumOffset(protocol: number, length: number): number {
  if (protocol === PROTOCOL_TCP && length >= TCP_HEADER_LENGTH) return TCP.checksum
  if (protocol === PROTOCOL_UDP && length >= UDP_HEADER_LENGTH) return UDP.checksum
  return -1
}
