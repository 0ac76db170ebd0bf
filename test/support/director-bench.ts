/**
 * A forwarder on memory links, whole but for its thread: what engine tests, the 1999 examples, the fuzzer and the benchmarks
 * put frames into and take frames out of. The hosts around it (clients, real servers, a router) exist as addresses and MACs.
 */
import type { Route, VirtualAddress } from '../../forwarder/commands.ts'
import { Drops } from '../../forwarder/engine/drop-reason.ts'
import { Engine } from '../../forwarder/engine/engine.ts'
import { VNET_HEADER_LENGTH } from '../../forwarder/link/link.ts'
import { MemoryLink } from '../../forwarder/link/memory-link.ts'
import { Loop } from '../../forwarder/loop.ts'
import type { ServiceSpec } from '../../forwarder/service.ts'
import { allocateFrameMemory } from '../../forwarder/sys/memory.ts'
import { ConnectionMemory, TICK_MS } from '../../forwarder/table/connection-layout.ts'
import { ConnectionReader } from '../../forwarder/table/connection-reader.ts'
import { ConnectionTable } from '../../forwarder/table/connection-table.ts'
import { RecordRing } from '../../forwarder/table/record-ring.ts'
import { ServerDirectory } from '../../forwarder/table/server-directory.ts'
import { ServiceTable } from '../../forwarder/table/service-table.ts'
import { ARP_FRAME_LENGTH, ARP_REPLY, writeArpFrame } from '../../protocol/packet/arp.ts'
import { parseIPv4, parseMac } from '../../protocol/packet/bytes.ts'

export interface BenchLink {
  readonly name: string
  readonly mac: string
  readonly mtu?: number
}

export interface DirectorBenchOptions {
  readonly links: readonly BenchLink[]
  readonly addresses: readonly VirtualAddress[]
  readonly routes: readonly Route[]
  readonly services: readonly ServiceSpec[]
  /** MAC by IPv4 address of hosts that have answered ARP already. */
  readonly neighbours?: Readonly<Record<string, string>>
  /** Number of the link that leads to the host's own stack. */
  readonly hostLink?: number
  /** Table size; 1024 unless given. */
  readonly connections?: number
  /** Frames each link can hold; 64 unless given. */
  readonly slots?: number
  /** Records that the outgoing and incoming rings hold; 1024 unless given. */
  readonly ringSlots?: number
}

const START_MS = 1_000_000

export class DirectorBench {
  readonly links: readonly MemoryLink[]
  readonly engine: Engine
  readonly loop: Loop
  readonly table: ConnectionTable
  readonly reader: ConnectionReader
  readonly outgoing: RecordRing
  readonly incoming: RecordRing
  readonly drops: Drops
  /** The time that the next breath is given. */
  nowMs = START_MS

  constructor(options: DirectorBenchOptions) {
    const slots = options.slots ?? 64
    this.links = options.links.map(
      ({ name, mac, mtu }) => new MemoryLink({ name, mac: parseMac(mac), mtu: mtu ?? 1500, slots }),
    )
    const tableMemory = ConnectionMemory.allocate(options.connections ?? 1024)
    const directoryMemory = ServerDirectory.allocate(1024)
    const directory = new ServerDirectory(directoryMemory)
    this.table = new ConnectionTable(tableMemory, directory, 0x5eed, Math.floor(START_MS / TICK_MS))
    this.reader = new ConnectionReader(tableMemory, directoryMemory)
    this.outgoing = new RecordRing(RecordRing.allocate(options.ringSlots ?? 1024))
    this.incoming = new RecordRing(RecordRing.allocate(options.ringSlots ?? 1024))
    this.drops = new Drops(Drops.allocate())
    this.engine = new Engine({
      links: this.links,
      hostLink: options.hostLink,
      table: this.table,
      services: new ServiceTable(directory),
      outgoing: this.outgoing,
      drops: this.drops,
      poolMemory: allocateFrameMemory(512 * 1024),
      epochMs: 1_700_000_000_000,
    })
    this.loop = new Loop(this.engine, this.links, this.incoming)
    this.engine.addresses.replace(
      options.addresses,
      options.links.map((link) => link.name),
    )
    this.engine.setRoutes(options.routes)
    for (const service of options.services) this.engine.services.set(service)
    this.resolve(options.neighbours ?? {})
  }

  /** Lets hosts answer the ARP requests of the forwarder, as far as it has sent any, and forgets those requests. */
  resolve(neighbours: Readonly<Record<string, string>>): void {
    this.nowMs += 1024
    this.loop.breathe(this.nowMs)
    for (const link of this.links) link.take()
    for (const [address, mac] of Object.entries(neighbours)) {
      for (const link of this.links) {
        const frame = new Uint8Array(ARP_FRAME_LENGTH)
        writeArpFrame(frame, 0, link.mac, {
          operation: ARP_REPLY,
          senderMac: parseMac(mac),
          senderAddress: parseIPv4(address),
          targetMac: link.mac,
          targetAddress: 0,
        })
        link.inject(frame)
      }
    }
    this.breathe()
    for (const link of this.links) link.take()
  }

  /** One frame in on a link, one breath, and what came out: by link name, without virtio headers. */
  send(linkName: string, frame: Uint8Array, vnetHeader?: Uint8Array): Sent[] {
    this.link(linkName).inject(frame, vnetHeader)
    return this.breathe()
  }

  breathe(): Sent[] {
    this.loop.breathe(this.nowMs)
    return this.links.flatMap((link) =>
      link.take().map((bytes) => ({
        link: link.name,
        vnetHeader: bytes.subarray(0, VNET_HEADER_LENGTH),
        frame: bytes.subarray(VNET_HEADER_LENGTH),
      })),
    )
  }

  link(name: string): MemoryLink {
    const link = this.links.find((candidate) => candidate.name === name)
    if (link === undefined) throw new RangeError(`no link ${name}`)
    return link
  }
}

export interface Sent {
  link: string
  vnetHeader: Uint8Array
  frame: Uint8Array
}
