/**
 * Receives IP packets of one protocol that are addressed to this host, outer header included: raw(7), ipv6(7). While such a
 * socket is open the kernel does not answer that protocol with "protocol unreachable".
 *
 * The kernel has put fragments together, and checked the outer header. A sender on the same machine (veth) leaves the transport
 * checksum of the inner packet unfinished: the field holds the sum of the pseudo header only, and the raw socket does not say so.
 * Who hands the inner packet on has to finish it.
 *
 * Of IPv6 the kernel hands over what follows the headers (RFC 3542 section 3). The header is written in front of it again, from what
 * is told beside the packet: the source, and as control messages (struct cmsghdr, bits/socket.h) the destination and the traffic class.
 * ```
 *  0 length u64 | 8 level i32 | 12 type i32 | 16 value, padded to 8 bytes
 * ```
 */
import { IPV6, IPV6_HEADER_LENGTH, writeIPv6 } from '../../protocol/packet/ipv6.ts'
import { ADDRESS_BYTES } from '../../protocol/packet/ipv6-address.ts'
import type { Frame, FrameMemory } from '../link/link.ts'
import { allocateFrameMemory } from './memory.ts'
import { MessageBatch } from './message-batch.ts'
import {
  AF_INET,
  AF_INET6,
  closeDescriptor,
  IPPROTO_IPV6,
  openSocket,
  SO_RCVBUFFORCE,
  SOCK_RAW,
  SOL_SOCKET,
  setOption,
} from './socket.ts'
import { attachFilter, udpPortFilter } from './socket-filter.ts'

// linux/in6.h
const IPV6_RECVPKTINFO = 49
const IPV6_PKTINFO = 50
const IPV6_RECVTCLASS = 66
const IPV6_TCLASS = 67
const CONTROL_HEADER_BYTES = 16
/** The two messages that are asked for: 16 + 20 bytes, 16 + 4, each padded. */
const CONTROL_BYTES = 64
const NAME_ADDRESS = 8
const ANY = [0, 0, 0, 0]

const PACKET_BYTES_MAX = 65_536
/** The longest payload of IPv6, its header in front of it, on whole pages. */
const SLOT_BYTES = PACKET_BYTES_MAX + 4096
const RECEIVE_BUFFER_BYTES = 8 << 20

export interface RawIpOptions {
  readonly protocol: number
  readonly isIPv6: boolean
  /** Of IP protocol 17: only datagrams to this port are taken. */
  readonly udpPort?: number
}

export interface RawIpSocket {
  /** For PollSet: readable when a packet waits. */
  readonly descriptor: number
  /** As many packets as one receive() returns at most. */
  readonly batch: number
  /**
   * Fills `packets` from its start and returns how many; 0 when none waits. `start` is the outer IP header, that of IPv6 without
   * extension headers. The packets lie in the socket's own memory and stay valid until the next receive().
   */
  receive(packets: Frame[]): number
  close(): void
}

/** @throws DirectorError PRIVILEGE_MISSING */
export function openRawIp({ protocol, isIPv6, udpPort }: RawIpOptions, batch = 32): RawIpSocket {
  const what = `raw socket for ${isIPv6 ? 'IPv6' : 'IP'} protocol ${protocol}`
  const descriptor = openSocket(isIPv6 ? AF_INET6 : AF_INET, SOCK_RAW, protocol, what)
  try {
    if (udpPort !== undefined) attachFilter(descriptor, udpPortFilter(udpPort, isIPv6), what)
    if (isIPv6) {
      setOption(descriptor, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, what)
      setOption(descriptor, IPPROTO_IPV6, IPV6_RECVTCLASS, 1, what)
    }
    setOption(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES, what)
  } catch (error) {
    closeDescriptor(descriptor)
    throw error
  }
  const headerLength = isIPv6 ? IPV6_HEADER_LENGTH : 0
  const memory = allocateFrameMemory(batch * SLOT_BYTES)
  const messages = new MessageBatch(batch, isIPv6 ? CONTROL_BYTES : 0)
  for (let index = 0; index < batch; index++) {
    messages.set(index, memory, index * SLOT_BYTES + headerLength, PACKET_BYTES_MAX)
  }
  let open = true
  return {
    descriptor,
    batch,
    receive(packets) {
      if (!open) return 0
      const count = Math.max(0, messages.receive(descriptor, Math.min(batch, packets.length)))
      for (let index = 0; index < count; index++) {
        const packet = packets[index]
        packet.memory = memory
        packet.start = index * SLOT_BYTES
        packet.length = headerLength + messages.moved(index)
        if (isIPv6) writeHeader(memory, packet.start, protocol, messages, index)
      }
      return count
    },
    close() {
      if (open) closeDescriptor(descriptor)
      open = false
    },
  }
}

function writeHeader(memory: FrameMemory, at: number, protocol: number, messages: MessageBatch, index: number): void {
  const { beside } = messages
  const payloadLength = messages.moved(index)
  writeIPv6(memory.bytes, at, { payloadLength, nextHeader: protocol, hopLimit: 1, source: ANY, destination: ANY })
  copyAddress(beside, messages.nameAt(index) + NAME_ADDRESS, memory.view, at + IPV6.source)
  const end = messages.controlAt(index) + messages.controlLength(index)
  for (let message = messages.controlAt(index); message + CONTROL_HEADER_BYTES <= end; ) {
    const length = beside.getUint32(message, true)
    if (length < CONTROL_HEADER_BYTES) return
    const value = message + CONTROL_HEADER_BYTES
    const type = beside.getInt32(message + 12, true)
    if (type === IPV6_PKTINFO) copyAddress(beside, value, memory.view, at + IPV6.destination)
    if (type === IPV6_TCLASS) memory.view.setUint16(at, 0x6000 | (beside.getInt32(value, true) << 4))
    message += (length + 7) & ~7
  }
}

function copyAddress(from: DataView, at: number, to: DataView, toAt: number): void {
  for (let byte = 0; byte < ADDRESS_BYTES; byte += 4) to.setInt32(toAt + byte, from.getInt32(at + byte))
}
