/**
 * A UDP port that is taken and silent: while it is open the kernel does not answer datagrams to it with "port unreachable", and
 * throws away its own copy of them. Who reads them does so by a raw socket (raw-ip.ts).
 */

import { AF_INET, bindSocket, closeDescriptor, openSocket, SOCK_DGRAM } from './socket.ts'
import { attachFilter, nothingFilter } from './socket-filter.ts'

/** @throws DirectorError SOCKET_BUSY */
export function openSilentUdp(port: number): { close(): void } {
  const what = `UDP port ${port}`
  const descriptor = openSocket(AF_INET, SOCK_DGRAM, 0, what)
  try {
    attachFilter(descriptor, nothingFilter, what)
    bindSocket(descriptor, socketAddress(port), what)
  } catch (error) {
    closeDescriptor(descriptor)
    throw error
  }
  return { close: () => closeDescriptor(descriptor) }
}

/** struct sockaddr_in (netinet/in.h): family, in the machine's order, port in the network's, any address. */
function socketAddress(port: number): Uint8Array {
  const address = new Uint8Array(16)
  new Uint16Array(address.buffer)[0] = AF_INET
  new DataView(address.buffer).setUint16(2, port)
  return address
}
