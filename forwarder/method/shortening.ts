/**
 * A TCP segment over IPv4 with its first bytes of data alone, as if its sender had sent no more yet: what is missing is not acknowledged,
 * and the sender begins with it when it sends again. Checksums follow by RFC 1624.
 */
import { readUint16, writeUint16 } from '../../protocol/packet/bytes.ts'
import { addBytes, difference16, fold, updateChecksum } from '../../protocol/packet/checksum.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { IPV4, MORE_FRAGMENTS } from '../../protocol/packet/ipv4.ts'
import { TCP, TCP_FIN, TCP_PSH, tcpHeaderLength } from '../../protocol/packet/tcp.ts'
import type { Frame } from '../link/link.ts'
import { clearSegmentation, isTransportUnfinished, segmentSize } from './offload.ts'

/**
 * @param transport offset of the TCP header
 * @param length bytes of data that stay, fewer than there are
 * @returns false, and nothing is changed, when the rest of it is in further fragments
 */
export function shortenSegment(frame: Frame, transport: number, length: number): boolean {
  const { bytes } = frame.memory
  const ip = frame.start + ETHERNET_HEADER_LENGTH
  if ((readUint16(bytes, ip + IPV4.fragment) & MORE_FRAGMENTS) !== 0) return false
  const end = frame.start + frame.length
  const cut = transport + tcpHeaderLength(bytes, transport) + length
  const lengths = difference16(end - transport, cut - transport)
  writeUint16(bytes, ip + IPV4.totalLength, cut - ip)
  const ipChecksum = ip + IPV4.checksum
  writeUint16(bytes, ipChecksum, updateChecksum(readUint16(bytes, ipChecksum), lengths))
  // Words of the checksum begin at even distances from the header.
  const isOdd = ((cut - transport) & 1) === 1
  const from = isOdd ? cut - 1 : cut
  const gone = difference16(fold(addBytes(0, bytes, from, end - from)), isOdd ? bytes[from] << 8 : 0)
  const flags = bytes[transport + TCP.flags]
  const flagsLeft = flags & ~(TCP_FIN | TCP_PSH)
  bytes[transport + TCP.flags] = flagsLeft
  const field = transport + TCP.checksum
  const before = readUint16(bytes, field)
  // An unfinished checksum is only the pseudo-header's, which has the length in it.
  const after = isTransportUnfinished(frame, transport)
    ? fold(before + lengths)
    : updateChecksum(before, lengths + gone + difference16(flags, flagsLeft))
  writeUint16(bytes, field, after)
  frame.length = cut - frame.start
  if (length <= segmentSize(frame)) clearSegmentation(frame)
  return true
}
