/**
 * Connections whose service asks for confirmed sync: their first packet waits until a standby has their record, so that a crash
 * at any instant loses no connection that its client saw begin.
 *
 * A waiting packet is handled again, as if it came then, once its record is confirmed; more packets of its connection wait behind
 * it. If no standby is there, or none answers in time, or there is no room, or nothing to tell of, the service's choice holds: the connection goes
 * on unconfirmed, which is counted, or it is refused.
 *
 * The record's position in the outgoing ring says what must be confirmed: the reader of the ring tells up to where that is so. What a
 * peer tells of the connection meanwhile is a confirmation too. Its client may have begun it there, while this director stood still with
 * the first SYN in its ring, and to refuse it here would end it everywhere.
 */
import type { Frame } from '../link/link.ts'
import type { ConnectionIndex } from '../table/connection-layout.ts'
import type { RecordRing } from '../table/record-ring.ts'
import { SYNC_CONFIRMED_ONLY, SYNC_ESTABLISHED } from '../table/virtual-service.ts'
import type { PooledFrame } from './frame-pool.ts'
import type { Replication } from './replication.ts'
import type { StateMoves } from './state-moves.ts'
import type { Verdict } from './verdict.ts'
import type { WaitingFrames } from './waiting-frames.ts'

/** A confirmation takes a millisecond or two; a standby that is slower than this is not to be relied on. */
const LIMIT_MS = 50
/** Packets that may wait; a power of two. Their share of the pool sets a bound of its own. */
const ROOM = 256
/** Places for counting the connections that wait, by the low bits of their index. */
const MARKS = 4096

/** What becomes of a packet. */
export const PASSES = 0
export const WAITS = 1
export const REFUSED = 2
/** It belongs to a connection that waits, and cannot wait with it. */
export const NO_ROOM = 3

export class Confirmations {
  readonly #waiting: WaitingFrames
  readonly #moves: StateMoves
  readonly #replication: Replication
  readonly #outgoing: RecordRing
  readonly #handle: (frame: PooledFrame, link: number) => Verdict
  /** A queue: its entries are count from first on, each at its number & (ROOM - 1). */
  readonly #frames: (PooledFrame | undefined)[] = new Array(ROOM).fill(undefined)
  readonly #connections = new Int32Array(ROOM)
  readonly #positions = new Int32Array(ROOM)
  /** Under which each was told of here. */
  readonly #versions = new Int32Array(ROOM)
  readonly #deadlinesMs = new Float64Array(ROOM)
  readonly #isOptional = new Uint8Array(ROOM)
  readonly #marks = new Uint16Array(MARKS)
  #first = 0
  #nowMs = 0
  /** Records that had found no room when the breath began. */
  #lostBefore = 0
  /** What becomes of the first packet in the queue while it is being handled; WAITS at any other time. */
  #outcome: typeof PASSES | typeof WAITS | typeof REFUSED = WAITS
  /** Packets that wait. */
  count = 0

  /** @param handle decides on a packet that has waited, which came in on link number `link` */
  constructor(
    waiting: WaitingFrames,
    moves: StateMoves,
    replication: Replication,
    outgoing: RecordRing,
    handle: (frame: PooledFrame, link: number) => Verdict,
  ) {
    this.#waiting = waiting
    this.#moves = moves
    this.#replication = replication
    this.#outgoing = outgoing
    this.#handle = handle
  }

  setTime(nowMs: number): void {
    this.#nowMs = nowMs
    this.#lostBefore = this.#outgoing.lost
  }

  /**
   * The first packet of a connection that has just been made. Its record goes out here, with the state that the packet gives it.
   * @param transport offset of its transport header
   * @param sync one of SYNC_*, what its service asks for
   */
  begin(
    frame: Frame,
    link: number,
    index: ConnectionIndex,
    protocol: number,
    transport: number,
    sync: number,
  ): typeof PASSES | typeof WAITS | typeof REFUSED {
    if (sync === SYNC_ESTABLISHED) return PASSES
    const isOptional = sync !== SYNC_CONFIRMED_ONLY
    // Then there is nothing to tell.
    if (!isOptional && !this.#outgoing.hasWitness) return REFUSED
    this.#outgoing.wantsConfirmation = true
    const isTold = this.#moves.begin(index, protocol, frame, transport)
    this.#outgoing.wantsConfirmation = false
    // Asked of the whole breath, since a datagram's record has gone out before. That there is room now says nothing of then: the ring is being read.
    if (isTold && this.#outgoing.hasWitness && this.#outgoing.lost === this.#lostBefore) {
      const position = this.#outgoing.awaitConfirmation()
      const version = this.#replication.versionOf(index)
      if (this.#wait(frame, link, index, position, version, this.#nowMs + LIMIT_MS, isOptional)) return WAITS
    }
    if (!isOptional) return REFUSED
    this.#outgoing.countUnconfirmed()
    return PASSES
  }

  /** Whether a packet of this connection may not pass now: follow() says what becomes of it. */
  holds(index: ConnectionIndex): boolean {
    return this.#marks[index & (MARKS - 1)] !== 0 && this.#find(index) >= 0
  }

  /** A packet of a connection that holds() is true of. */
  follow(frame: Frame, link: number, index: ConnectionIndex): typeof WAITS | typeof REFUSED | typeof NO_ROOM {
    const before = this.#find(index)
    if (this.#outcome === REFUSED && this.#isOfFirst(before)) return REFUSED
    const { [before]: position } = this.#positions
    const { [before]: version } = this.#versions
    const isOptional = this.#isOptional[before] === 1
    return this.#wait(frame, link, index, position, version, this.#deadlinesMs[before], isOptional) ? WAITS : NO_ROOM
  }

  /** Lets go what is confirmed by now, and what has waited long enough. To be called with every breath. */
  release(): void {
    for (let left = this.count; left > 0; left--) {
      const at = this.#first & (ROOM - 1)
      const isConfirmed = this.#outgoing.isConfirmed(this.#positions[at]) || this.#isToldOfByPeer(at)
      const isOver = this.#deadlinesMs[at] <= this.#nowMs || !this.#outgoing.hasWitness
      if (!isConfirmed && !isOver) return
      const isOptional = this.#isOptional[at] === 1
      this.#pass(at, isConfirmed || isOptional)
      if (!isConfirmed && isOptional) this.#outgoing.countUnconfirmed()
    }
  }

  #isToldOfByPeer(at: number): boolean {
    return this.#replication.versionOf(this.#connections[at] as ConnectionIndex) !== this.#versions[at]
  }

  #wait(
    frame: Frame,
    link: number,
    index: ConnectionIndex,
    position: number,
    version: number,
    deadlineMs: number,
    isOptional: boolean,
  ): boolean {
    if (this.count === ROOM) return false
    const copy = this.#waiting.keep(frame, link)
    if (copy === undefined) return false
    const at = (this.#first + this.count) & (ROOM - 1)
    this.#frames[at] = copy
    this.#connections[at] = index
    this.#positions[at] = position
    this.#versions[at] = version
    this.#deadlinesMs[at] = deadlineMs
    this.#isOptional[at] = isOptional ? 1 : 0
    this.#marks[index & (MARKS - 1)]++
    this.count++
    return true
  }

  #pass(at: number, isServed: boolean): void {
    const frame = this.#frames[at] as PooledFrame
    const index = this.#connections[at]
    this.#outcome = isServed ? PASSES : REFUSED
    const verdict = this.#handle(frame, frame.link)
    this.#outcome = WAITS
    this.#frames[at] = undefined
    this.#marks[index & (MARKS - 1)]--
    this.#first = (this.#first + 1) | 0
    this.count--
    if (verdict >= 0) this.#waiting.send(frame, verdict)
    else this.#waiting.giveBack(frame)
  }

  /** The last packet of the connection in the queue; -1 when none waits, or when one that has waited is being handled. */
  #find(index: ConnectionIndex): number {
    for (let number = this.count - 1; number >= 0; number--) {
      const at = (this.#first + number) & (ROOM - 1)
      if (this.#connections[at] === index) return this.#outcome === PASSES && this.#isOfFirst(at) ? -1 : at
    }
    return -1
  }

  /**
   * Whether a packet waits for the same as the first one in the queue. Its connection may have ended and begun anew meanwhile, with the same
   * index or with another: then it waits for another record.
   */
  #isOfFirst(at: number): boolean {
    return this.#positions[at] === this.#positions[this.#first & (ROOM - 1)]
  }
}
