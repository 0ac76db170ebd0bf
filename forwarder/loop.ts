/**
 * The forwarding loop's breath: take what waits on every link, decide on each frame, take in what peers said, and send all of it
 * with as few system calls as there are links.
 */
import type { Engine } from './engine/engine.ts'
import type { PooledFrame } from './engine/frame-pool.ts'
import { SYN_AGAIN_MS } from './engine/late-frames.ts'
import { TO_HOST } from './engine/verdict.ts'
import { createFrames, type Frame, type Link } from './link/link.ts'
import type { RecordRing } from './table/record-ring.ts'

/** Frames of one link in one breath. */
const BATCH = 64
/** Peers' records in one breath, so that a snapshot never keeps packets waiting for long. */
const RECORDS = 512
/** Longer than the loop ever waits for a frame, so it has stood still; the table's clock has gone on by a tick. */
const STOOD_STILL_MS = 128
/** Batches of every link, of which a ring holds no more; what comes in the meantime would have no end. */
const MOST_CATCHING_UP = 64
/** That takes time, too, which is no standstill. */
const CATCHING_UP_MS = 1000

/** As long as a director may keep its addresses while the loop stands still (node/director/forwarder-watch.ts). */
const LONG_STANDSTILL_MS = 500

export class Loop {
  readonly #engine: Engine
  readonly #links: readonly Link[]
  readonly #incoming: RecordRing
  readonly #frames: Frame[][]
  readonly #transmitOwn: (frame: PooledFrame) => void
  readonly #takeCommands: () => void
  /** Of the last breath. */
  #nowMs = Number.POSITIVE_INFINITY
  #hasCaughtUp = false
  #isResting = false
  /** The end of the last long standstill. */
  #awakeSinceMs = Number.NEGATIVE_INFINITY

  /** @param takeCommands after a standstill: what has been asked for meanwhile counts for all that comes from then on */
  constructor(engine: Engine, links: readonly Link[], incoming: RecordRing, takeCommands = () => {}) {
    this.#engine = engine
    this.#links = links
    this.#incoming = incoming
    this.#frames = links.map(() => createFrames(BATCH))
    this.#takeCommands = takeCommands
    this.#transmitOwn = (frame) => this.transmit(frame.link, frame)
  }

  /**
   * One breath at the time given, milliseconds.
   * @returns how many frames and records it handled; 0 when there was nothing to do
   */
  breathe(nowMs: number): number {
    const longest = this.#hasCaughtUp ? CATCHING_UP_MS : STOOD_STILL_MS
    this.#hasCaughtUp = nowMs - this.#nowMs > longest
    if (this.#hasCaughtUp) this.#catchUp(nowMs - this.#nowMs >= SYN_AGAIN_MS)
    if (nowMs - this.#nowMs > LONG_STANDSTILL_MS) this.#awakeSinceMs = nowMs
    this.#nowMs = nowMs
    this.#engine.advance(nowMs)
    if (this.#hasCaughtUp) this.#takeCommands()
    return this.#applyRecords() + this.#forward()
  }

  /**
   * What has waited while this director stood still is as old as its last breath, and handled by that time: what it does to a connection
   * must not count over what peers have done to it since, or to the next one between the same ports, and are about to tell.
   *
   * Nobody is told where an address is: it may have been given up since, and whoever asked in vain asks again.
   */
  #catchUp(isLate: boolean): void {
    const { addresses } = this.#engine
    addresses.isSilent = true
    for (let breaths = 0; breaths < MOST_CATCHING_UP && this.#forward(isLate) > 0; breaths++);
    addresses.isSilent = false
  }

  /** Whether a long standstill came between then and now: what was to be said of an address may be false since. */
  hasSleptThrough(sinceMs: number): boolean {
    return sinceMs < this.#awakeSinceMs - LONG_STANDSTILL_MS
  }

  /** Forwards what waits on the links, and from then on nothing: records are still taken in, and told. */
  rest(): void {
    this.#catchUp(false)
    this.#isResting = true
  }

  #forward(isLate = false): number {
    const engine = this.#engine
    const links = this.#links
    let handled = 0
    for (let link = this.#isResting ? links.length : 0; link < links.length; link++) {
      const frames = this.#frames[link]
      const count = links[link].receive(frames)
      handled += count
      engine.warmUp.run(frames, count)
      for (let i = 0; i < count; i++) {
        let verdict = isLate ? engine.handleLate(frames[i], link) : engine.handle(frames[i], link)
        if (verdict === TO_HOST) verdict = engine.forHost(frames[i], link)
        if (verdict >= 0) this.transmit(verdict, frames[i])
        if (engine.egress.isOutboxLong) this.#sendOwn()
      }
    }
    engine.release()
    this.#sendOwn()
    for (let link = 0; link < links.length; link++) links[link].release()
    engine.replication.flush()
    return handled
  }

  /** What the engine has made; and its memory is free again. */
  #sendOwn(): void {
    const { egress } = this.#engine
    egress.forEachOwnFrame(this.#transmitOwn)
    for (let link = 0; link < this.#links.length; link++) this.#links[link].flush()
    egress.recycle()
  }

  /** Queues a frame; a full queue is flushed first. */
  transmit(link: number, frame: Frame): void {
    if (this.#links[link].transmit(frame)) return
    this.#links[link].flush()
    this.#links[link].transmit(frame)
  }

  #applyRecords(): number {
    const incoming = this.#incoming
    const { replication } = this.#engine
    let count = 0
    for (; count < RECORDS; count++) {
      const at = incoming.peek()
      if (at < 0) break
      const { unplaced } = replication
      replication.apply(incoming.bytes, at)
      if (replication.unplaced !== unplaced) incoming.countUnplaced()
      incoming.advance()
    }
    return count
  }
}
