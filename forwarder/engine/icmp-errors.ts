/**
 * ICMP errors about a connection's packets, of either family, as whom they concern must see them: the packet they quote is translated
 * back, so that the receiver knows it as its own.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_nat_icmp(), ip_vs_nat_icmp_v6().
 */
import { checksum, difference16, difference32, updateChecksum } from '../../protocol/packet/checksum.ts'
import { ICMP } from '../../protocol/packet/icmp.ts'
import { refreshIcmpv6Checksum } from '../../protocol/packet/icmpv6.ts'
import { IPV4, PROTOCOL_SCTP, PROTOCOL_UDP, refreshIPv4Checksum } from '../../protocol/packet/ipv4.ts'
import { IPV6 } from '../../protocol/packet/ipv6.ts'
import { ADDRESS_WORDS } from '../../protocol/packet/ipv6-address.ts'
import { TCP } from '../../protocol/packet/tcp.ts'
import { UDP } from '../../protocol/packet/udp.ts'
import type { FrameMemory } from '../link/link.ts'
import { decrementHopLimit, replaceAddress6 } from '../method/ipv6-nat.ts'
import { type AddressBook, isIPv6Number } from '../table/address-book.ts'
import type { QuotedPacket } from './quoted-packet.ts'

/**
 * For a server: the quoted reply came from the virtual service; it becomes the server's own.
 * @param outerIp the IP header of the error, whose ICMP message of `length` bytes is at `icmp`
 * @param address number of the server's
 */
export function translateForServer(
  memory: FrameMemory,
  outerIp: number,
  icmp: number,
  length: number,
  quoted: QuotedPacket,
  book: AddressBook,
  address: number,
  port: number,
): void {
  const { view } = memory
  replaceAddress(view, outerIp + (quoted.isIPv6 ? IPV6.destination : IPV4.destination), address, book)
  const difference = replaceAddress(view, quoted.source, address, book)
  translatePort(view, icmp + length, quoted, quoted.transport, quoted.sourcePort, port, difference)
  finish(memory, outerIp, icmp, length, quoted)
}

/** For a client: the quoted request went to the server; it becomes one to the virtual service, and so does the sender. */
export function translateForClient(
  memory: FrameMemory,
  outerIp: number,
  icmp: number,
  length: number,
  quoted: QuotedPacket,
  book: AddressBook,
  virtualAddress: number,
  virtualPort: number,
): void {
  const { view } = memory
  replaceAddress(view, outerIp + (quoted.isIPv6 ? IPV6.source : IPV4.source), virtualAddress, book)
  const difference = replaceAddress(view, quoted.destination, virtualAddress, book)
  translatePort(view, icmp + length, quoted, quoted.transport + 2, quoted.destinationPort, virtualPort, difference)
  finish(memory, outerIp, icmp, length, quoted)
}

/** Writes the address of a number, and returns the running difference that it makes. */
function replaceAddress(view: DataView, at: number, address: number, book: AddressBook): number {
  if (isIPv6Number(address)) return replaceAddress6(view, at, book.words, address * ADDRESS_WORDS)
  const difference = difference32(view.getInt32(at), address)
  view.setInt32(at, address)
  return difference
}

/** The quoted transport checksum follows its packet's address and port, if the quote reaches to where it is. */
function translatePort(
  view: DataView,
  end: number,
  quoted: QuotedPacket,
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

/** One hop further, with the checksums of what has changed. */
function finish(memory: FrameMemory, outerIp: number, icmp: number, length: number, quoted: QuotedPacket): void {
  const { view, bytes } = memory
  if (quoted.isIPv6) {
    decrementHopLimit(view, outerIp)
    refreshIcmpv6Checksum(bytes, outerIp, icmp, length)
    return
  }
  view.setUint8(outerIp + IPV4.ttl, view.getUint8(outerIp + IPV4.ttl) - 1)
  refreshIPv4Checksum(bytes, outerIp, icmp - outerIp)
  refreshIPv4Checksum(bytes, quoted.ip, quoted.transport - quoted.ip)
  view.setUint16(icmp + ICMP.checksum, 0)
  view.setUint16(icmp + ICMP.checksum, checksum(bytes, icmp, length))
}
