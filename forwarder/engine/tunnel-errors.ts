/**
 * What an ICMP error about a tunnel packet means to the sender of the packet inside, who knows of no tunnel, and may speak the other
 * family.
 *
 * - A packet that was too big: so is the one inside, for what is left of the size behind the tunnel's headers.
 * - IPv4 in IPv4: everything else as it is, as IPVS does (net/netfilter/ipvs/ip_vs_core.c ip_vs_in_icmp()).
 * - With IPv6 outside or inside: everything else that keeps packets from the server means that it cannot be reached (RFC 2473
 *   section 8, RFC 4213 section 3.4).
 */
import {
  ICMP_CODE_FRAGMENTATION_NEEDED,
  ICMP_CODE_HOST_UNREACHABLE,
  ICMP_SOURCE_QUENCH,
  ICMP_UNREACHABLE,
} from '../../protocol/packet/icmp.ts'
import {
  ICMPV6_CODE_ADDRESS_UNREACHABLE,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_UNREACHABLE,
} from '../../protocol/packet/icmpv6.ts'
import { IPV4_MINIMUM_MTU } from '../../protocol/packet/ipv4.ts'
import { IPV6_MINIMUM_MTU } from '../../protocol/packet/ipv6.ts'

export class TunnelError {
  type = 0
  code = 0
  /** The second word of the ICMP header. */
  rest = 0
  /** What fits outside; 0 when the error is not about that, or does not tell. */
  outerMtu = 0

  /**
   * @param added bytes of the tunnel's headers, outer IP header included
   * @param type, `code`, `rest` of the error about the outer packet
   * @returns false when the inner packet's sender has nothing to learn from it
   */
  translate(
    isOuterIPv6: boolean,
    isInnerIPv6: boolean,
    added: number,
    type: number,
    code: number,
    rest: number,
  ): boolean {
    const isTooBig = isOuterIPv6
      ? type === ICMPV6_PACKET_TOO_BIG
      : type === ICMP_UNREACHABLE && code === ICMP_CODE_FRAGMENTATION_NEEDED
    this.outerMtu = 0
    if (isTooBig) {
      const mtu = isOuterIPv6 ? rest >>> 0 : rest & 0xffff
      this.outerMtu = mtu
      if (isInnerIPv6) this.#set(ICMPV6_PACKET_TOO_BIG, 0, Math.max(IPV6_MINIMUM_MTU, mtu - added))
      else this.#set(ICMP_UNREACHABLE, ICMP_CODE_FRAGMENTATION_NEEDED, largestIPv4(mtu, added))
      return true
    }
    if (!isOuterIPv6 && !isInnerIPv6) {
      this.#set(type, code, rest)
      return true
    }
    if (!isOuterIPv6 && type === ICMP_SOURCE_QUENCH) return false
    if (isInnerIPv6) this.#set(ICMPV6_UNREACHABLE, ICMPV6_CODE_ADDRESS_UNREACHABLE, 0)
    else this.#set(ICMP_UNREACHABLE, ICMP_CODE_HOST_UNREACHABLE, 0)
    return true
  }

  #set(type: number, code: number, rest: number): void {
    this.type = type
    this.code = code
    this.rest = rest
  }
}

/** A router of before RFC 1191 says 0, and leaves it to the sender to guess. */
function largestIPv4(mtu: number, added: number): number {
  return mtu === 0 ? 0 : Math.min(0xffff, Math.max(IPV4_MINIMUM_MTU, mtu - added))
}
