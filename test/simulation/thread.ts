/**
 * One thread of a simulated director: its own reading of the clock, and an event loop that can stand still. What falls due
 * meanwhile waits, and runs in order when the thread goes on.
 */
import type { Clock } from '../../node/director/clock.ts'
import type { VirtualClock } from '../../node/director/virtual-clock.ts'

/** From one thread's event loop to another's. */
const HOP_MS = 0.02

export class Thread implements Clock {
  readonly #clock: VirtualClock
  readonly #offsetMs: number
  #stalls = 0
  #isOver = false
  #waiting: (() => void)[] = []

  /** @param offsetMs what its monotonic clock was at the virtual clock's 0 */
  constructor(clock: VirtualClock, offsetMs: number) {
    this.#clock = clock
    this.#offsetMs = offsetMs
  }

  /** How many faults hold it up. */
  get stalls(): number {
    return this.#stalls
  }

  now(): number {
    return this.#clock.now() + this.#offsetMs
  }

  schedule(delayMs: number, task: () => void): () => void {
    let isCancelled = false
    const cancel = this.#clock.schedule(delayMs, () => this.run(() => isCancelled || task()))
    return () => {
      isCancelled = true
      cancel()
    }
  }

  /** A message from another thread. */
  post(task: () => void): void {
    this.#clock.schedule(HOP_MS, () => this.run(task))
  }

  /** Something has arrived: it is handled now, or when the thread goes on. */
  run(task: () => unknown): void {
    if (this.#isOver) return
    if (this.#stalls > 0) this.#waiting.push(task)
    else task()
  }

  every(intervalMs: number, task: () => void): void {
    this.schedule(intervalMs, () => {
      this.every(intervalMs, task)
      task()
    })
  }

  stall(): void {
    this.#stalls++
  }

  resume(): void {
    if (--this.#stalls > 0) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const task of waiting) this.#clock.schedule(0, () => this.run(task))
  }

  /** Nothing runs here any more. */
  end(): void {
    this.#isOver = true
    this.#waiting = []
  }
}
