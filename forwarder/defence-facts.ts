/** What the defences are doing, in memory that other threads may read: one double a fact. */
import type { Engine } from './engine/engine.ts'

export interface DefenceFacts {
  /** What works in mode 1 or 2 is at work. */
  isMemoryShort: boolean
  isDroppingEntries: boolean
  isSecureTcp: boolean
  /** One new connection in so many is dropped; 0: none. */
  packetDropRate: number
  /** Connections that drop_entry has ended. */
  droppedEntries: number
  /** Entries that made room in a full table. */
  evicted: number
}

const FACTS = 6

export function allocateDefenceFacts(): SharedArrayBuffer {
  return new SharedArrayBuffer(FACTS * 8)
}

export function writeDefenceFacts(target: Float64Array, { defences, sweep, connections }: Engine): void {
  target[0] = Number(defences.isMemoryShort)
  target[1] = Number(defences.isDroppingEntries)
  target[2] = Number(defences.isSecureTcp)
  target[3] = defences.packetDropRate
  target[4] = sweep.dropped
  target[5] = connections.evicted
}

export function readDefenceFacts(source: Float64Array): DefenceFacts {
  return {
    isMemoryShort: source[0] === 1,
    isDroppingEntries: source[1] === 1,
    isSecureTcp: source[2] === 1,
    packetDropRate: source[3],
    droppedEntries: source[4],
    evicted: source[5],
  }
}
