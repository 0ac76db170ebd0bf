/** The shared memory between the forwarding thread and the others: what there is, and how large. */
import { randomBytes } from 'node:crypto'
import { allocateDefenceFacts } from './defence-facts.ts'
import { Drops } from './engine/drop-reason.ts'
import { adviseTable } from './sys/memory.ts'
import { ConnectionMemory } from './table/connection-layout.ts'
import { RecordRing } from './table/record-ring.ts'
import { ServerDirectory } from './table/server-directory.ts'

/** Real servers, removed ones with connections included, and services together. */
const DIRECTORY_SLOTS = 2 ** 17
/** Records: enough for what 100,000 changes a second leave while the reader sleeps for half a second. */
const RING_SLOTS = 2 ** 16

/** Doubles a link in the link statistics. */
export const LINK_STATISTICS = 6

export interface SharedState {
  readonly table: SharedArrayBuffer
  readonly directory: SharedArrayBuffer
  readonly drops: SharedArrayBuffer
  readonly outgoing: SharedArrayBuffer
  readonly incoming: SharedArrayBuffer
  /** LINK_STATISTICS doubles a link, in the order of LinkStatistics. */
  readonly links: SharedArrayBuffer
  /** Two doubles: frames that the engine keeps, and how many it has memory for. */
  readonly frames: SharedArrayBuffer
  /** See defence-facts.ts. */
  readonly defences: SharedArrayBuffer
  /** Word 0: how many commands have been posted. */
  readonly commands: SharedArrayBuffer
  /** A double: when the loop last breathed, by monotonicMs(). */
  readonly pulse: SharedArrayBuffer
  /** A double, by monotonicMs(): until when active addresses are answered for unless the control thread says so again. */
  readonly answersUntil: SharedArrayBuffer
}

export function allocateSharedState(connections: number, links: number): SharedState {
  const table = ConnectionMemory.allocate(connections)
  const directory = ServerDirectory.allocate(DIRECTORY_SLOTS, randomBytes(4).readInt32LE())
  for (const large of [table, directory]) adviseTable(large)
  return {
    table,
    directory,
    drops: Drops.allocate(),
    outgoing: RecordRing.allocate(RING_SLOTS),
    incoming: RecordRing.allocate(RING_SLOTS),
    links: new SharedArrayBuffer(links * LINK_STATISTICS * 8),
    frames: new SharedArrayBuffer(16),
    defences: allocateDefenceFacts(),
    commands: new SharedArrayBuffer(4),
    pulse: new SharedArrayBuffer(8),
    answersUntil: new Float64Array(new SharedArrayBuffer(8)).fill(Number.POSITIVE_INFINITY).buffer,
  }
}
