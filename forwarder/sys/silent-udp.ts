/**
 * A UDP port that is taken and silent: while it is open the kernel does not answer datagrams to it with "port unreachable", and
 * throws away its own copy of them. Who reads them does so by a raw socket (raw-ip.ts).
 */
import {
  AF_INET,
  AF_INET6,
  bindSocket,
  closeDescriptor,
  IPPROTO_IPV6,
  openSocket,
  SOCK_DGRAM,
  setOption,
  socketAddress,
} from './socket.ts'
import { attachFilter, nothingFilter } from './socket-filter.ts'

const IPV6_V6ONLY = 26 // linux/in6.h

/** @throws DirectorError SOCKET_BUSY */
export function openSilentUdp(port: number, isIPv6: boolean): { close(): void } {
  const what = `UDP port ${port}`
  const descriptor = openSocket(isIPv6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0, what)
  try {
    attachFilter(descriptor, nothingFilter, what)
    // The port of IPv4 is another socket's.
    if (isIPv6) setOption(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, 1, what)
    bindSocket(descriptor, socketAddress(new Uint8Array(isIPv6 ? 16 : 4), port), what)
  } catch (error) {
    closeDescriptor(descriptor)
    throw error
  }
  return { close: () => closeDescriptor(descriptor) }
}
