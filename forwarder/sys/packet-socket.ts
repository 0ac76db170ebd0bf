/**
 * An AF_PACKET socket with a TPACKET_V2 receive ring: packet(7), Documentation/networking/packet_mmap.rst, and
 * net/packet/af_packet.c where those are silent. Constants from linux/if_packet.h and linux/if_ether.h.
 *
 * A slot of the ring, as tpacket_rcv() fills it with PACKET_VNET_HDR and the reserve asked for here:
 *
 *     0    struct tpacket2_hdr: status u32 | length u32 | captured u32 | frame offset u16 | network offset u16 | ...
 *    32    struct sockaddr_ll, 20 bytes
 *    52    headroom, 76 bytes
 *   128    struct virtio_net_hdr, 10 bytes
 *   138    the frame
 *
 * The virtio, Ethernet, IPv4 and TCP headers (10 + 14 + 20 + 20 bytes) thus fill exactly one 64-byte cache line.
 */
import { formatMac } from '../../protocol/packet/bytes.ts'
import { HEADROOM, MAX_FRAME_LENGTH, VNET_HEADER_LENGTH } from '../link/link.ts'
import type { InterfaceFacts } from './interface.ts'
import { type MappedMemory, mapDescriptor } from './memory.ts'
import {
  AF_PACKET,
  bindSocket,
  closeDescriptor,
  getOption,
  openSocket,
  SO_SNDBUFFORCE,
  SOCK_RAW,
  SOL_SOCKET,
  setOption,
} from './socket.ts'
import { attachFilter, etherTypeFilter } from './socket-filter.ts'

export const TP_STATUS_KERNEL = 0
export const TP_STATUS_USER = 1
/** struct tpacket2_hdr in 32-bit words. */
export const LENGTH_WORD = 1
export const CAPTURED_WORD = 2
/** Low half: where in the slot the frame begins. */
export const OFFSETS_WORD = 3

const SOL_PACKET = 263 // bits/socket.h
const PACKET_ADD_MEMBERSHIP = 1
const PACKET_DROP_MEMBERSHIP = 2
const PACKET_RX_RING = 5
const PACKET_STATISTICS = 6
const PACKET_VERSION = 10
const PACKET_RESERVE = 12
const PACKET_VNET_HDR = 15
const PACKET_IGNORE_OUTGOING = 23
const PACKET_MR_UNICAST = 3
const TPACKET_V2 = 1
const ETH_P_ALL = 3
const ETH_P_IP = 0x0800
const ETH_P_ARP = 0x0806
const ETH_P_IPV6 = 0x86dd
const ETHER_TYPES = [ETH_P_IP, ETH_P_ARP, ETH_P_IPV6]

const SLOT_HEADER_BYTES = 52
const FRAME_OFFSET = 138
/** What of FRAME_OFFSET tpacket_rcv() does not put there by itself: 80 for its header, rounded, and the virtio header, less the MAC header. */
const RESERVE_BYTES = FRAME_OFFSET - (80 + VNET_HEADER_LENGTH - 14)
/**
 * An odd number of cache lines, so that the headers of successive slots lie in different sets of every cache; in slots of
 * a power of two they would all compete for the same few.
 */
const SLOT_BYTES = 64 * 1027
/**
 * A power of two of pages, and not the greatest: the kernel finds these in one piece. Of other sizes it would gather single pages, and give
 * them back one by one when the director ends, for tens of milliseconds in which nothing else runs on that processor.
 */
const BLOCK_BYTES = 2 ** 21
const SLOTS_PER_BLOCK = Math.floor(BLOCK_BYTES / SLOT_BYTES)
const SEND_BUFFER_BYTES = 16 << 20

if (FRAME_OFFSET + MAX_FRAME_LENGTH > SLOT_BYTES || SLOT_HEADER_BYTES + HEADROOM + VNET_HEADER_LENGTH > FRAME_OFFSET)
  throw new Error('the slot layout breaks the frame memory contract of link.ts')

export interface PacketSocket {
  readonly descriptor: number
  readonly ring: MappedMemory
  /** Where each slot begins, in bytes from the ring's start. */
  readonly slotOffsets: Int32Array
  /** Frames that the kernel found no room for, since the last call. */
  takeDrops(): number
  /**
   * From now on frames to these MACs are taken too, and to no others but the interface's own. The interface lets them in; to the
   * host's stack they are another host's (PACKET_OTHERHOST), which ip_rcv(), ipv6_rcv() and arp_rcv() drop.
   * @throws DirectorError when the kernel refuses
   */
  takeMacs(macs: readonly Uint8Array[]): void
  close(): void
}

/** Opens the socket and starts taking ARP, IPv4 and IPv6 frames. `slots` is rounded up to a multiple of 31. */
export function openPacketSocket(name: string, { index }: InterfaceFacts, slots: number): PacketSocket {
  const what = `${name}: packet socket`
  // Protocol 0 until bind: a socket that is not set up yet would take frames of every interface.
  const descriptor = openSocket(AF_PACKET, SOCK_RAW, 0, what)
  let ring: MappedMemory | undefined
  const close = () => {
    ring?.unmap()
    closeDescriptor(descriptor)
  }
  try {
    setOption(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES, what)
    attachFilter(descriptor, etherTypeFilter(ETHER_TYPES), what)
    // The filter refuses outgoing frames too; this spares the kernel from offering them.
    setOption(descriptor, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, what)
    setOption(descriptor, SOL_PACKET, PACKET_VERSION, TPACKET_V2, what)
    setOption(descriptor, SOL_PACKET, PACKET_VNET_HDR, 1, what)
    setOption(descriptor, SOL_PACKET, PACKET_RESERVE, RESERVE_BYTES, what)

    const blocks = Math.ceil(slots / SLOTS_PER_BLOCK)
    // struct tpacket_req: block size, block count, frame size, frame count
    const request = new Uint32Array([BLOCK_BYTES, blocks, SLOT_BYTES, blocks * SLOTS_PER_BLOCK])
    const ringOf = `${what}: cannot make a ring of ${blocks * SLOTS_PER_BLOCK} slots`
    setOption(descriptor, SOL_PACKET, PACKET_RX_RING, new Uint8Array(request.buffer), ringOf)
    ring = mapDescriptor(descriptor, BLOCK_BYTES * blocks, ringOf)

    bindSocket(descriptor, linkLayerAddress(index, ETH_P_ALL), what)
    const slotOffset = (slot: number) =>
      Math.floor(slot / SLOTS_PER_BLOCK) * BLOCK_BYTES + (slot % SLOTS_PER_BLOCK) * SLOT_BYTES
    const memberships = new Map<string, Uint8Array>()
    const statistics = new Int32Array(2) // struct tpacket_stats: packets, drops; reading clears both
    return {
      descriptor,
      ring,
      slotOffsets: Int32Array.from({ length: blocks * SLOTS_PER_BLOCK }, (_, slot) => slotOffset(slot)),
      takeDrops() {
        getOption(descriptor, SOL_PACKET, PACKET_STATISTICS, statistics, what)
        return statistics[1] >>> 0
      },
      takeMacs(macs) {
        const wanted = new Map(macs.map((mac) => [formatMac(mac), mac]))
        const added = [...wanted].filter(([name]) => !memberships.has(name))
        const dropped = [...memberships].filter(([name]) => !wanted.has(name))
        if (added.length + dropped.length === 0) return
        for (const [name, mac] of added) {
          setOption(descriptor, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership(index, mac), `${what}: ${name}`)
          memberships.set(name, mac)
        }
        attachFilter(descriptor, etherTypeFilter(ETHER_TYPES, macs), what)
        for (const [name, mac] of dropped) {
          setOption(descriptor, SOL_PACKET, PACKET_DROP_MEMBERSHIP, membership(index, mac), `${what}: ${name}`)
          memberships.delete(name)
        }
      },
      close,
    }
  } catch (error) {
    close()
    throw error
  }
}

/** struct sockaddr_ll: family u16 | EtherType u16, big endian | interface index i32 | what only received frames have. */
export function linkLayerAddress(index: number, protocol: number): Uint8Array {
  const address = new DataView(new ArrayBuffer(20))
  address.setUint16(0, AF_PACKET, true)
  address.setUint16(2, protocol, false)
  address.setInt32(4, index, true)
  return new Uint8Array(address.buffer)
}

/** struct packet_mreq: interface index i32 | type u16 | address length u16 | address, 8 bytes. */
function membership(index: number, mac: Uint8Array): Uint8Array {
  const request = new DataView(new ArrayBuffer(16))
  request.setInt32(0, index, true)
  request.setUint16(4, PACKET_MR_UNICAST, true)
  request.setUint16(6, mac.length, true)
  const bytes = new Uint8Array(request.buffer)
  bytes.set(mac, 8)
  return bytes
}
