/**
 * A walk over the connection table, a thirty-second of it each second, in slices that never hold the loop up: drop_entry ends
 * what a flood leaves, and expire_nodest_conn what belongs to removed servers.
 *
 * drop_entry ends half-open connections, templates that nothing has proved and that count no connection, and of the connections that
 * have been idle for a minute after at most eight packets from their client one in as many as there were packets: a client that has
 * said little is the least loss.
 *
 * Only the director that has a connection's packets ends it, for all. To any other it looks idle, whatever its client does.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_conn.c ip_vs_random_dropentry(), todrop_entry(), ip_vs_expire_nodest_conn_flush().
 */
import { PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import type { EngineSettings } from '../settings.ts'
import {
  type ConnectionIndex,
  FLAG_HALF_OPEN,
  FLAG_UNANSWERED,
  PACKETS_SHIFT,
  STATE,
  STATE_WORDS,
  TICK_MS,
} from '../table/connection-layout.ts'
import type { Connections } from './connections.ts'
import type { Defences } from './defences.ts'
import { SCTP_STATE } from './protocols/sctp.ts'
import type { Replication } from './replication.ts'
import { TCP_STATE } from './tcp-states.ts'
import { isTemplate, isTemplateOfCall } from './templates.ts'
import type { VirtualAddresses } from './virtual-addresses.ts'

/** Of one whole walk: 32 seconds. */
const WALK_TICKS = 32_000 / TICK_MS
/** Places that one step looks at: well below a millisecond of work. */
const SLICE = 2048
/** Longer than any breath: the walk has rested, and goes on at its pace without making up for it. */
const REST_TICKS = 8
const IDLE_TICKS = 60_000 / TICK_MS
/** Connections with more packets from their client are never dropped. */
const FEW_PACKETS = 8

export class Sweep {
  /** Ended by drop_entry. */
  dropped = 0
  readonly #connections: Connections
  readonly #replication: Replication
  readonly #defences: Defences
  readonly #settings: EngineSettings
  readonly #addresses: VirtualAddresses
  readonly #states: Int32Array
  /** By number of packets: how many connections are spared until the next one that is dropped. */
  readonly #spared = new Int32Array(FEW_PACKETS + 1)
  #place = 1
  /** Places that are still to be looked at for the time that has passed. */
  #owed = 0
  #tick = 0

  constructor(
    connections: Connections,
    replication: Replication,
    defences: Defences,
    settings: EngineSettings,
    addresses: VirtualAddresses,
  ) {
    this.#connections = connections
    this.#replication = replication
    this.#defences = defences
    this.#settings = settings
    this.#addresses = addresses
    this.#states = connections.table.memory.states
  }

  get isAtWork(): boolean {
    return this.#defences.isDroppingEntries || this.#settings.expireNodestConn !== 0
  }

  /** Goes a slice further, as far as the time has come for it. To be called at each breath. */
  step(): void {
    const { memory } = this.#connections.table
    const { tick, fresh } = memory
    const passed = tick - this.#tick
    if (passed > 0) {
      this.#tick = tick
      const ticks = passed > REST_TICKS ? 1 : passed
      this.#owed = Math.min(fresh, this.#owed + (fresh * ticks) / WALK_TICKS)
    }
    const count = Math.min(Math.floor(this.#owed), SLICE)
    this.#owed -= count
    for (let i = 0; i < count; i++) {
      if (this.#place >= fresh) this.#place = 1
      this.#visit(this.#place as ConnectionIndex)
      this.#place++
    }
  }

  #visit(index: ConnectionIndex): void {
    const at = index * STATE_WORDS
    const word = this.#states[at + STATE.portProtocolState]
    const protocol = (word >>> 8) & 255
    if (protocol === 0 || !this.#addresses.isServedHere(this.#connections.virtualOf(index))) return
    if (this.#defences.isDroppingEntries && this.#isToDrop(index, protocol, word & 255)) {
      this.dropped++
      this.#replication.publishEnd(index)
      this.#connections.discard(index)
    } else if (this.#settings.expireNodestConn !== 0 && this.#isServerless(index)) {
      this.#replication.publishEnd(index)
      this.#connections.discard(index)
    }
  }

  #isServerless(index: ConnectionIndex): boolean {
    const { services, table } = this.#connections
    return services.serverBySlot[table.server(index)]?.isRetired === true
  }

  #isToDrop(index: ConnectionIndex, protocol: number, state: number): boolean {
    const { table } = this.#connections
    const flags = table.flags(index)
    if ((flags & FLAG_HALF_OPEN) !== 0) return true
    // A call's template counts none.
    if (isTemplate(protocol)) {
      const isUnproved = (flags & FLAG_UNANSWERED) !== 0 && this.#connections.controlled(index) === 0
      return isUnproved && !isTemplateOfCall(protocol)
    }
    if (!isConversation(protocol, state)) return false
    const left = table.expires(index) - table.memory.tick
    if (this.#connections.lifetimeTicks(index) - left < IDLE_TICKS) return false
    const packets = (flags >>> PACKETS_SHIFT) & 15
    if (packets === 0 || packets > FEW_PACKETS || --this.#spared[packets] > 0) return false
    this.#spared[packets] = packets
    return true
  }
}

/** Neither beginning nor ending. */
function isConversation(protocol: number, state: number): boolean {
  switch (protocol) {
    case PROTOCOL_TCP:
      return state === TCP_STATE.ESTABLISHED
    case PROTOCOL_SCTP:
      return state === SCTP_STATE.ESTABLISHED
    default:
      return protocol === PROTOCOL_UDP
  }
}
