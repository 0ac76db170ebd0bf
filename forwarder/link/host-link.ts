/**
 * The way to the director's own host: a TUN device, seen by the engine as one more link. What is transmitted on it arrives at
 * the host as if from a network; what the host routes to the device comes in here.
 *
 * The device carries IP packets; frames get and lose an Ethernet header on the way, whose addresses mean nothing. Each packet
 * is one system call: the host that serves while it forwards has other worries. The virtio header travels along (IFF_VNET_HDR),
 * so that frames longer than the wire allows and unfinished checksums reach the host as they came; what the host sends is
 * finished and of ordinary length, since nothing else is asked for (TUNSETOFFLOAD).
 *
 * It exists from the start, and costs nothing until it is opened.
 */
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../protocol/packet/ethernet.ts'
import { allocateFrameMemory } from '../sys/memory.ts'
import { openTun, type TunDevice } from '../sys/tun.ts'
import {
  type Frame,
  type FrameMemory,
  HEADROOM,
  type Link,
  type LinkStatistics,
  VNET_CHECKSUM_START,
  VNET_HEADER_LENGTH,
  VNET_NEEDS_CSUM,
} from './link.ts'

/** Frames of one breath. */
const SLOTS = 64
const START = HEADROOM + VNET_HEADER_LENGTH
const VERSION_4 = 4
const VERSION_6 = 6
/** Of struct virtio_net_hdr. */
const HEADER_LENGTH_FIELD = 2

export class HostLink implements Link {
  readonly name: string
  /** Locally administered; never seen on a wire. */
  readonly mac: Uint8Array = Uint8Array.of(2, 0, 0, 0, 0, 0)
  readonly mtu: number
  readonly statistics: LinkStatistics = {
    receivedFrames: 0,
    receivedBytes: 0,
    transmittedFrames: 0,
    transmittedBytes: 0,
    transmitErrors: 0,
    overruns: 0,
  }
  #device: TunDevice | undefined
  readonly #memory: FrameMemory
  readonly #slotBytes: number
  readonly #packet: Frame

  /** @param mtu of the device, once it is open */
  constructor(name: string, mtu: number) {
    this.name = name
    this.mtu = mtu
    // The host's packets are no longer than the MTU; what is put in front and behind stays within a slot.
    this.#slotBytes = (START + ETHERNET_HEADER_LENGTH + mtu + 127) & ~63
    this.#memory = allocateFrameMemory(SLOTS * this.#slotBytes)
    this.#packet = { memory: this.#memory, start: 0, length: 0 }
  }

  /**
   * Makes the device. Once it is open this does nothing.
   * @throws DirectorError PRIVILEGE_MISSING, MODULE_MISSING, SOCKET_BUSY
   */
  open(): void {
    this.#device ??= openTun(this.name, { hasVirtioHeader: true })
  }

  /** For PollSet, once it is open: readable while a packet waits. */
  get descriptor(): number | undefined {
    return this.#device?.descriptor
  }

  receive(frames: Frame[]): number {
    const device = this.#device
    if (device === undefined) return 0
    const { bytes, view } = this.#memory
    let count = 0
    for (let slot = 0; slot < SLOTS && count < frames.length; slot++) {
      const start = slot * this.#slotBytes + START
      // The virtio header comes directly before the packet, and makes room for an Ethernet header by moving forward.
      const length = device.read(
        this.#memory,
        start + ETHERNET_HEADER_LENGTH - VNET_HEADER_LENGTH,
        this.#slotBytes - START,
      )
      if (length <= VNET_HEADER_LENGTH) break
      const packet = start + ETHERNET_HEADER_LENGTH
      const version = bytes[packet] >> 4
      if (version !== VERSION_4 && version !== VERSION_6) continue
      bytes.fill(0, start - VNET_HEADER_LENGTH, packet - 2)
      view.setUint16(packet - 2, version === VERSION_4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6)
      const frame = frames[count++]
      frame.memory = this.#memory
      frame.start = start
      frame.length = ETHERNET_HEADER_LENGTH + length - VNET_HEADER_LENGTH
      this.statistics.receivedBytes += frame.length
    }
    this.statistics.receivedFrames += count
    return count
  }

  transmit(frame: Frame): boolean {
    const { bytes, view } = frame.memory
    const header = frame.start - VNET_HEADER_LENGTH
    const packet = frame.start + ETHERNET_HEADER_LENGTH
    const moved = packet - VNET_HEADER_LENGTH
    const type = view.getUint16(packet - 2)
    const isSent =
      this.#device !== undefined &&
      (type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6) &&
      frame.length > ETHERNET_HEADER_LENGTH &&
      this.#write(frame, bytes, view, header, moved)
    if (!isSent) {
      this.statistics.transmitErrors++
      return true
    }
    this.statistics.transmittedFrames++
    this.statistics.transmittedBytes += frame.length
    return true
  }

  #write(frame: Frame, bytes: Uint8Array, view: DataView, header: number, moved: number): boolean {
    bytes.copyWithin(moved, header, header + VNET_HEADER_LENGTH)
    // Both count from the Ethernet header, which does not go along.
    if (bytes[moved] & VNET_NEEDS_CSUM) {
      const from = view.getUint16(moved + VNET_CHECKSUM_START, true)
      view.setUint16(moved + VNET_CHECKSUM_START, from - ETHERNET_HEADER_LENGTH, true)
    }
    const headers = view.getUint16(moved + HEADER_LENGTH_FIELD, true)
    view.setUint16(moved + HEADER_LENGTH_FIELD, Math.max(0, headers - ETHERNET_HEADER_LENGTH), true)
    const packet = this.#packet
    packet.memory = frame.memory
    packet.start = moved
    packet.length = frame.length - ETHERNET_HEADER_LENGTH + VNET_HEADER_LENGTH
    return this.#device?.write(packet) ?? false
  }

  /** Every packet has been written when transmit() returns. */
  flush(): void {}

  /** The next receive() uses the slots again. */
  release(): void {}

  close(): void {
    this.#device?.close()
    this.#device = undefined
  }
}
