/**
 * UDP sockets that speak to a multicast group through one interface: ip(7), ipv6(7). Everything here is for setting up.
 *
 * struct ip_mreqn:                   group 4 | address 4 | interface i32
 * struct ipv6_mreq:                  group 16 | interface i32
 */

import { ENODEV, systemError } from './errors.ts'
import { interfaceRequest } from './interface.ts'
import * as libc from './libc.ts'
import {
  AF_INET,
  AF_INET6,
  bindSocket,
  closeDescriptor,
  IP_MULTICAST_LOOP,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_MULTICAST_LOOP,
  openSocket,
  SO_BINDTODEVICE,
  SO_RCVBUFFORCE,
  SOCK_DGRAM,
  SOL_SOCKET,
  setOption,
  socketAddress,
} from './socket.ts'

// bits/socket.h, asm-generic/socket.h, linux/in.h, linux/in6.h
const SO_REUSEADDR = 2
const IP_MULTICAST_IF = 32
const IP_MULTICAST_TTL = 33
const IP_ADD_MEMBERSHIP = 35
const IPV6_MULTICAST_IF = 17
const IPV6_MULTICAST_HOPS = 18
const IPV6_ADD_MEMBERSHIP = 20

const RECEIVE_BUFFER_BYTES = 8 << 20

export interface MulticastTarget {
  readonly interfaceName: string
  /** The group's address: 4 bytes or 16. */
  readonly group: Uint8Array
  readonly port: number
}

/**
 * A socket whose datagrams to the group leave through the interface, and do not come back to this host.
 * @returns its descriptor
 * @throws DirectorError INTERFACE_MISSING, PRIVILEGE_MISSING
 */
export function openMulticastSender({ interfaceName, group }: MulticastTarget, ttl: number): number {
  return open(interfaceName, group, (descriptor, index, what) => {
    if (group.length === 4) {
      setOption(descriptor, IPPROTO_IP, IP_MULTICAST_IF, membership(new Uint8Array(4), index), what)
      setOption(descriptor, IPPROTO_IP, IP_MULTICAST_TTL, ttl, what)
      setOption(descriptor, IPPROTO_IP, IP_MULTICAST_LOOP, 0, what)
    } else {
      setOption(descriptor, IPPROTO_IPV6, IPV6_MULTICAST_IF, index, what)
      setOption(descriptor, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, ttl, what)
      setOption(descriptor, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0, what)
    }
    bindSocket(descriptor, socketAddress(new Uint8Array(group.length), 0), what)
  })
}

/**
 * A socket that receives what is sent to the group and comes in on the interface.
 * @returns its descriptor
 * @throws DirectorError INTERFACE_MISSING, PRIVILEGE_MISSING, SOCKET_BUSY
 */
export function openMulticastReceiver({ interfaceName, group, port }: MulticastTarget): number {
  return open(interfaceName, group, (descriptor, index, what) => {
    setOption(descriptor, SOL_SOCKET, SO_REUSEADDR, 1, what)
    setOption(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES, what)
    bindSocket(descriptor, socketAddress(group, port, index), what)
    if (group.length === 4) setOption(descriptor, IPPROTO_IP, IP_ADD_MEMBERSHIP, membership(group, index), what)
    else setOption(descriptor, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, concat(group, words(index)), what)
  })
}

function open(
  interfaceName: string,
  group: Uint8Array,
  prepare: (descriptor: number, interfaceIndex: number, what: string) => void,
): number {
  const request = interfaceRequest(interfaceName)
  const index = libc.interfaceIndex(interfaceName)
  if (index === 0) throw systemError(interfaceName, ENODEV)
  const what = `${interfaceName}: cannot open a multicast socket`
  const descriptor = openSocket(group.length === 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0, what)
  try {
    setOption(descriptor, SOL_SOCKET, SO_BINDTODEVICE, new Uint8Array(request.buffer, 0, 16), what)
    prepare(descriptor, index, what)
    return descriptor
  } catch (error) {
    closeDescriptor(descriptor)
    throw error
  }
}

function membership(group: Uint8Array, interfaceIndex: number): Uint8Array {
  return concat(group, words(0, interfaceIndex))
}

/** In the machine's byte order. */
function words(...values: number[]): Uint8Array {
  return new Uint8Array(Int32Array.from(values).buffer)
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]))
}
