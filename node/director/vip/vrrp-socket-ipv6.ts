/**
 * VRRP over IPv6: ipv6(7), constants of linux/in6.h.
 *
 * The socket hands packets out without their IPv6 header, so a filter looks at hop limit and destination in the kernel, and
 * leaves a mark in place of what it does not believe (socket-filter.ts); the decoder refuses and counts that by its reason. One
 * socket is therefore either for the group or for named peers, whose packets may have any hop limit.
 *
 * It also joins each virtual address's solicited-node group (RFC 4291 section 2.7.1): without that, interface cards and
 * switches that look into multicast listener reports would keep the neighbours' questions from the forwarder. Backups are in
 * them too, so that a takeover does not wait for a switch to learn.
 */
import {
  CUT_DESTINATION,
  CUT_HOP_LIMIT,
  ipv6HeaderFilter,
  withFilterProgram,
} from '../../../forwarder/sys/socket-filter.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { canonicalAddress, parseIPv6, writeIPv6Words } from '../../../protocol/packet/ipv6-address.ts'
import { solicitedNodeGroup } from '../../../protocol/packet/neighbour-discovery.ts'
import { MOST_IPV6_ADDRESSES, VRRP_GROUP_IPV6, VRRP_HOP_LIMIT } from '../../../protocol/packet/vrrp.ts'
import type { VrrpSocketFamily, VrrpSocketOptions } from './vrrp-socket-family.ts'

const SOL_SOCKET = 1
const SO_ATTACH_FILTER = 26
const IPPROTO_IPV6 = 41
const IPV6_ADD_MEMBERSHIP = 20
const IPV6_DROP_MEMBERSHIP = 21
const IPV6_MULTICAST_ALL = 29

/** Of struct ipv6_mc_socklist (net/if_inet6.h), with room for what later kernels may add. */
const MEMBERSHIP_BYTES = 128
/** For all else. */
const OPTION_MEMORY_BYTES = 16_384

const GROUP = parseIPv6(VRRP_GROUP_IPV6)

export const vrrpOverIPv6: VrrpSocketFamily = {
  addressFamily: 2,
  longestPacket: 8 + MOST_IPV6_ADDRESSES * 16,
  needs: 'a link-local IPv6 address',
  configure(set, { sourceAddress, isUnicast }) {
    const filter = isUnicast ? ipv6HeaderFilter(parseIPv6(sourceAddress)) : ipv6HeaderFilter(GROUP, VRRP_HOP_LIMIT)
    withFilterProgram(filter, (program) => set(SOL_SOCKET, SO_ATTACH_FILTER, program))
    set(IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
  },
  join(set, options) {
    const requests = multicastRequests(options)
    try {
      for (const request of requests) set(IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, request)
    } catch (error) {
      throw isOutOfMemory(error as Error) ? tooManyGroups(requests.length) : error
    }
  },
  leave(set, options) {
    for (const request of multicastRequests(options)) set(IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, request)
  },
  read: (message, sender, { sourceAddress, isUnicast }) => ({
    ok: true,
    datagram: {
      source: canonicalAddress(sender),
      destination: message.length === CUT_DESTINATION ? '::' : isUnicast ? sourceAddress : VRRP_GROUP_IPV6,
      hopLimit: message.length === CUT_HOP_LIMIT ? 0 : VRRP_HOP_LIMIT,
      message,
    },
  }),
}

/** ENOMEM: the package reports errors by their text alone. */
function isOutOfMemory(error: Error): boolean {
  return /cannot allocate memory/i.test(error.message)
}

/** Each membership takes from what the kernel lets one socket have besides its buffers (sock_kmalloc() in net/core/sock.c). */
function tooManyGroups(groups: number): DirectorError {
  const enough = OPTION_MEMORY_BYTES + groups * MEMBERSHIP_BYTES
  return new DirectorError(
    'FORWARDER_FAILED',
    `the kernel lets one socket join fewer than the ${groups} groups of all virtual IPv6 addresses: sysctl -w net.core.optmem_max=${enough}`,
  )
}

/** One for each group: those of several addresses may be the same. */
function multicastRequests({ interfaceIndex, isUnicast, virtualAddresses = [] }: VrrpSocketOptions): Uint8Array[] {
  const requests = new Map<string, Uint8Array>()
  const add = (group: Int32Array, index: number) => requests.set(`${group} ${index}`, multicastRequest(group, index))
  if (!isUnicast) add(GROUP, interfaceIndex)
  for (const virtual of virtualAddresses) {
    add(solicitedNodeGroup(parseIPv6(virtual.address)), virtual.interfaceIndex)
  }
  return [...requests.values()]
}

/** struct ipv6_mreq: group, interface index in the machine's order (both supported machines: little endian). */
function multicastRequest(group: Int32Array, interfaceIndex: number): Uint8Array {
  const request = Buffer.alloc(20)
  writeIPv6Words(request, 0, group)
  request.writeInt32LE(interfaceIndex, 16)
  return request
}
