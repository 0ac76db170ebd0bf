/**
 * Sends whole IP packets through one interface, each at once; the kernel finds the next hop and its MAC: raw(7), ipv6(7). On a socket
 * of IPPROTO_RAW every packet brings its header with it, and nothing is received. Of IPv4 the kernel fills in checksum and
 * identification. For what is rare and must come from the address that it says.
 */
import { IPV4, IPV4_HEADER_LENGTH } from '../../protocol/packet/ipv4.ts'
import { IPV6, IPV6_HEADER_LENGTH } from '../../protocol/packet/ipv6.ts'
import { checked } from './errors.ts'
import { interfaceRequest } from './interface.ts'
import { sendto } from './libc.ts'
import {
  AF_INET,
  AF_INET6,
  closeDescriptor,
  IP_MULTICAST_LOOP,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_MULTICAST_LOOP,
  openSocket,
  SO_BINDTODEVICE,
  SO_PRIORITY,
  SOCK_RAW,
  SOL_SOCKET,
  setOption,
  socketAddress,
} from './socket.ts'

const IPPROTO_RAW = 255 // linux/in.h

export interface PacketSender {
  /** @throws DirectorError when the kernel does not take it */
  send(packet: Uint8Array): void
  close(): void
}

/**
 * @param priority of the interface's queues (TC_PRIO_* in linux/pkt_sched.h)
 * @throws DirectorError INTERFACE_MISSING, PRIVILEGE_MISSING
 */
export function openPacketSender(interfaceName: string, isIPv6: boolean, priority: number): PacketSender {
  const what = `${interfaceName}: raw socket`
  const device = new Uint8Array(interfaceRequest(interfaceName).buffer, 0, 16)
  const descriptor = openSocket(isIPv6 ? AF_INET6 : AF_INET, SOCK_RAW, IPPROTO_RAW, what)
  try {
    setOption(descriptor, SOL_SOCKET, SO_BINDTODEVICE, device, what)
    setOption(descriptor, SOL_SOCKET, SO_PRIORITY, priority, what)
    if (isIPv6) setOption(descriptor, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0, what)
    else setOption(descriptor, IPPROTO_IP, IP_MULTICAST_LOOP, 0, what)
  } catch (error) {
    closeDescriptor(descriptor)
    throw error
  }
  const [start, end] = isIPv6 ? [IPV6.destination, IPV6_HEADER_LENGTH] : [IPV4.destination, IPV4_HEADER_LENGTH]
  return {
    send(packet) {
      const address = socketAddress(packet.subarray(start, end), 0)
      checked(sendto(descriptor, packet, packet.length, 0, address, address.length), `${interfaceName}: cannot send`)
    },
    close: () => closeDescriptor(descriptor),
  }
}
