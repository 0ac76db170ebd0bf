/**
 * The virtual router MAC address (RFC 9568 section 7.3, RFC 3768 section 7.3), which is a virtual router's own on whatever machine
 * it is: 00:00:5e:00:01:VRID over IPv4, 00:00:5e:00:02:VRID over IPv6. And advertisements as whole frames from it, since a host's
 * own stack sends from the interface's MAC.
 */
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, ETHERTYPE_IPV6, writeEthernet } from './ethernet.ts'
import { isIPv6Text, parseIPv6 } from './ipv6-address.ts'
import { multicastMac } from './neighbour-discovery.ts'
import { VRRP_GROUP_IPV6, vrrpGroupOf } from './vrrp.ts'
import { vrrpPacket } from './vrrp-packet.ts'

/** The first four bytes, of all of them and of IANA's other uses of this block (RFC 9542 section 2.1). */
export const VIRTUAL_MAC_PREFIX = 0x0000_5e00
/** The last two bytes: of the first one, and how many follow on one another. */
export const FIRST_VIRTUAL_MAC = 0x0100
export const VIRTUAL_MACS = 0x0200

/** RFC 1112 section 6.4. */
const GROUP_MAC_IPV4 = Uint8Array.of(1, 0, 0x5e, 0, 0, 18)
const GROUP_MAC_IPV6 = multicastMac(parseIPv6(VRRP_GROUP_IPV6))

export function virtualRouterMac(vrid: number, isIPv6: boolean): Uint8Array {
  return Uint8Array.of(0, 0, 0x5e, 0, isIPv6 ? 2 : 1, vrid)
}

/**
 * The frame of an advertisement to the group.
 * @param source the address that it comes from, which also tells the family
 */
export function advertisementFrame(message: Uint8Array, source: string, mac: Uint8Array): Uint8Array {
  const packet = vrrpPacket(message, source, vrrpGroupOf(source))
  const frame = new Uint8Array(ETHERNET_HEADER_LENGTH + packet.length)
  if (isIPv6Text(source)) writeEthernet(frame, 0, GROUP_MAC_IPV6, mac, ETHERTYPE_IPV6)
  else writeEthernet(frame, 0, GROUP_MAC_IPV4, mac, ETHERTYPE_IPV4)
  frame.set(packet, ETHERNET_HEADER_LENGTH)
  return frame
}
