/**
 * ICMP errors about a connection's packets, passed on to whom they concern: the packet they quote is translated back so that
 * the receiver knows it as its own.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_in_icmp(), ip_vs_out_icmp(), ip_vs_nat_icmp().
 */
import { readInt32, readUint16, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum, difference16, difference32, updateChecksum } from '../../protocol/packet/checksum.ts'
import { PROTOCOL_GRE } from '../../protocol/packet/gre.ts'
import { ICMP } from '../../protocol/packet/icmp.ts'
import {
  FRAGMENT_OFFSET_MASK,
  IPV4,
  IPV4_HEADER_LENGTH,
  PROTOCOL_AH,
  PROTOCOL_ESP,
  PROTOCOL_IPIP,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  refreshIPv4Checksum,
} from '../../protocol/packet/ipv4.ts'
import { TCP } from '../../protocol/packet/tcp.ts'
import { PORT_ISAKMP, UDP } from '../../protocol/packet/udp.ts'

/** What an ICMP error quotes. */
export interface QuotedPacket {
  protocol: number
  source: number
  destination: number
  sourcePort: number
  destinationPort: number
  /** Those of AH and ESP are their key exchange's, and stand nowhere in the packet. */
  hasPorts: boolean
  /** Offsets of the quoted headers. */
  ip: number
  transport: number
}

/**
 * Reads the quoted packet that starts at `ip` into `into`; false when there is none that a connection could own. Of
 * IPIP and GRE `transport` is what follows the IP header, and the ports mean nothing.
 */
export function readQuotedPacket(bytes: Uint8Array, ip: number, available: number, into: QuotedPacket): boolean {
  if (available < IPV4_HEADER_LENGTH + 8 || bytes[ip] >> 4 !== 4) return false
  const headerLength = (bytes[ip] & 15) << 2
  if (headerLength < IPV4_HEADER_LENGTH || available < headerLength + 8) return false
  if ((readUint16(bytes, ip + IPV4.fragment) & FRAGMENT_OFFSET_MASK) !== 0) return false
  const protocol = bytes[ip + IPV4.protocol]
  const isIpsec = protocol === PROTOCOL_AH || protocol === PROTOCOL_ESP
  if (
    protocol !== PROTOCOL_TCP &&
    protocol !== PROTOCOL_UDP &&
    protocol !== PROTOCOL_SCTP &&
    protocol !== PROTOCOL_IPIP &&
    protocol !== PROTOCOL_GRE &&
    !isIpsec
  ) {
    return false
  }
  into.protocol = isIpsec ? PROTOCOL_UDP : protocol
  into.hasPorts = !isIpsec
  into.ip = ip
  into.transport = ip + headerLength
  into.source = readInt32(bytes, ip + IPV4.source)
  into.destination = readInt32(bytes, ip + IPV4.destination)
  into.sourcePort = isIpsec ? PORT_ISAKMP : readUint16(bytes, into.transport)
  into.destinationPort = isIpsec ? PORT_ISAKMP : readUint16(bytes, into.transport + 2)
  return true
}

/** For a server: the quoted reply came from the virtual service; it becomes the server's own. */
export function translateForServer(
  bytes: Uint8Array,
  outerIp: number,
  icmp: number,
  icmpLength: number,
  quoted: QuotedPacket,
  serverAddress: number,
  serverPort: number,
): void {
  writeInt32(bytes, outerIp + IPV4.destination, serverAddress)
  translateChecksum(bytes, icmp + icmpLength, quoted, quoted.source, serverAddress, quoted.sourcePort, serverPort)
  writeInt32(bytes, quoted.ip + IPV4.source, serverAddress)
  if (quoted.hasPorts) writeUint16(bytes, quoted.transport, serverPort)
  refresh(bytes, outerIp, icmp, icmpLength, quoted)
}

/** For a client: the quoted request went to the server; it becomes one to the virtual service, and so does the sender. */
export function translateForClient(
  bytes: Uint8Array,
  outerIp: number,
  icmp: number,
  icmpLength: number,
  quoted: QuotedPacket,
  virtualAddress: number,
  virtualPort: number,
): void {
  const { destination, destinationPort } = quoted
  writeInt32(bytes, outerIp + IPV4.source, virtualAddress)
  translateChecksum(bytes, icmp + icmpLength, quoted, destination, virtualAddress, destinationPort, virtualPort)
  writeInt32(bytes, quoted.ip + IPV4.destination, virtualAddress)
  if (quoted.hasPorts) writeUint16(bytes, quoted.transport + 2, virtualPort)
  refresh(bytes, outerIp, icmp, icmpLength, quoted)
}

/** The quoted transport checksum follows its packet's address and port, if the quote reaches to where it is. */
function translateChecksum(
  bytes: Uint8Array,
  end: number,
  quoted: QuotedPacket,
  addressBefore: number,
  address: number,
  portBefore: number,
  port: number,
): void {
  // SCTP's is not of the addresses, and what is quoted of the packet does not reach it; AH and ESP have none.
  if (!quoted.hasPorts || quoted.protocol === PROTOCOL_SCTP) return
  const isUdp = quoted.protocol === PROTOCOL_UDP
  const at = quoted.transport + (isUdp ? UDP.checksum : TCP.checksum)
  if (at + 2 > end) return
  const before = readUint16(bytes, at)
  // A datagram without a checksum stays one (RFC 768).
  if (isUdp && before === 0) return
  const difference = difference32(addressBefore, address) + difference16(portBefore, port)
  const after = updateChecksum(before, difference)
  writeUint16(bytes, at, isUdp && after === 0 ? 0xffff : after)
}

function refresh(bytes: Uint8Array, outerIp: number, icmp: number, icmpLength: number, quoted: QuotedPacket): void {
  bytes[outerIp + IPV4.ttl]--
  refreshIPv4Checksum(bytes, outerIp, icmp - outerIp)
  refreshIPv4Checksum(bytes, quoted.ip, quoted.transport - quoted.ip)
  writeUint16(bytes, icmp + ICMP.checksum, 0)
  writeUint16(bytes, icmp + ICMP.checksum, checksum(bytes, icmp, icmpLength))
}
