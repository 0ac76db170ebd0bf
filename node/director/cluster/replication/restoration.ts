/**
 * What this director still knows from before its restart (node/director/checkpoint/), given to its forwarder piece by piece before it starts a
 * pool with its own table. Who copies the table of a peer has no use for it: that one is newer.
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
    if (this.#state === 'due') void this.#run()
  }

  stop(): void {
    this.#state = 'over'
  }

  async #run(): Promise<void> {
    const { clock, incoming, next, apply, onEnd } = this.#options
    this.#state = 'running'
    for (;;) {
      const records = await next()
      if (!records || this.#state !== 'running') break
      const block = blockOf(records)
      apply(block)
      this.#records += block.count
      while (this.#state === 'running' && incoming.taken < incoming.accepted) await sleep(clock, LOOK_MS)
    }
    if (this.#state !== 'running') return
    this.#state = 'over'
    onEnd()
  }
}
