/** VRRP over IPv4: ip(7), constants of linux/in.h. The socket hands packets out with their IP header. */
import { parseIPv4, writeInt32 } from '../../../protocol/packet/bytes.ts'
import { readVrrpPacket, VRRP_GROUP_IPV4 } from '../../../protocol/packet/vrrp.ts'
import { VRRP_TRAILER_LENGTH } from '../../../protocol/packet/vrrp-trailer.ts'
import type { VrrpSocketFamily, VrrpSocketOptions } from './vrrp-socket-family.ts'

const IPPROTO_IP = 0
const IP_ADD_MEMBERSHIP = 35
const IP_DROP_MEMBERSHIP = 36
const IP_MULTICAST_ALL = 49

export const vrrpOverIPv4: VrrpSocketFamily = {
  addressFamily: 1,
  /** IP header with options, 255 addresses, a trailer. */
  longestPacket: 60 + 8 + 255 * 4 + VRRP_TRAILER_LENGTH,
  needs: 'an IPv4 address',
  configure: (set) => set(IPPROTO_IP, IP_MULTICAST_ALL, 0),
  join: (set, options) => set(IPPROTO_IP, IP_ADD_MEMBERSHIP, multicastRequest(options)),
  leave: (set, options) => set(IPPROTO_IP, IP_DROP_MEMBERSHIP, multicastRequest(options)),
  read: (packet) => readVrrpPacket(packet),
}

/** struct ip_mreqn: group, own address, interface index in the machine's order (both supported machines: little endian). */
function multicastRequest(options: VrrpSocketOptions): Uint8Array {
  const request = Buffer.alloc(12)
  writeInt32(request, 0, parseIPv4(VRRP_GROUP_IPV4))
  writeInt32(request, 4, parseIPv4(options.sourceAddress))
  request.writeInt32LE(options.interfaceIndex, 8)
  return request
}
