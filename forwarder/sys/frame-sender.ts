/**
 * Sends whole Ethernet frames, each at once: an AF_PACKET socket that receives nothing, since it is bound to no protocol (packet(7)).
 * For what is rare and must not wait for the forwarding thread.
 */
import { checked } from './errors.ts'
import { addressOf, write } from './libc.ts'
import { linkLayerAddress } from './packet-socket.ts'
import {
  AF_PACKET,
  bindSocket,
  closeDescriptor,
  openSocket,
  SO_PRIORITY,
  SOCK_RAW,
  SOL_SOCKET,
  setOption,
} from './socket.ts'

/** What Ethernet carries, and a little more. */
const LONGEST_FRAME = 2048
const NO_PROTOCOL = 0

export interface FrameSender {
  /** @throws DirectorError when the kernel does not take it; RangeError when it is longer than 2,048 bytes */
  send(frame: Uint8Array): void
  close(): void
}

/**
 * @param priority of the interface's queues (TC_PRIO_* in linux/pkt_sched.h)
 * @throws DirectorError INTERFACE_MISSING, PRIVILEGE_MISSING
 */
export function openFrameSender(interfaceName: string, interfaceIndex: number, priority: number): FrameSender {
  const what = `${interfaceName}: packet socket`
  const descriptor = openSocket(AF_PACKET, SOCK_RAW, NO_PROTOCOL, what)
  try {
    bindSocket(descriptor, linkLayerAddress(interfaceIndex, NO_PROTOCOL), what)
    setOption(descriptor, SOL_SOCKET, SO_PRIORITY, priority, what)
  } catch (error) {
    closeDescriptor(descriptor)
    throw error
  }
  const memory = new Uint8Array(LONGEST_FRAME)
  const address = addressOf(memory.buffer)
  return {
    send(frame) {
      memory.set(frame)
      checked(write(descriptor, address, frame.length), `${interfaceName}: cannot send`)
    },
    close: () => closeDescriptor(descriptor),
  }
}
