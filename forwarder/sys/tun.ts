/**
 * A TUN device: IP packets written here arrive at this host as if from a network, and what the host routes to the
 * device can be read. Documentation/networking/tuntap.rst; constants from linux/if_tun.h.
 */
import type { Frame, FrameMemory } from '../link/link.ts'
import { checked } from './errors.ts'
import { bringUp, interfaceRequest } from './interface.ts'
import * as libc from './libc.ts'
import { addressAt } from './memory.ts'

const O_RDWR = 2 // asm-generic/fcntl.h, as are the next two
const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000
const TUNSETIFF = 0x400454ca
const IFF_TUN = 1
const IFF_NO_PI = 0x1000
const IFF_VNET_HDR = 0x4000
const IFREQ_FLAGS = 16

export interface TunDevice {
  readonly name: string
  /** For PollSet: readable when a packet waits. */
  readonly descriptor: number
  /**
   * Reads one packet, from its IP header on, into memory at `start`; at most `room` bytes, to the end of the memory unless given.
   * Returns its length, or 0 when none waits.
   */
  read(memory: FrameMemory, start: number, room?: number): number
  /** Hands the host the IP packet that `packet` delimits (`start` is its IP header). False when the kernel refused it. */
  write(packet: Frame): boolean
  /** The device disappears. */
  close(): void
}

export interface TunOptions {
  /** Packets are preceded by a struct virtio_net_hdr, in both directions. */
  readonly hasVirtioHeader?: boolean
}

/**
 * Creates the device, brings it up, and returns without waiting.
 * @throws DirectorError PRIVILEGE_MISSING, MODULE_MISSING, SOCKET_BUSY (another process has the device open)
 */
export function openTun(name: string, { hasVirtioHeader = false }: TunOptions = {}): TunDevice {
  const what = `TUN device ${name}`
  const request = interfaceRequest(name)
  request.setUint16(IFREQ_FLAGS, IFF_TUN | IFF_NO_PI | (hasVirtioHeader ? IFF_VNET_HDR : 0), true)
  const descriptor = checked(libc.open('/dev/net/tun', O_RDWR | O_NONBLOCK | O_CLOEXEC), `${what}: /dev/net/tun`)
  try {
    checked(libc.ioctl(descriptor, TUNSETIFF, request), what)
    bringUp(name)
  } catch (error) {
    libc.close(descriptor)
    throw error
  }
  let open = true
  return {
    name,
    descriptor,
    read(memory, start, room = memory.bytes.length - start) {
      const address = addressAt(memory, start)
      return open ? Math.max(0, libc.read(descriptor, address, room)) : 0
    },
    write({ memory, start, length }) {
      return open && libc.write(descriptor, addressAt(memory, start), length) === length
    },
    close() {
      if (open) libc.close(descriptor)
      open = false
    },
  }
}
