/**
 * A VRRP message as a whole IP packet (RFC 9568 section 5.1): its source is then the address that checksum and signature are over,
 * whatever addresses the interface has got since.
 */
import { parseIPv4 } from './bytes.ts'
import { DONT_FRAGMENT, IPV4_HEADER_LENGTH, writeIPv4 } from './ipv4.ts'
import { IPV6_HEADER_LENGTH, writeIPv6 } from './ipv6.ts'
import { isIPv6Text, parseIPv6 } from './ipv6-address.ts'
import { PROTOCOL_VRRP, VRRP_HOP_LIMIT } from './vrrp.ts'

/** Class selector 6, internetwork control (RFC 2474). */
const TRAFFIC_CLASS = 0xc0

/** @param source of the destination's family */
export function vrrpPacket(message: Uint8Array, source: string, destination: string): Uint8Array {
  const isIPv6 = isIPv6Text(source)
  const headerLength = isIPv6 ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH
  const packet = new Uint8Array(headerLength + message.length)
  packet.set(message, headerLength)
  if (isIPv6) {
    writeIPv6(packet, 0, {
      trafficClass: TRAFFIC_CLASS,
      payloadLength: message.length,
      nextHeader: PROTOCOL_VRRP,
      hopLimit: VRRP_HOP_LIMIT,
      source: parseIPv6(source),
      destination: parseIPv6(destination),
    })
  } else {
    writeIPv4(packet, 0, {
      tos: TRAFFIC_CLASS,
      totalLength: packet.length,
      identification: 0,
      fragment: DONT_FRAGMENT,
      ttl: VRRP_HOP_LIMIT,
      protocol: PROTOCOL_VRRP,
      source: parseIPv4(source),
      destination: parseIPv4(destination),
    })
  }
  return packet
}
