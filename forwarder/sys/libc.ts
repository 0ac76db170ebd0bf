/**
 * The C library's wrappers of the system calls that the forwarder makes, through koffi. No other file loads a library.
 *
 * Pointers are plain numbers: user addresses lie far below 2^53, so a number holds them exactly and no call allocates
 * a BigInt. All calls are synchronous, so that they work in worker threads too. Each costs about 0.3 us besides what
 * the kernel does: make them once a batch, never once a packet.
 */
import koffi from 'koffi'

const self = koffi.load(null) // Node itself is linked with the C library, be it glibc or musl

type NumberCall = (...values: number[]) => number
/** A pointer as memory that the call keeps alive; the kernel reads and writes it in place. */
type Bytes = ArrayBuffer | ArrayBufferView

// For setting up: pointers are given as buffers.
export const socket: NumberCall = self.func('socket', 'int', ['int', 'int', 'int'])
export const close: NumberCall = self.func('close', 'int', ['int'])
export const eventfd: NumberCall = self.func('eventfd', 'int', ['uint32_t', 'int'])
export const getpagesize: NumberCall = self.func('getpagesize', 'int', [])
export const munmap: NumberCall = self.func('munmap', 'int', ['uintptr_t', 'size_t'])
export const mmap: NumberCall = self.func('mmap', 'intptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t'])
export const madvise: NumberCall = self.func('madvise', 'int', ['uintptr_t', 'size_t', 'int'])
export const open: (path: string, flags: number) => number = self.func('open', 'int', ['str', 'int'])
export const interfaceIndex: (name: string) => number = self.func('if_nametoindex', 'uint32_t', ['str'])
export const bind: (descriptor: number, address: Bytes, length: number) => number = self.func('bind', 'int', [
  'int',
  'void *',
  'uint32_t',
])
type SendCall = (
  descriptor: number,
  data: Bytes,
  length: number,
  flags: number,
  address: Bytes,
  addressLength: number,
) => number
export const sendto: SendCall = self.func('sendto', 'intptr_t', [
  'int',
  'void *',
  'size_t',
  'int',
  'void *',
  'uint32_t',
])
export const ioctl: (descriptor: number, request: number, argument: Bytes) => number = self.func('ioctl', 'int', [
  'int',
  'ulong',
  'void *',
])
type OptionCall<Length> = (descriptor: number, level: number, option: number, value: Bytes, length: Length) => number
export const setsockopt: OptionCall<number> = self.func('setsockopt', 'int', [
  'int',
  'int',
  'int',
  'void *',
  'uint32_t',
])
export const getsockopt: OptionCall<Bytes> = self.func('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *'])

// For the loop: pointers are addresses of memory that the caller keeps alive.
export const sendmmsg: NumberCall = self.func('sendmmsg', 'int', ['int', 'uintptr_t', 'uint32_t', 'int'])
export const recvmmsg: NumberCall = self.func('recvmmsg', 'int', ['int', 'uintptr_t', 'uint32_t', 'int', 'uintptr_t'])
export const poll: NumberCall = self.func('poll', 'int', ['uintptr_t', 'ulong', 'int'])
export const read: NumberCall = self.func('read', 'intptr_t', ['int', 'uintptr_t', 'size_t'])
export const write: NumberCall = self.func('write', 'intptr_t', ['int', 'uintptr_t', 'size_t'])

/** Where the kernel sees a buffer's first byte: it stays there for as long as something refers to the buffer. */
export function addressOf(buffer: ArrayBufferLike): number {
  return Number(koffi.address(buffer))
}

/** Kernel memory as an ArrayBuffer, without a copy. It must be detached before the memory is unmapped. */
export function viewOf(address: number, length: number): ArrayBuffer {
  return koffi.view(address, length)
}

/** Why the last call of this thread failed; ask directly after it. */
export function errno(): number {
  return koffi.errno()
}
