/**
 * What this process has open is not for the programs that it starts: ioctl_fioclex(2). Most of it is opened that way; what packages open in C,
 * the raw sockets of VRRP and the files of the store, is not.
 */
import { readdirSync } from 'node:fs'
import { ioctl } from './libc.ts'

const FIOCLEX = 0x5451 // asm-generic/ioctls.h
const NOTHING = new Uint8Array(0)
const STANDARD_ERROR = 2

/**
 * Lets nothing but standard input, output and error go on to programs. Others may be opened at any time, by any thread: to be called directly
 * before each start of a program. Its own pipes it has as those three.
 */
export function closeOnExec(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const descriptor = Number(name)
    // The list has the one that it was read by, which is closed again: a failure is none.
    if (descriptor > STANDARD_ERROR) ioctl(descriptor, FIOCLEX, NOTHING)
  }
}
