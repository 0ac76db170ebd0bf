/**
 * Which of the defences against floods are at work: drop_entry, drop_packet and secure_tcp, each never (mode 0), while memory is
 * short (1 or 2) or always (3).
 *
 * Memory is short when the host has fewer pages than amemthresh, or the connection table has room for fewer connections than
 * fit into so many pages; of a small table, when less than a sixteenth of it is free.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c update_defense_level(), include/net/ip_vs.h ip_vs_todrop(). There the kernel
 * turns mode 1 into 2 and back; here 1 and 2 mean the same, and what is at work is shown in the status.
 */
import type { EngineSettings } from '../settings.ts'
import { ConnectionMemory } from '../table/connection-layout.ts'

const PAGE_BYTES = 4096
const CONNECTIONS_PER_PAGE = PAGE_BYTES / ConnectionMemory.bytesPerConnection
const SMALL_TABLE_SHARE = 1 / 16
/** However short memory is, every other new connection may try: a full table makes room by itself. */
const DENSEST_DROP_RATE = 2
const ALWAYS = 3

export interface Supply {
  readonly amemthresh: number
  /** Of the host. */
  readonly availablePages: number
  readonly freeConnections: number
  readonly capacity: number
}

/** What memory there is, as a share of what there should be; at least 1 when it is not short. */
export function memorySupply({ amemthresh, availablePages, freeConnections, capacity }: Supply): number {
  if (amemthresh === 0) return 1
  const room = Math.min(amemthresh * CONNECTIONS_PER_PAGE, capacity * SMALL_TABLE_SHARE)
  return Math.min(availablePages / amemthresh, freeConnections / room)
}

export class Defences {
  isMemoryShort = false
  isDroppingEntries = false
  isSecureTcp = false
  /** One new connection in so many is dropped; 0: none. */
  packetDropRate = 0
  /** Of the host. Until the first news there is enough. */
  availablePages = Number.POSITIVE_INFINITY
  #packetsToNextDrop = 0

  /** To be called once a second, and when a setting changes. */
  update(settings: EngineSettings, { used, capacity }: Pick<ConnectionMemory, 'used' | 'capacity'>): void {
    const { amemthresh } = settings
    const { availablePages } = this
    const supply = memorySupply({ amemthresh, availablePages, freeConnections: capacity - 1 - used, capacity })
    const isShort = supply < 1
    this.isMemoryShort = isShort
    this.isDroppingEntries = isAtWork(settings.dropEntry, isShort)
    this.isSecureTcp = isAtWork(settings.secureTcp, isShort)
    if (settings.dropPacket === ALWAYS) this.packetDropRate = settings.amDroprate
    else if (!isAtWork(settings.dropPacket, isShort)) this.packetDropRate = 0
    else this.packetDropRate = Math.max(DENSEST_DROP_RATE, Math.floor(1 / (1 - supply)))
  }

  /** drop_packet's decision on a packet that asks for a new connection. */
  refusesPacket(): boolean {
    if (this.packetDropRate === 0 || --this.#packetsToNextDrop > 0) return false
    this.#packetsToNextDrop = this.packetDropRate
    return true
  }
}

function isAtWork(mode: number, isMemoryShort: boolean): boolean {
  return mode === ALWAYS || (mode !== 0 && isMemoryShort)
}
