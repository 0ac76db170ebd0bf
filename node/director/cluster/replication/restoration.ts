/**
 * What this director still knows from before its restart (node/director/checkpoint/), given to its forwarder piece by piece before it starts a
 * pool with its own table. Who has copied the table of a peer has no use for it: that one is newer.
 */
import { blockOf, type RecordBlock } from '../../../../protocol/wire/record-block.ts'
import { type Clock, sleep } from '../../clock.ts'
import type { IncomingQueue } from './incoming-queue.ts'

export interface RestorationOptions {
  readonly clock: Clock
  readonly incoming: IncomingQueue
  /** The next records, RECORD_LENGTH bytes each; undefined after the last ones. */
  readonly next: () => Promise<Uint8Array | undefined>
  readonly apply: (block: RecordBlock) => void
  readonly onEnd: () => void
}

/** How often it is looked whether the forwarder has taken what it was given. */
const LOOK_MS = 1

export class Restoration {
  readonly #options: RestorationOptions
  #state: 'due' | 'running' | 'over' = 'due'
  #records = 0
  /** What was asked for and not yet given: whoever has it to give does not give it twice. */
  #upcoming: Promise<Uint8Array | undefined> | undefined
  /** One that is paused ends only when what it waits for has come, or goes on then. */
  #isGiving = false

  constructor(options: RestorationOptions) {
    this.#options = options
  }

  /** Records given so far; undefined unless it is under way. */
  get running(): number | undefined {
    return this.#state === 'running' ? this.#records : undefined
  }

  get isOver(): boolean {
    return this.#state === 'over'
  }

  begin(): void {
    if (this.#state !== 'due') return
    this.#state = 'running'
    if (!this.#isGiving) void this.#give()
  }

  /** A peer's table is copied, and may never be whole: then the rest is wanted. */
  pause(): void {
    if (this.#state === 'running') this.#state = 'due'
  }

  stop(): void {
    this.#state = 'over'
    this.#upcoming = undefined
  }

  async #give(): Promise<void> {
    const { clock, incoming, next, apply, onEnd } = this.#options
    this.#isGiving = true
    while (this.#state === 'running') {
      this.#upcoming ??= next()
      const records = await this.#upcoming
      if (this.#state !== 'running') break
      this.#upcoming = undefined
      if (!records) {
        this.#state = 'over'
        onEnd()
        break
      }
      const block = blockOf(records)
      apply(block)
      this.#records += block.count
      while (this.#state === 'running' && incoming.taken < incoming.accepted) await sleep(clock, LOOK_MS)
    }
    this.#isGiving = false
  }
}
