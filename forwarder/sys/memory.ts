/**
 * Memory that both JavaScript and the kernel see, at an address that does not change.
 */
import type { FrameMemory } from '../link/link.ts'
import { checked } from './errors.ts'
import { addressOf, getpagesize, madvise, mmap, munmap, viewOf } from './libc.ts'

// asm-generic/mman-common.h, linux/mman.h
const PROT_READ = 1
const PROT_WRITE = 2
const MAP_SHARED = 0x01
const MAP_POPULATE = 0x8000
const MADV_DONTFORK = 10
const MADV_HUGEPAGE = 14

/**
 * What is longer is a mapping of its own with every malloc(3), unmapped when it is freed, so that what is advised for it is never
 * true of something else (mallopt(3), M_MMAP_THRESHOLD).
 */
const OWN_MAPPING_BYTES = 32 * 2 ** 20

function frameMemory(buffer: ArrayBuffer, address: number): FrameMemory {
  return {
    bytes: new Uint8Array(buffer),
    view: new DataView(buffer),
    addressHigh: Math.floor(address / 2 ** 32),
    addressLow: address >>> 0,
  }
}

/** Where the kernel sees memory.bytes[offset]. */
export function addressAt(memory: FrameMemory, offset: number): number {
  return memory.addressHigh * 2 ** 32 + memory.addressLow + offset
}

/** Zeroed memory that any link can send from. It is freed when nothing refers to it any more. */
export function allocateFrameMemory(bytes: number): FrameMemory {
  const buffer = new ArrayBuffer(bytes)
  return frameMemory(buffer, addressOf(buffer))
}

/**
 * Advice to the kernel on a large table, before it is used; wishes only. Huge pages: in a table of tens of megabytes that is read
 * at random, every read of a small page misses the processor's address cache too. And none of it for children: a program that the
 * director starts begins as its copy, and whatever page is written next costs a fault first, hundreds of milliseconds for all of
 * them (docs/decisions/connection-table.md).
 */
export function adviseTable(buffer: ArrayBufferLike): void {
  const page = getpagesize()
  const start = Math.ceil(addressOf(buffer) / page) * page
  const end = Math.floor((addressOf(buffer) + buffer.byteLength) / page) * page
  if (end <= start) return
  madvise(start, end - start, MADV_HUGEPAGE)
  if (buffer.byteLength > OWN_MAPPING_BYTES) madvise(start, end - start, MADV_DONTFORK)
}

export interface MappedMemory {
  readonly buffer: ArrayBuffer
  readonly frames: FrameMemory
  /** Afterwards every view of the memory has length 0: a late access finds nothing instead of crashing the process. */
  unmap(): void
}

/** The ring memory of a socket. */
export function mapDescriptor(descriptor: number, bytes: number, what: string): MappedMemory {
  const flags = MAP_SHARED | MAP_POPULATE
  const address = checked(mmap(0, bytes, PROT_READ | PROT_WRITE, flags, descriptor, 0), what)
  const buffer = viewOf(address, bytes)
  return {
    buffer,
    frames: frameMemory(buffer, address),
    unmap() {
      buffer.transfer(0)
      munmap(address, bytes)
    },
  }
}
