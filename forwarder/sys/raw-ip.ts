/**
 * Receives IP packets of one protocol that are addressed to this host, outer header included: raw(7). While such a
 * socket is open the kernel does not answer that protocol with "protocol unreachable".
 *
 * The kernel has put fragments together, and checked the outer header's checksum. A sender on the same machine (veth)
 * leaves the transport checksum of the inner packet unfinished: the field holds the sum of the pseudo header only, and the
 * raw socket does not say so. Who hands the inner packet on has to finish it.
 */
import type { Frame } from '../link/link.ts'
import { allocateFrameMemory } from './memory.ts'
import { MessageBatch } from './message-batch.ts'
import { AF_INET, closeDescriptor, openSocket, SO_RCVBUFFORCE, SOCK_RAW, SOL_SOCKET, setOption } from './socket.ts'
import { attachFilter, udpPortFilter } from './socket-filter.ts'

export const IPPROTO_IPIP = 4 // linux/in.h
const PACKET_BYTES_MAX = 65_536
const RECEIVE_BUFFER_BYTES = 8 << 20

export interface RawIpSocket {
  /** For PollSet: readable when a packet waits. */
  readonly descriptor: number
  /** As many packets as one receive() returns at most. */
  readonly batch: number
  /**
   * Fills `packets` from its start and returns how many; 0 when none waits. `start` is the outer IPv4 header. The
   * packets lie in the socket's own memory and stay valid until the next receive().
   */
  receive(packets: Frame[]): number
  close(): void
}

/**
 * @param udpPort of IP protocol 17: only datagrams to this port are taken
 * @throws DirectorError PRIVILEGE_MISSING
 */
export function openRawIp(protocol: number, udpPort?: number, batch = 32): RawIpSocket {
  const what = `raw socket for IP protocol ${protocol}`
  const descriptor = openSocket(AF_INET, SOCK_RAW, protocol, what)
  try {
    if (udpPort !== undefined) attachFilter(descriptor, udpPortFilter(udpPort), what)
    setOption(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES, what)
  } catch (error) {
    closeDescriptor(descriptor)
    throw error
  }
  const memory = allocateFrameMemory(batch * PACKET_BYTES_MAX)
  const messages = new MessageBatch(batch)
  for (let index = 0; index < batch; index++) messages.set(index, memory, index * PACKET_BYTES_MAX, PACKET_BYTES_MAX)
  let open = true
  return {
    descriptor,
    batch,
    receive(packets) {
      if (!open) return 0
      const count = Math.max(0, messages.receive(descriptor, Math.min(batch, packets.length)))
      for (let index = 0; index < count; index++) {
        packets[index].memory = memory
        packets[index].start = index * PACKET_BYTES_MAX
        packets[index].length = messages.moved(index)
      }
      return count
    },
    close() {
      if (open) closeDescriptor(descriptor)
      open = false
    },
  }
}
