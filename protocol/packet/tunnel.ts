/**
 * The packet inside a tunnel packet: IPIP (RFC 2003), IPv6 in either (RFC 2473, RFC 4213), GRE (RFC 2784) and GUE, told apart by what
 * the outer header names as its content. All of them can carry both families.
 */
import { ETHERTYPE_IPV6 } from './ethernet.ts'
import { GRE, greHeaderLength, PROTOCOL_GRE } from './gre.ts'
import { GUE, gueHeaderLength } from './gue.ts'
import { PROTOCOL_IPIP, PROTOCOL_UDP } from './ipv4.ts'
import { PROTOCOL_IPV6 } from './ipv6.ts'
import { UDP_HEADER_LENGTH } from './udp.ts'

/**
 * Offset of the packet that a tunnel carries; 0 when there is none, or it is not of the family that the tunnel says.
 * @param protocol what the outer header names
 * @param at what follows the outer header
 * @param end behind what there is of it
 */
export function tunnelledPacket(view: DataView, protocol: number, at: number, end: number): number {
  let inner = at
  let isIPv6 = protocol === PROTOCOL_IPV6
  if (protocol === PROTOCOL_GRE) {
    const length = greHeaderLength(view, at, end - at)
    if (length === 0) return 0
    inner += length
    isIPv6 = view.getUint16(at + GRE.etherType) === ETHERTYPE_IPV6
  } else if (protocol === PROTOCOL_UDP) {
    const gue = at + UDP_HEADER_LENGTH
    const length = gueHeaderLength(view, gue, end - gue)
    if (length === 0) return 0
    inner = gue + length
    isIPv6 = view.getUint8(gue + GUE.protocol) === PROTOCOL_IPV6
  } else if (protocol !== PROTOCOL_IPIP && !isIPv6) {
    return 0
  }
  return inner < end && view.getUint8(inner) >> 4 === (isIPv6 ? 6 : 4) ? inner : 0
}
