/**
 * A rehearsal before the first real packet: some thousand made-up packets through an engine of its own, so that V8 has compiled
 * the packet path when it is needed. A standby forwards nothing until the moment when it must take all at once; its first
 * packets would otherwise cost twenty times what the later ones do, just then.
 *
 * Source: measured; the first 2,000 packets of a cold engine took 5 to 25 us each, later ones 0.2.
 */
import { ARP_FRAME_LENGTH, ARP_REPLY, writeArpFrame } from '../protocol/packet/arp.ts'
import { parseIPv4, parseMac, writeUint16 } from '../protocol/packet/bytes.ts'
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, writeEthernet } from '../protocol/packet/ethernet.ts'
import { DONT_FRAGMENT, IPV4_HEADER_LENGTH, PROTOCOL_TCP, PROTOCOL_UDP, writeIPv4 } from '../protocol/packet/ipv4.ts'
import { TCP, TCP_ACK, TCP_FIN, TCP_HEADER_LENGTH, TCP_SYN } from '../protocol/packet/tcp.ts'
import { virtualRouterMac } from '../protocol/packet/virtual-router-mac.ts'
import { RECORD, RECORD_LENGTH } from '../protocol/wire/connection-record.ts'
import { Drops } from './engine/drop-reason.ts'
import { Engine } from './engine/engine.ts'
import {
  type Frame,
  type FrameMemory,
  HEADROOM,
  VNET_CHECKSUM_START,
  VNET_HEADER_LENGTH,
  VNET_NEEDS_CSUM,
} from './link/link.ts'
import type { ForwardingMethod } from './service.ts'
import { ConnectionMemory, TICK_MS } from './table/connection-layout.ts'
import { ConnectionTable } from './table/connection-table.ts'
import { RecordRing } from './table/record-ring.ts'
import { ServerDirectory } from './table/server-directory.ts'
import { ServiceTable } from './table/service-table.ts'

const ROUNDS = 1500
const ROUND_MS = 20
const START_MS = 1_000_000
/** Long connections, and short ones that are open at a time. */
const LONG = 32
const SHORT = 64
/** Every so manieth round has a connection that does not get beyond its SYN. */
const HALF_OPEN_EVERY = 4

// RFC 5737: addresses for documentation.
const VIRTUAL = parseIPv4('192.0.2.100')
const CLIENT = parseIPv4('192.0.2.1')
const SERVER = parseIPv4('198.51.100.10')
const OUTSIDE_MAC = parseMac('02:00:00:00:00:01')
const INSIDE_MAC = parseMac('02:00:00:00:00:04')
const CLIENT_MAC = parseMac('02:00:00:00:00:02')
const SERVER_MAC = parseMac('02:00:00:00:00:03')
/** That datagrams are sent to. */
const VIRTUAL_MAC = virtualRouterMac(1, false)
const METHODS: readonly ForwardingMethod[] = ['nat', 'tun', 'dr']
/** Clients whose servers are heard before they are, on from the first address for benchmarks (RFC 2544). */
const STRANGERS = parseIPv4('198.18.0.0')
const FIRST_PORT = 80
const FIRST_LONG_PORT = 2048
const FIRST_HALF_OPEN_PORT = 4096
/** Fields of a virtio_net_hdr. */
const CHECKSUM_OFFSET = 8
const OUTSIDE = 0
const INSIDE = 1

/** @param memory for a frame, @param poolMemory for the engine's own; nothing in them is kept */
export function rehearse(memory: FrameMemory, poolMemory: FrameMemory): void {
  new Rehearsal(memory, poolMemory).run()
}

class Rehearsal {
  readonly #outgoing = new RecordRing(RecordRing.allocate(256))
  readonly #engine: Engine
  readonly #frame: Frame
  readonly #record = new Uint8Array(RECORD_LENGTH)

  constructor(memory: FrameMemory, poolMemory: FrameMemory) {
    const directory = new ServerDirectory(ServerDirectory.allocate(32))
    this.#frame = { memory, start: HEADROOM + VNET_HEADER_LENGTH, length: 0 }
    this.#engine = new Engine({
      links: [
        { name: 'outside', mac: OUTSIDE_MAC, mtu: 1500 },
        { name: 'inside', mac: INSIDE_MAC, mtu: 1500 },
      ],
      table: new ConnectionTable(ConnectionMemory.allocate(4096), directory, 1, Math.floor(START_MS / TICK_MS)),
      services: new ServiceTable(directory),
      outgoing: this.#outgoing,
      drops: new Drops(Drops.allocate()),
      poolMemory,
      epochMs: Date.now(),
    })
  }

  run(): void {
    const engine = this.#engine
    engine.placeAddresses([{ address: '192.0.2.100', link: 'outside', state: 'active', mac: VIRTUAL_MAC }], ['outside'])
    engine.setRoutes([
      { destination: '192.0.2.0', prefixLength: 24, link: 'outside', source: '192.0.2.254' },
      { destination: '198.18.0.0', prefixLength: 15, link: 'outside', source: '192.0.2.254' },
      { destination: '198.51.100.0', prefixLength: 24, link: 'inside', source: '198.51.100.254' },
    ])
    for (const [index, method] of METHODS.entries()) {
      for (const protocol of ['tcp', 'udp'] as const) {
        const servers = [{ address: '198.51.100.10', port: FIRST_PORT + index, method, weight: 1 }]
        engine.services.set({
          protocol,
          address: '192.0.2.100',
          port: FIRST_PORT + index,
          scheduler: 'wlc',
          servers,
        })
      }
    }
    // The engine asks for its servers once a second; here one answers at once.
    engine.advance(START_MS)
    this.#answer(INSIDE, SERVER, SERVER_MAC)
    for (let round = 0; round < ROUNDS; round++) {
      engine.advance(START_MS + round * ROUND_MS)
      this.#round(round)
      engine.egress.recycle()
      this.#hearPeer(strangerOf(round))
    }
  }

  #round(round: number): void {
    const port = FIRST_PORT + (round % METHODS.length)
    const shortPort = 1024 + (round % SHORT)
    for (const flags of [TCP_SYN, TCP_ACK, TCP_ACK, TCP_FIN | TCP_ACK]) this.#exchange(shortPort, port, flags)
    // Its first rounds open it, and in the others it is in use; the port tells the method.
    const longPort = FIRST_LONG_PORT + (round % LONG)
    const longService = FIRST_PORT + (longPort % METHODS.length)
    this.#exchange(longPort, longService, round < LONG ? TCP_SYN : TCP_ACK)
    if (round % HALF_OPEN_EVERY === 0) {
      this.#fromClient(PROTOCOL_TCP, FIRST_HALF_OPEN_PORT + round, port, TCP_SYN, true)
    }
    this.#fromClient(PROTOCOL_UDP, shortPort, port, 0, false)
    this.#meetStranger(round)
  }

  /** Both sides say something; what comes over a virtual link has no checksum yet. */
  #exchange(clientPort: number, port: number, flags: number): void {
    for (const unfinished of [false, true]) {
      this.#fromClient(PROTOCOL_TCP, clientPort, port, flags, unfinished)
      this.#fromServer(PROTOCOL_TCP, port, CLIENT, clientPort, flags | TCP_ACK, unfinished)
    }
  }

  /** A client's connection is known by a peer's record; its server speaks first, and its address has to be asked for. */
  #meetStranger(round: number): void {
    if (round === 0) return
    // The last round with the service by NAT, whose replies come this way. A peer has told of its connection by now.
    const told = round - 1 - ((round - 1) % METHODS.length)
    this.#fromServer(PROTOCOL_TCP, FIRST_PORT, strangerOf(told), 1024 + (told % SHORT), TCP_ACK, true)
    if (round % METHODS.length === 0) this.#answer(OUTSIDE, strangerOf(told), CLIENT_MAC)
  }

  /** What was told the peers comes back as one of theirs, from a stranger. */
  #hearPeer(stranger: number): void {
    const ring = this.#outgoing
    const record = new DataView(this.#record.buffer)
    for (let at = ring.peek(); at >= 0; at = ring.peek()) {
      this.#record.set(ring.bytes.subarray(at, at + RECORD_LENGTH))
      ring.advance()
      this.#engine.replication.apply(this.#record, 0)
      record.setInt32(RECORD.clientAddress + 12, stranger)
      this.#engine.replication.apply(this.#record, 0)
    }
    this.#engine.replication.flush()
  }

  #fromClient(protocol: number, clientPort: number, port: number, flags: number, unfinished: boolean): void {
    this.#send(OUTSIDE, protocol, CLIENT, clientPort, VIRTUAL, port, flags, unfinished)
  }

  #fromServer(
    protocol: number,
    port: number,
    client: number,
    clientPort: number,
    flags: number,
    unfinished: boolean,
  ): void {
    this.#send(INSIDE, protocol, SERVER, port, client, clientPort, flags, unfinished)
  }

  #answer(link: number, senderAddress: number, senderMac: Uint8Array): void {
    const frame = this.#frame
    const { bytes } = frame.memory
    frame.start = HEADROOM + VNET_HEADER_LENGTH
    frame.length = ARP_FRAME_LENGTH
    const targetMac = link === OUTSIDE ? OUTSIDE_MAC : INSIDE_MAC
    bytes.fill(0, frame.start - VNET_HEADER_LENGTH, frame.start + frame.length)
    writeArpFrame(bytes, frame.start, targetMac, {
      operation: ARP_REPLY,
      senderMac,
      senderAddress,
      targetMac,
      targetAddress: 0,
    })
    this.#engine.handle(frame, link)
  }

  #send(
    link: number,
    protocol: number,
    source: number,
    sourcePort: number,
    destination: number,
    destinationPort: number,
    flags: number,
    unfinished: boolean,
  ): void {
    const frame = this.#frame
    const { bytes } = frame.memory
    const start = HEADROOM + VNET_HEADER_LENGTH
    const ip = start + ETHERNET_HEADER_LENGTH
    const transport = ip + IPV4_HEADER_LENGTH
    const totalLength = IPV4_HEADER_LENGTH + TCP_HEADER_LENGTH
    frame.start = start
    frame.length = ETHERNET_HEADER_LENGTH + totalLength
    bytes.fill(0, start - VNET_HEADER_LENGTH, start + frame.length)
    if (unfinished) {
      const vnet = start - VNET_HEADER_LENGTH
      bytes[vnet] = VNET_NEEDS_CSUM
      bytes[vnet + VNET_CHECKSUM_START] = ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH
      bytes[vnet + CHECKSUM_OFFSET] = TCP.checksum
    }
    const outsideMac = protocol === PROTOCOL_UDP ? VIRTUAL_MAC : OUTSIDE_MAC
    const [from, to] = link === OUTSIDE ? [CLIENT_MAC, outsideMac] : [SERVER_MAC, INSIDE_MAC]
    writeEthernet(bytes, start, to, from, ETHERTYPE_IPV4)
    writeIPv4(bytes, ip, {
      tos: 0,
      totalLength,
      identification: 0,
      fragment: DONT_FRAGMENT,
      ttl: 64,
      protocol,
      source,
      destination,
    })
    writeUint16(bytes, transport, sourcePort)
    writeUint16(bytes, transport + 2, destinationPort)
    bytes[transport + TCP.dataOffset] = 5 << 4
    bytes[transport + TCP.flags] = flags
    this.#engine.handle(frame, link)
  }
}

/** A new one for each turn through the methods: one that leaves requests unanswered for long is waited for no more. */
function strangerOf(round: number): number {
  return STRANGERS + Math.floor(round / METHODS.length)
}
