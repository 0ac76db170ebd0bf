/** VRRP over IPv4: ip(7), constants of linux/in.h. The socket hands packets out with their IP header. */
import { parseIPv4, writeInt32 } from '../../../protocol/packet/bytes.ts'
import { readVrrpPacket, VRRP_GROUP_IPV4, VRRP_HOP_LIMIT } from '../../../protocol/packet/vrrp.ts'
import { VRRP_TRAILER_LENGTH } from '../../../protocol/packet/vrrp-trailer.ts'
import { INTERNETWORK_CONTROL, type VrrpSocketFamily, type VrrpSocketOptions } from './vrrp-socket-family.ts'

const IPPROTO_IP = 0
const IP_TOS = 1
const IP_TTL = 2
const IP_MULTICAST_IF = 32
const IP_MULTICAST_TTL = 33
const IP_MULTICAST_LOOP = 34
const IP_ADD_MEMBERSHIP = 35
const IP_MULTICAST_ALL = 49

export const vrrpOverIPv4: VrrpSocketFamily = {
  addressFamily: 1,
  /** IP header with options, 255 addresses, a trailer. */
  longestPacket: 60 + 8 + 255 * 4 + VRRP_TRAILER_LENGTH,
  needs: 'an IPv4 address',
  configure(set, options) {
    const membership = multicastRequest(options)
    set(IPPROTO_IP, IP_MULTICAST_ALL, 0)
    set(IPPROTO_IP, IP_ADD_MEMBERSHIP, membership)
    set(IPPROTO_IP, IP_MULTICAST_IF, membership)
    set(IPPROTO_IP, IP_MULTICAST_TTL, VRRP_HOP_LIMIT)
    set(IPPROTO_IP, IP_TTL, VRRP_HOP_LIMIT)
    set(IPPROTO_IP, IP_MULTICAST_LOOP, 0)
    set(IPPROTO_IP, IP_TOS, INTERNETWORK_CONTROL)
  },
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
