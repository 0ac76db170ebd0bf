/**
 * Sockets and their options: socket(2), bind(2), setsockopt(2), getsockopt(2). Everything here is for setting up.
 *
 * Constants: bits/socket.h, asm-generic/socket.h, linux/in.h, linux/in6.h.
 */
import { checked } from './errors.ts'
import * as libc from './libc.ts'

export const AF_INET = 2
export const AF_INET6 = 10
export const AF_PACKET = 17
export const SOCK_DGRAM = 2
export const SOCK_RAW = 3
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000

export const SOL_SOCKET = 1
export const SO_ERROR = 4
export const SO_PRIORITY = 12
export const SO_BINDTODEVICE = 25
export const SO_ATTACH_FILTER = 26
export const SO_SNDBUFFORCE = 32
export const SO_RCVBUFFORCE = 33

export const IPPROTO_IP = 0
export const IPPROTO_IPV6 = 41
export const IP_MULTICAST_LOOP = 34
export const IPV6_MULTICAST_LOOP = 19

/** A nonblocking socket that child processes do not inherit. */
export function openSocket(family: number, type: number, protocol: number, what: string): number {
  return checked(libc.socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol), what)
}

/** Sets an option that is an int, or a struct given as its bytes. */
export function setOption(descriptor: number, level: number, option: number, to: number | Uint8Array, what: string) {
  const value = typeof to === 'number' ? new Int32Array([to]) : to
  checked(libc.setsockopt(descriptor, level, option, value, value.byteLength), what)
}

/** Fetches an option's value into `value`. */
export function getOption(descriptor: number, level: number, option: number, value: Int32Array, what: string): void {
  checked(libc.getsockopt(descriptor, level, option, value, new Uint32Array([value.byteLength])), what)
}

/**
 * struct sockaddr_in (linux/in.h):   family u16 | port BE16 | address 4 | 8 bytes of 0
 * struct sockaddr_in6 (linux/in6.h): family u16 | port BE16 | flow 4 | address 16 | scope u32
 *
 * The rest in the machine's order (both supported machines: little endian).
 * @param address 4 bytes or 16
 * @param scope of IPv6: number of the interface
 */
export function socketAddress(address: Uint8Array, port: number, scope = 0): Uint8Array {
  const isIPv6 = address.length === 16
  const bytes = new Uint8Array(isIPv6 ? 28 : 16)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, isIPv6 ? AF_INET6 : AF_INET, true)
  view.setUint16(2, port)
  bytes.set(address, isIPv6 ? 8 : 4)
  if (isIPv6) view.setUint32(24, scope, true)
  return bytes
}

/** @param address a struct sockaddr of the socket's family */
export function bindSocket(descriptor: number, address: Uint8Array, what: string): void {
  checked(libc.bind(descriptor, address, address.length), what)
}

export function closeDescriptor(descriptor: number): void {
  libc.close(descriptor)
}
