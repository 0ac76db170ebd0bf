/** What is not worth handling any more when it has waited in a ring, because its sender has sent it again. */
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../protocol/packet/ethernet.ts'
import { FRAGMENT_OFFSET_MASK, IPV4, PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { IPV6, IPV6_HEADER_LENGTH } from '../../protocol/packet/ipv6.ts'
import { TCP, TCP_ACK, TCP_HEADER_LENGTH, TCP_SYN } from '../../protocol/packet/tcp.ts'
import type { Frame } from '../link/link.ts'

const NONE = -1
/** The first time after which a client sends its SYN again (RFC 6298 section 2.1). */
export const SYN_AGAIN_MS = 1000

/**
 * Whether a frame is a client's SYN, in one piece and with no more headers than it needs.
 *
 * One that has waited for longer than SYN_AGAIN_MS has been answered at another director, or will be here. Handled as well it goes to a second server,
 * whose half-open connection then stands in the way of the client's next one between the same ports, for as long as the server waits.
 */
export function isSyn({ memory: { view }, start, length }: Frame): boolean {
  const ip = start + ETHERNET_HEADER_LENGTH
  const transport = view.getUint16(start + 12) === ETHERTYPE_IPV4 ? transport4(view, ip) : transport6(view, ip)
  if (transport === NONE || transport + TCP_HEADER_LENGTH > start + length) return false
  return (view.getUint8(transport + TCP.flags) & (TCP_SYN | TCP_ACK)) === TCP_SYN
}

function transport4(view: DataView, ip: number): number {
  if (view.getUint8(ip + IPV4.protocol) !== PROTOCOL_TCP) return NONE
  if ((view.getUint16(ip + IPV4.fragment) & FRAGMENT_OFFSET_MASK) !== 0) return NONE
  return ip + (view.getUint8(ip) & 15) * 4
}

/** Of whatever is not IPv4: the type is looked at here. */
function transport6(view: DataView, ip: number): number {
  if (view.getUint16(ip - 2) !== ETHERTYPE_IPV6 || view.getUint8(ip + IPV6.nextHeader) !== PROTOCOL_TCP) return NONE
  return ip + IPV6_HEADER_LENGTH
}
