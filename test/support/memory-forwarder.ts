/**
 * A forwarder on memory links, whole but for its thread: the parts of forwarder/worker.ts that are not the kernel's. Who makes
 * one lets it breathe.
 */
import { Drops } from '../../forwarder/engine/drop-reason.ts'
import { Engine } from '../../forwarder/engine/engine.ts'
import { MemoryLink } from '../../forwarder/link/memory-link.ts'
import { Loop } from '../../forwarder/loop.ts'
import { allocateFrameMemory } from '../../forwarder/sys/memory.ts'
import { ConnectionMemory, TICK_MS } from '../../forwarder/table/connection-layout.ts'
import { ConnectionReader } from '../../forwarder/table/connection-reader.ts'
import { ConnectionTable } from '../../forwarder/table/connection-table.ts'
import { RecordRing } from '../../forwarder/table/record-ring.ts'
import { ServerDirectory } from '../../forwarder/table/server-directory.ts'
import { ServiceTable } from '../../forwarder/table/service-table.ts'
import { parseMac } from '../../protocol/packet/bytes.ts'

export interface MemoryForwarderOptions {
  readonly links: readonly { readonly name: string; readonly mac: string; readonly mtu?: number }[]
  /** Number of the link that leads to the host's own stack. */
  readonly hostLink?: number
  /** Table size; 1024 unless given. */
  readonly connections?: number
  /** Frames each link can hold; 64 unless given. */
  readonly slots?: number
  /** Records that the outgoing and incoming rings hold; 1024 unless given. */
  readonly ringSlots?: number
  /** Its monotonic clock when it starts. */
  readonly startMs: number
  /** Wall clock minus monotonic clock. */
  readonly epochMs: number
  /** Numbers from 0 to below 1, for schedulers that draw lots. */
  readonly random?: () => number
}

export class MemoryForwarder {
  readonly links: readonly MemoryLink[]
  readonly engine: Engine
  readonly loop: Loop
  readonly table: ConnectionTable
  readonly reader: ConnectionReader
  readonly outgoing: RecordRing
  readonly incoming: RecordRing
  readonly drops: Drops

  constructor(options: MemoryForwarderOptions) {
    const { slots = 64, connections = 1024, ringSlots = 1024, startMs, epochMs, random } = options
    this.links = options.links.map(
      ({ name, mac, mtu }) => new MemoryLink({ name, mac: parseMac(mac), mtu: mtu ?? 1500, slots }),
    )
    const tableMemory = ConnectionMemory.allocate(connections)
    const directoryMemory = ServerDirectory.allocate(1024)
    const directory = new ServerDirectory(directoryMemory)
    this.table = new ConnectionTable(tableMemory, directory, 0x5eed, Math.floor(startMs / TICK_MS))
    this.reader = new ConnectionReader(tableMemory, directoryMemory)
    this.outgoing = new RecordRing(RecordRing.allocate(ringSlots))
    this.incoming = new RecordRing(RecordRing.allocate(ringSlots))
    this.drops = new Drops(Drops.allocate())
    this.engine = new Engine({
      links: this.links,
      hostLink: options.hostLink,
      table: this.table,
      services: new ServiceTable(directory, random),
      outgoing: this.outgoing,
      drops: this.drops,
      poolMemory: allocateFrameMemory(512 * 1024),
      epochMs,
    })
    this.loop = new Loop(this.engine, this.links, this.incoming)
  }
}
