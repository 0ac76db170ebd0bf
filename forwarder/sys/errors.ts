/**
 * Failed system calls as errors that tell the operator what to do.
 *
 * Numbers: asm-generic/errno-base.h and asm-generic/errno.h.
 */
import { getSystemErrorName } from 'node:util'
import { DirectorError, type ErrorCode } from '../../protocol/errors.ts'
import { errno } from './libc.ts'

export const EPERM = 1
export const ENOENT = 2
export const ENXIO = 6
export const EBADF = 9
export const EAGAIN = 11
export const EACCES = 13
export const EBUSY = 16
export const ENODEV = 19
export const EAFNOSUPPORT = 97
export const EADDRINUSE = 98
export const ENETDOWN = 100

const advice: Record<number, { code: ErrorCode; text: string }> = {
  [EPERM]: { code: 'PRIVILEGE_MISSING', text: 'run as root, or grant CAP_NET_RAW and CAP_NET_ADMIN' },
  [EACCES]: { code: 'PRIVILEGE_MISSING', text: 'run as root, or grant CAP_NET_RAW and CAP_NET_ADMIN' },
  [ENODEV]: { code: 'INTERFACE_MISSING', text: 'no such network interface; "ip link" lists those there are' },
  [ENXIO]: { code: 'INTERFACE_MISSING', text: 'the network interface is gone; "ip link" lists those there are' },
  [ENETDOWN]: { code: 'INTERFACE_MISSING', text: 'the network interface is down; bring it up with "ip link set"' },
  [EADDRINUSE]: { code: 'SOCKET_BUSY', text: 'in use by another process; stop that one first' },
  [EBUSY]: { code: 'SOCKET_BUSY', text: 'in use by another process; stop that one first' },
  [EAFNOSUPPORT]: { code: 'MODULE_MISSING', text: 'this kernel does not support it; load its module with modprobe' },
  [ENOENT]: { code: 'MODULE_MISSING', text: 'not there; load its kernel module with modprobe' },
}

/** @param what what was tried and on which object, such as "eth0: cannot open a packet socket" */
export function systemError(what: string, number: number): DirectorError {
  const known = advice[number]
  const name = getSystemErrorName(-number)
  return known
    ? new DirectorError(known.code, `${what}: ${known.text} (${name})`)
    : new DirectorError('FORWARDER_FAILED', `${what}: the kernel refused with ${name}`)
}

/** Passes a call's result on, or throws what its errno means. */
export function checked(result: number, what: string): number {
  if (result < 0) throw systemError(what, errno())
  return result
}
