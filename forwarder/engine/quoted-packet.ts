/** What an ICMP error of either family quotes: a packet that a connection may own, or that a tunnel may have carried. */
import { PROTOCOL_GRE } from '../../protocol/packet/gre.ts'
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
} from '../../protocol/packet/ipv4.ts'
import { IPV6, IPV6_HEADER_LENGTH, PROTOCOL_IPV6, walkInFragment } from '../../protocol/packet/ipv6.ts'
import { PORT_ISAKMP } from '../../protocol/packet/udp.ts'

/** Bytes of the quoted transport header that tell its connection. */
const ENOUGH_OF_TRANSPORT = 8

export class QuotedPacket {
  isIPv6 = false
  /** UDP of AH and ESP too, which go the way of their key exchange. */
  protocol = 0
  sourcePort = 0
  destinationPort = 0
  /** Those of AH and ESP are their key exchange's, and stand nowhere in the packet. */
  hasPorts = true
  /** Offsets of the quoted headers. */
  ip = 0
  transport = 0
  /** Offsets of the addresses in it. */
  source = 0
  destination = 0

  /**
   * Reads the quoted packet that starts at `ip`; false when there is none that a connection could own or a tunnel could have
   * carried. Of a tunnel `transport` is what follows the IP header, and the ports of those that are not UDP mean nothing.
   */
  read(view: DataView, ip: number, end: number): boolean {
    if (ip >= end) return false
    this.isIPv6 = view.getUint8(ip) >> 4 === 6
    this.ip = ip
    const protocol = this.isIPv6 ? this.#readHeader6(view, ip, end) : this.#readHeader(view, ip, end)
    if (protocol < 0 || this.transport + ENOUGH_OF_TRANSPORT > end) return false
    const isIpsec = protocol === PROTOCOL_AH || protocol === PROTOCOL_ESP
    if (
      protocol !== PROTOCOL_TCP &&
      protocol !== PROTOCOL_UDP &&
      protocol !== PROTOCOL_SCTP &&
      !isTunnelAlone(protocol) &&
      !isIpsec
    ) {
      return false
    }
    this.protocol = isIpsec ? PROTOCOL_UDP : protocol
    this.hasPorts = !isIpsec
    this.sourcePort = isIpsec ? PORT_ISAKMP : view.getUint16(this.transport)
    this.destinationPort = isIpsec ? PORT_ISAKMP : view.getUint16(this.transport + 2)
    return true
  }

  /** @returns what the header names as its content, or -1 */
  #readHeader(view: DataView, ip: number, end: number): number {
    if (ip + IPV4_HEADER_LENGTH > end || view.getUint8(ip) >> 4 !== 4) return -1
    const headerLength = (view.getUint8(ip) & 15) << 2
    if (headerLength < IPV4_HEADER_LENGTH) return -1
    if ((view.getUint16(ip + IPV4.fragment) & FRAGMENT_OFFSET_MASK) !== 0) return -1
    this.transport = ip + headerLength
    this.source = ip + IPV4.source
    this.destination = ip + IPV4.destination
    return view.getUint8(ip + IPV4.protocol)
  }

  #readHeader6(view: DataView, ip: number, end: number): number {
    const walked = ip + IPV6_HEADER_LENGTH > end ? -1 : walkInFragment(view, ip, end)
    if (walked < 0) return -1
    this.transport = ip + (walked >> 8)
    this.source = ip + IPV6.source
    this.destination = ip + IPV6.destination
    return walked & 255
  }
}

/** Of the protocols that are nothing but a tunnel; a UDP datagram may be one. */
export function isTunnelAlone(protocol: number): boolean {
  return protocol === PROTOCOL_IPIP || protocol === PROTOCOL_IPV6 || protocol === PROTOCOL_GRE
}
