/**
 * The versions of connections, and which of two descriptions of one counts: what a peer tells, or what is known here.
 *
 * A version is a clock of 128 ms ticks that never stands still between two changes (a hybrid logical clock of 16 bits), so that a
 * connection that takes the place of an ended one with the same addresses is newer than it, whoever made it. Version 0: there is none.
 */
import { readUint16 } from '../../protocol/packet/bytes.ts'
import { RECORD, RECORD_UPSERT } from '../../protocol/wire/connection-record.ts'
import { type ConnectionIndex, FLAG_HALF_OPEN, STATE, STATE_WORDS, TICK_MS } from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { isNewer, recordVersion } from '../table/record-codec.ts'
import type { ServiceTable } from '../table/service-table.ts'
import type { Connections } from './connections.ts'
import { NOT_HALF_OPEN } from './protocols/protocol.ts'
import { halfOpenQueueOf, isActiveState, isEndingState, isOverState } from './protocols/registry.ts'
import { isTemplate } from './templates.ts'

/** As far as the clocks of two directors may differ, in ticks: a second. */
const CLOCKS_APART = 8
/** Half the time after which a client sends its SYN again (RFC 6298 section 2.1), in ticks: what is told of another server so soon after is not of the next SYN. */
const SYN_AGAIN_HALVED = 4

export class Versions {
  readonly #connections: Connections
  readonly #table: ConnectionTable
  readonly #services: ServiceTable
  readonly #states: Int32Array

  /** @param epochTicks wall clock ticks minus table ticks, so that the directors' versions are comparable */
  constructor(connections: Connections, epochTicks: number) {
    this.#connections = connections
    this.#table = connections.table
    this.#services = connections.services
    this.#states = connections.table.memory.states
    this.#table.memory.epochTicks = epochTicks | 0
  }

  /** Of the last change that anybody was told of. */
  told(index: ConnectionIndex): number {
    return this.#states[index * STATE_WORDS + STATE.versionSynced] >>> 16
  }

  /** Sets the version that peers have been told of or have told of, in this tick. */
  set(index: ConnectionIndex, version: number): void {
    const { tick } = this.#table.memory
    this.#states[index * STATE_WORDS + STATE.versionSynced] = (version << 16) | (tableSeconds(tick) & 0xffff)
  }

  /** Lets a connection's versions go on from those of the one in whose place it is, so that it is newer. */
  continueFrom(index: ConnectionIndex, version: number): void {
    this.#states[index * STATE_WORDS + STATE.versionSynced] = version << 16
  }

  /** What is told under this version has not counted over a handshake of this director's own, which is told of as newer than that, so that it is so everywhere. */
  outlive(index: ConnectionIndex, version: number): void {
    if (this.#isTold(index)) return
    const before = this.told(index)
    if (before === 0 || isNewer(version, before)) this.continueFrom(index, version)
  }

  /** How long ago the version was set: table seconds of 1.024 s, in 16 bits. */
  ageS(index: ConnectionIndex): number {
    return (tableSeconds(this.#table.memory.tick) - this.#states[index * STATE_WORDS + STATE.versionSynced]) & 0xffff
  }

  /** Of a change that is made now. */
  now(index: ConnectionIndex): number {
    return this.next(this.told(index), this.#table.memory.tick)
  }

  /** Whether the last change was made in this tick. */
  isOfNow(index: ConnectionIndex): boolean {
    return !isNewer(this.#table.memory.versionAt(this.#table.memory.tick), this.told(index))
  }

  /** Right after the last one: it counts over that, and over nothing that anybody has done since. */
  afterTold(index: ConnectionIndex): number {
    return (this.told(index) + 1) & 0xffff || 1
  }

  /** That of a handshake's last packet, which is as long ago as it has not waited for the next one. */
  ofHandshake(index: ConnectionIndex): number {
    const table = this.#table
    const waits = this.#connections.timeoutTicks(table.protocol(index), table.state(index))
    return this.next(this.told(index), table.expires(index) - waits)
  }

  /** Of the last change; of a handshake that nobody was told of, what it would be told under. */
  of(index: ConnectionIndex): number {
    return this.#isTold(index) ? this.told(index) : this.ofHandshake(index)
  }

  /** Of a change made in this tick to a connection whose last one was `before`. */
  next(before: number, tick: number): number {
    const clock = this.#table.memory.versionAt(tick)
    const next = (before + 1) & 0xffff
    return (before === 0 || isNewer(clock, next) ? clock : next) || 1
  }

  /**
   * Whether the record at `at`, which has a version, counts over what is known: if its version is newer. But what is established counts
   * over a handshake, which may have gone on at another director, unless it is clearly older, or no newer than what the handshake has
   * taken the place of: then it is of the connection before, and was told of late.
   *
   * And a handshake or an end of another server's counts neither over what is established nor over a handshake of this director's own, unless it is
   * clearly newer. When an address has just moved, the director before tells of a handshake at its last moment; its client may have begun again here
   * since, and then both are of one tick, in which versions say how many changes there were, and not whose came first. And a director that stood still
   * tells of the client's FIN when the next connection is established, under a version of its own clock, which may be ahead.
   * @param server the number of the record's server's address
   */
  overrides(bytes: Uint8Array, at: number, server: number, timeoutMs: number, index: ConnectionIndex): boolean {
    const version = recordVersion(bytes, at)
    const knownVersion = this.of(index)
    if (knownVersion === 0) return true
    const isUpsert = bytes[at + RECORD.kind] === RECORD_UPSERT
    const state = bytes[at + RECORD.state]
    const protocol = this.#table.protocol(index)
    const known = this.#table.state(index)
    const serverPort = readUint16(bytes, at + RECORD.serverPort)
    if (isUpsert && isEstablished(protocol, state) && isHandshake(protocol, known)) {
      const before = this.#isTold(index) ? 0 : this.told(index)
      return before === 0 ? !isNewer(knownVersion, (version + CLOCKS_APART) & 0xffff) : isNewer(version, before)
    }
    if (isUpsert && isHandshake(protocol, state) && isEstablished(protocol, known))
      return isNewer(version, (knownVersion + CLOCKS_APART) & 0xffff)
    const clearly = (knownVersion + SYN_AGAIN_HALVED) & 0xffff
    const isOwn = isHandshake(protocol, known) && !this.#isTold(index)
    // Nobody can have told of the end of what nobody was told of.
    if (isOwn && !isUpsert) return isNewer(version, clearly)
    if (isUpsert && this.#isElsewhere(server, serverPort, index)) {
      const isPast = isEstablished(protocol, known) && isEndingState(protocol, state)
      if (isPast || (isOwn && !isEstablished(protocol, state))) return isNewer(version, clearly)
      if (isEstablished(protocol, state) && isEndingState(protocol, known))
        return !isNewer(knownVersion, (version + SYN_AGAIN_HALVED) & 0xffff)
    }
    if (version !== knownVersion) return isNewer(version, knownVersion)
    return isUpsert && this.#winsTie(state, server, serverPort, timeoutMs, index)
  }

  /**
   * Whether what is told counts over what is known, if two directors have changed a connection within one tick and so under one version:
   * the same of the two at every director. What lives counts over an end, then the greater state, then the server of the greater address, then
   * of the greater port. And whether the same is told again of one that is over, which goes on for longer than was known: Replication.renew().
   */
  #winsTie(state: number, server: number, serverPort: number, timeoutMs: number, index: ConnectionIndex): boolean {
    const known = this.#table.state(index)
    if (state !== known) return state > known
    const knownServer = this.#services.serverBySlot[this.#table.server(index)]
    if (knownServer === undefined) return false
    const protocol = this.#table.protocol(index)
    const knownPort = isTemplate(protocol) ? knownServer.port : this.#table.serverPort(index)
    const words = this.#services.directory.book.wordsOf(server)
    const greater = compareWords(words, knownServer.addressWords) || serverPort - knownPort
    if (greater !== 0) return greater > 0
    const expires = this.#table.memory.tick + Math.ceil(timeoutMs / TICK_MS)
    return isOverState(protocol, state) && expires - this.#table.expires(index) > 0
  }

  /** Whether the server, by the number of its address, is another than that of the connection. */
  #isElsewhere(server: number, serverPort: number, index: ConnectionIndex): boolean {
    const known = this.#services.serverBySlot[this.#table.server(index)]
    if (known === undefined || serverPort !== this.#table.serverPort(index)) return true
    return compareWords(this.#services.directory.book.wordsOf(server), known.addressWords) !== 0
  }

  /** Of a handshake nobody is told; but of one that is none any more to the timers. */
  #isTold(index: ConnectionIndex): boolean {
    return (this.#table.flags(index) & FLAG_HALF_OPEN) === 0
  }
}

/** Of the table's clock: 1.024 s each. */
function tableSeconds(tick: number): number {
  return tick >> 3
}

function isHandshake(protocol: number, state: number): boolean {
  return halfOpenQueueOf(protocol, state) !== NOT_HALF_OPEN
}

/** Past the handshake, and not ending. */
function isEstablished(protocol: number, state: number): boolean {
  return isActiveState(protocol, state) && !isHandshake(protocol, state)
}

/** Below 0 when the first address is the smaller one. */
function compareWords(one: Int32Array, other: Int32Array): number {
  for (let word = 0; word < one.length; word++) {
    if (one[word] !== other[word]) return (one[word] >>> 0) - (other[word] >>> 0)
  }
  return 0
}
