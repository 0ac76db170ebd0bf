/**
 * What an ICMPv6 error quotes, and its translation for whom it concerns: the quoted packet is translated back, so that the
 * receiver knows it as its own.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_in_icmp_v6(), ip_vs_out_icmp_v6(), ip_vs_nat_icmp_v6().
 */
import { difference16, updateChecksum } from '../../protocol/packet/checksum.ts'
import { refreshIcmpv6Checksum } from '../../protocol/packet/icmpv6.ts'
import { PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import { IPV6, IPV6_HEADER_LENGTH, walkToTransport } from '../../protocol/packet/ipv6.ts'
import { TCP } from '../../protocol/packet/tcp.ts'
import { PORT_ISAKMP, UDP } from '../../protocol/packet/udp.ts'
import type { FrameMemory } from '../link/link.ts'
import { decrementHopLimit, replaceAddress6 } from '../method/ipv6-nat.ts'

/** Bytes of the quoted transport header that tell its connection. */
const ENOUGH_OF_TRANSPORT = 8

/** Where things are in a quoted packet. */
export interface QuotedPacket6 {
  protocol: number
  /** Offsets of the quoted headers. */
  ip: number
  transport: number
  sourcePort: number
  destinationPort: number
  /** Those of AH and ESP are their key exchange's, and stand nowhere in the packet. */
  hasPorts: boolean
}

/** Reads the quoted packet that starts at `ip` into `into`; false when there is none that a connection could own. */
export function readQuotedPacket6(view: DataView, ip: number, available: number, into: QuotedPacket6): boolean {
  if (available < IPV6_HEADER_LENGTH + ENOUGH_OF_TRANSPORT || view.getUint8(ip) >> 4 !== 6) return false
  const walked = walkToTransport(view, ip, ip + available)
  if (walked < 0) return false
  const protocol = walked & 255
  const transport = ip + (walked >> 8)
  if (transport + ENOUGH_OF_TRANSPORT > ip + available) return false
  const isIpsec = protocol === PROTOCOL_AH || protocol === PROTOCOL_ESP
  if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP && protocol !== PROTOCOL_SCTP && !isIpsec) return false
  into.protocol = isIpsec ? PROTOCOL_UDP : protocol
  into.hasPorts = !isIpsec
  into.ip = ip
  into.transport = transport
  into.sourcePort = isIpsec ? PORT_ISAKMP : view.getUint16(transport)
  into.destinationPort = isIpsec ? PORT_ISAKMP : view.getUint16(transport + 2)
  return true
}

/**
 * For a server: the quoted reply came from the virtual service; it becomes the server's own.
 * @param outerIp the IPv6 header of the error, whose ICMPv6 message of `length` bytes is at `icmp`
 */
export function translateForServer6(
  memory: FrameMemory,
  outerIp: number,
  icmp: number,
  length: number,
  quoted: QuotedPacket6,
  words: Int32Array,
  wordsAt: number,
  port: number,
): void {
  const { view } = memory
  replaceAddress6(view, outerIp + IPV6.destination, words, wordsAt)
  const difference = replaceAddress6(view, quoted.ip + IPV6.source, words, wordsAt)
  translatePort(view, icmp + length, quoted, quoted.transport, quoted.sourcePort, port, difference)
  finish(memory, outerIp, icmp, length)
}

/** For a client: the quoted request went to the server; it becomes one to the virtual service, and so does the sender. */
export function translateForClient6(
  memory: FrameMemory,
  outerIp: number,
  icmp: number,
  length: number,
  quoted: QuotedPacket6,
  words: Int32Array,
  wordsAt: number,
  port: number,
): void {
  const { view } = memory
  replaceAddress6(view, outerIp + IPV6.source, words, wordsAt)
  const difference = replaceAddress6(view, quoted.ip + IPV6.destination, words, wordsAt)
  translatePort(view, icmp + length, quoted, quoted.transport + 2, quoted.destinationPort, port, difference)
  finish(memory, outerIp, icmp, length)
}

/** The quoted transport checksum follows its packet's address and port, if the quote reaches to where it is. */
function translatePort(
  view: DataView,
  end: number,
  quoted: QuotedPacket6,
  portAt: number,
  portBefore: number,
  port: number,
  addressDifference: number,
): void {
  if (!quoted.hasPorts) return
  view.setUint16(portAt, port)
  // SCTP's checksum is not of the addresses, and nobody checks that of a quoted packet.
  if (quoted.protocol === PROTOCOL_SCTP) return
  const isUdp = quoted.protocol === PROTOCOL_UDP
  const at = quoted.transport + (isUdp ? UDP.checksum : TCP.checksum)
  if (at + 2 > end) return
  const before = view.getUint16(at)
  if (isUdp && before === 0) return
  const after = updateChecksum(before, addressDifference + difference16(portBefore, port))
  view.setUint16(at, isUdp && after === 0 ? 0xffff : after)
}

function finish(memory: FrameMemory, outerIp: number, icmp: number, length: number): void {
  decrementHopLimit(memory.view, outerIp)
  refreshIcmpv6Checksum(memory.bytes, outerIp, icmp, length)
}
