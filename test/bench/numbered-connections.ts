/**
 * Numbered TCP connections through a director on memory links, and their frames as a packet ring holds them: a slot for each,
 * slots an odd number of cache lines apart, the virtio header in front. What the engine's benchmarks feed.
 */
import type { Engine } from '../../forwarder/engine/engine.ts'
import { createFrames, type Frame, type FrameMemory, VNET_HEADER_LENGTH } from '../../forwarder/link/link.ts'
import { rewriteDestination6, rewriteSource6 } from '../../forwarder/method/ipv6-nat.ts'
import { rewriteDestination, rewriteSource } from '../../forwarder/method/nat.ts'
import type { ForwardingMethod } from '../../forwarder/service.ts'
import { adviseTable, allocateFrameMemory } from '../../forwarder/sys/memory.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { IPV4, IPV4_HEADER_LENGTH, PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { IPV6, IPV6_HEADER_LENGTH } from '../../protocol/packet/ipv6.ts'
import { formatEndpoint, parseIPv6 } from '../../protocol/packet/ipv6-address.ts'
import type { DirectorBench } from '../support/director-bench.ts'
import { tcpFrame } from '../support/frames.ts'
import { tcpFrame6 } from '../support/ipv6-frames.ts'
import { clientTcp6, scene6 } from '../support/ipv6-scene.ts'
import { clientTcp, MAC, scene } from '../support/scene.ts'

export const OUTSIDE_LINK = 0
export const INSIDE_LINK = 1
/** Frames of one link in one breath, as in forwarder/loop.ts. */
export const BATCH = 64

const SLOT_BYTES = 64 * 5
/** The virtio, Ethernet, IPv4 and TCP headers fill one cache line, as in the packet ring. */
const FRAME_OFFSET = 128 + VNET_HEADER_LENGTH
const FIRST_CLIENT = (172 << 24) | (16 << 16)
const CLIENTS6 = parseIPv6('2001:db8:c::')
const FIRST_PORT = 1024
/** Connections of one client address: 2 to this power. */
const PORT_BITS = 6
/** Lowered by one while a frame is prepared. */
const TEMPLATE_TTL = 65

export class NumberedConnections {
  readonly director: DirectorBench
  readonly engine: Engine
  readonly #isIPv6: boolean
  readonly #ipHeaderLength: number
  readonly #memory: FrameMemory
  readonly #batch: Frame[] = createFrames(BATCH)
  readonly #clientTemplates = new Map<number, Uint8Array>()
  readonly #serverTemplates = new Map<number, Uint8Array>()

  /**
   * @param tableSize a power of two
   * @param slots frames that can be prepared at a time
   */
  constructor(method: ForwardingMethod, tableSize: number, slots: number, isIPv6 = false) {
    const options = { method, scheduler: 'wlc', weights: [1, 2], connections: tableSize, ringSlots: 2 ** 14 }
    this.director = isIPv6 ? scene6(options) : scene(options)
    this.#isIPv6 = isIPv6
    this.#ipHeaderLength = isIPv6 ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH
    this.engine = this.director.engine
    adviseTable(this.director.table.memory.shared)
    this.#memory = allocateFrameMemory(slots * SLOT_BYTES)
    for (const frame of this.#batch) frame.memory = this.#memory
  }

  /** Prepares a segment from the client of a connection to the service. */
  putClientFrame(slot: number, connection: number, flags: number): void {
    let template = this.#clientTemplates.get(flags)
    if (template === undefined) {
      template = this.#isIPv6 ? clientTcp6({ hopLimit: TEMPLATE_TTL, flags }) : clientTcp({ ttl: TEMPLATE_TTL, flags })
      this.#clientTemplates.set(flags, template)
    }
    const ip = this.#put(slot, template) + ETHERNET_HEADER_LENGTH
    const transport = ip + this.#ipHeaderLength
    const { view } = this.#memory
    const port = clientPort(connection)
    if (this.#isIPv6) rewriteSource6(view, ip, transport, PROTOCOL_TCP, clientWords(connection), 0, port, false)
    else rewriteSource(view, ip, transport, clientAddress(connection), port, false)
  }

  /** Prepares an acknowledgement from the real server with this address number to the client of a connection. */
  putServerFrame(slot: number, connection: number, server: number): void {
    let template = this.#serverTemplates.get(server)
    if (template === undefined) {
      const from = formatEndpoint(this.engine.services.directory.book.format(server), 8000)
      const fields = { sourceMac: MAC.server1, destinationMac: MAC.inside, from, to: from }
      template = this.#isIPv6
        ? tcpFrame6({ ...fields, hopLimit: TEMPLATE_TTL })
        : tcpFrame({ ...fields, ttl: TEMPLATE_TTL })
      this.#serverTemplates.set(server, template)
    }
    const ip = this.#put(slot, template) + ETHERNET_HEADER_LENGTH
    const transport = ip + this.#ipHeaderLength
    const { view } = this.#memory
    const port = clientPort(connection)
    if (this.#isIPv6) rewriteDestination6(view, ip, transport, PROTOCOL_TCP, clientWords(connection), 0, port, false)
    else rewriteDestination(view, ip, transport, clientAddress(connection), port, false)
  }

  /** Number of the IP destination of the frame in a slot: after handling, for NAT, the real server. */
  destination(slot: number): number {
    const ip = slot * SLOT_BYTES + FRAME_OFFSET + ETHERNET_HEADER_LENGTH
    const { view } = this.#memory
    return this.#isIPv6
      ? this.engine.services.directory.book.findAt(view, ip + IPV6.destination)
      : view.getInt32(ip + IPV4.destination)
  }

  /**
   * Handles the prepared frames from slot `first` on, at most BATCH, as one batch of a link. What the loop does with one.
   * @returns how many of them are to be transmitted
   */
  handleBatch(link: number, first: number, count: number): number {
    const { engine } = this
    const batch = this.#batch
    for (let i = 0; i < count; i++) {
      const frame = batch[i]
      frame.start = (first + i) * SLOT_BYTES + FRAME_OFFSET
      frame.length = ETHERNET_HEADER_LENGTH + this.#ipHeaderLength + 20
    }
    engine.advance(this.director.nowMs)
    engine.warmUp.run(batch, count)
    let transmitted = 0
    for (let i = 0; i < count; i++) if (engine.handle(batch[i], link) >= 0) transmitted++
    return transmitted
  }

  #put(slot: number, frame: Uint8Array): number {
    const start = slot * SLOT_BYTES + FRAME_OFFSET
    const { bytes } = this.#memory
    bytes.fill(0, start - VNET_HEADER_LENGTH, start)
    bytes.set(frame, start)
    return start
  }
}

function clientAddress(connection: number): number {
  return FIRST_CLIENT + (connection >>> PORT_BITS)
}

function clientWords(connection: number): Int32Array {
  CLIENTS6[3] = connection >>> PORT_BITS
  return CLIENTS6
}

function clientPort(connection: number): number {
  return FIRST_PORT + (connection & ((1 << PORT_BITS) - 1))
}
