/**
 * The far end of a packet ring under test: an AF_PACKET socket used by plain read and write, with nothing of the ring's code.
 */
import { interfaceFacts } from '../../../forwarder/sys/interface.ts'
import { read, write } from '../../../forwarder/sys/libc.ts'
import { addressAt, allocateFrameMemory } from '../../../forwarder/sys/memory.ts'
import {
  AF_PACKET,
  bindSocket,
  closeDescriptor,
  openSocket,
  SO_RCVBUFFORCE,
  SOCK_RAW,
  SOL_SOCKET,
  setOption,
} from '../../../forwarder/sys/socket.ts'
import { ETHERTYPE_IPV4 } from '../../../protocol/packet/ethernet.ts'
import type { FarEnd } from '../../compliance/link.ts'

// linux/if_packet.h
const SOL_PACKET = 263
const PACKET_VNET_HDR = 15
const PACKET_IGNORE_OUTGOING = 23

/** @param etherType of the frames that it hears */
export function openPlainPacketSocket(name: string, etherType = ETHERTYPE_IPV4): FarEnd {
  const { index } = interfaceFacts(name)
  const descriptor = openSocket(AF_PACKET, SOCK_RAW, 0, name)
  setOption(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20, name)
  setOption(descriptor, SOL_PACKET, PACKET_VNET_HDR, 1, name)
  setOption(descriptor, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, name)
  // struct sockaddr_ll: family, EtherType in network order, interface
  const type = [etherType >> 8, etherType & 255]
  bindSocket(descriptor, Uint8Array.of(AF_PACKET, 0, ...type, index, index >> 8, 0, 0, ...Array(12).fill(0)), name)
  const memory = allocateFrameMemory(1 << 17)
  const address = addressAt(memory, 0)
  return {
    inject(frame, vnetHeader = new Uint8Array(10)) {
      memory.bytes.set(vnetHeader)
      memory.bytes.set(frame, 10)
      const length = 10 + frame.length
      if (write(descriptor, address, length) !== length) throw new Error(`${name} did not take the frame`)
    },
    take() {
      const packets: Uint8Array[] = []
      for (;;) {
        const length = read(descriptor, address, memory.bytes.length)
        if (length <= 0) return packets
        packets.push(memory.bytes.slice(0, length))
      }
    },
    close: () => closeDescriptor(descriptor),
  }
}
