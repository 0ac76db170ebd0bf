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
import { Drops } from './engine/drop-reason.ts'
import { Engine } from './engine/engine.ts'
import { type Frame, type FrameMemory, HEADROOM, VNET_HEADER_LENGTH } from './link/link.ts'
import type { ForwardingMethod } from './service.ts'
import { ConnectionMemory, TICK_MS } from './table/connection-layout.ts'
import { ConnectionTable } from './table/connection-table.ts'
import { RecordRing } from './table/record-ring.ts'
import { ServerDirectory } from './table/server-directory.ts'
import { ServiceTable } from './table/service-table.ts'

const ROUNDS = 1500
const START_MS = 1_000_000

const VIRTUAL = '192.0.2.100' // RFC 5737: addresses for documentation
const CLIENT = '192.0.2.1'
const SERVER = '192.0.2.10'
const OWN_MAC = '02:00:00:00:00:01'
const CLIENT_MAC = '02:00:00:00:00:02'
const SERVER_MAC = '02:00:00:00:00:03'
const METHODS: readonly ForwardingMethod[] = ['nat', 'tun', 'dr']
const LINK = { name: 'rehearsal', mac: parseMac(OWN_MAC), mtu: 1500 }

/** @param memory for a frame, @param poolMemory for the engine's own; nothing in them is kept */
export function rehearse(memory: FrameMemory, poolMemory: FrameMemory): void {
  const directory = new ServerDirectory(ServerDirectory.allocate(32))
  const engine = new Engine({
    links: [LINK],
    table: new ConnectionTable(ConnectionMemory.allocate(1024), directory, 1, Math.floor(START_MS / TICK_MS)),
    services: new ServiceTable(directory),
    outgoing: new RecordRing(RecordRing.allocate(2)),
    drops: new Drops(Drops.allocate()),
    poolMemory,
    epochMs: 0,
  })
  engine.addresses.replace([{ address: VIRTUAL, link: LINK.name, state: 'active' }], [LINK.name])
  engine.setRoutes([{ destination: '192.0.2.0', prefixLength: 24, link: LINK.name, source: '192.0.2.254' }])
  for (const [index, method] of METHODS.entries()) {
    for (const protocol of ['tcp', 'udp'] as const) {
      const servers = [{ address: SERVER, port: 80 + index, method, weight: 1 }]
      engine.services.set({ protocol, address: VIRTUAL, port: 80 + index, scheduler: 'wlc', servers })
    }
  }
  const start = HEADROOM + VNET_HEADER_LENGTH
  const frame: Frame = { memory, start, length: 0 }
  // The engine asks for its servers once a second; here one answers at once.
  engine.advance(START_MS)
  writeArpFrame(memory.bytes, start, LINK.mac, {
    operation: ARP_REPLY,
    senderMac: parseMac(SERVER_MAC),
    senderAddress: parseIPv4(SERVER),
    targetMac: LINK.mac,
    targetAddress: 0,
  })
  frame.length = ARP_FRAME_LENGTH
  engine.handle(frame, 0)
  for (let round = 0; round < ROUNDS; round++) {
    engine.advance(START_MS + round)
    const clientPort = 1024 + (round & 63)
    const port = 80 + (round % METHODS.length)
    for (const flags of [TCP_SYN, TCP_ACK, TCP_ACK, TCP_FIN | TCP_ACK]) {
      write(frame, start, PROTOCOL_TCP, CLIENT, clientPort, VIRTUAL, port, flags)
      engine.handle(frame, 0)
      write(frame, start, PROTOCOL_TCP, SERVER, port, CLIENT, clientPort, flags | TCP_ACK)
      engine.handle(frame, 0)
    }
    write(frame, start, PROTOCOL_UDP, CLIENT, clientPort, VIRTUAL, port, 0)
    engine.handle(frame, 0)
    engine.egress.recycle()
  }
}

function write(
  frame: Frame,
  start: number,
  protocol: number,
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
  flags: number,
): void {
  const { bytes } = frame.memory
  const ip = start + ETHERNET_HEADER_LENGTH
  const transport = ip + IPV4_HEADER_LENGTH
  const totalLength = IPV4_HEADER_LENGTH + TCP_HEADER_LENGTH
  frame.start = start
  frame.length = ETHERNET_HEADER_LENGTH + totalLength
  bytes.fill(0, start - VNET_HEADER_LENGTH, start + frame.length)
  writeEthernet(bytes, start, LINK.mac, parseMac(CLIENT_MAC), ETHERTYPE_IPV4)
  writeIPv4(bytes, ip, {
    tos: 0,
    totalLength,
    identification: 0,
    fragment: DONT_FRAGMENT,
    ttl: 64,
    protocol,
    source: parseIPv4(source),
    destination: parseIPv4(destination),
  })
  writeUint16(bytes, transport, sourcePort)
  writeUint16(bytes, transport + 2, destinationPort)
  bytes[transport + TCP.dataOffset] = 5 << 4
  bytes[transport + TCP.flags] = flags
}
