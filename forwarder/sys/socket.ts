/**
 * Sockets and their options: socket(2), bind(2), setsockopt(2), getsockopt(2). Everything here is for setting up.
 *
 * Constants: bits/socket.h, asm-generic/socket.h, linux/in6.h.
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
export const SO_ATTACH_FILTER = 26
export const SO_SNDBUFFORCE = 32
export const SO_RCVBUFFORCE = 33

export const IPPROTO_IPV6 = 41

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

/** @param address a struct sockaddr of the socket's family */
export function bindSocket(descriptor: number, address: Uint8Array, what: string): void {
  checked(libc.bind(descriptor, address, address.length), what)
}

export function closeDescriptor(descriptor: number): void {
  libc.close(descriptor)
}
