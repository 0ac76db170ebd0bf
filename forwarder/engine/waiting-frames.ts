/**
 * Copies of frames that are sent later, or given back: all that wait for one kind of event. They have a share of the pool and no more, so
 * that who makes packets wait for one thing keeps none from waiting for another.
 *
 * A quarter each for fragments, confirmations and neighbours leaves the last one to what leaves at once.
 */
import type { Frame } from '../link/link.ts'
import type { FramePool, PooledFrame } from './frame-pool.ts'

const SHARE = 1 / 4

export class WaitingFrames {
  readonly #pool: FramePool
  readonly #most: number
  readonly #emit: (frame: PooledFrame) => void
  /** Frames that wait. */
  count = 0

  /** @param emit takes a frame to be transmitted on frame.link */
  constructor(pool: FramePool, emit: (frame: PooledFrame) => void) {
    this.#pool = pool
    this.#most = Math.floor(pool.total * SHARE)
    this.#emit = emit
  }

  /** A copy of a frame, for link number `link`; undefined when there is no room. */
  keep(frame: Frame, link: number): PooledFrame | undefined {
    if (this.count >= this.#most) return undefined
    const copy = this.#pool.copy(frame)
    if (copy === undefined) return undefined
    copy.link = link
    this.count++
    return copy
  }

  send(frame: PooledFrame, link: number): void {
    this.count--
    frame.link = link
    this.#emit(frame)
  }

  giveBack(frame: PooledFrame): void {
    this.count--
    this.#pool.give(frame)
  }
}
