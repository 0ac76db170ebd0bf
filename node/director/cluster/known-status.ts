/**
 * What the main thread knows of how far this director is: what the cluster thread has said, but that it is in sync only if
 * - it has said so since the last doubt: what it said before it knew of that may still be on its way;
 * - it still breathes: one that hangs takes nothing in, and would never say so. When it last breathed it writes into shared memory, so this
 *   thread's own lateness makes it no older; after a standstill of the whole process nothing that was said before counts until it has been
 *   here again.
 */

/** Five times what the cluster thread ever rests, and longer than peers let a director be silent. */
const SILENCE_LIMIT_MS = 500

export interface SaidStatus {
  readonly inSync: boolean
  /** Why, in words for an operator. */
  readonly reason: string
  /** How many doubts it knows of. */
  readonly doubts: number
}

export class KnownStatus<S extends SaidStatus> {
  readonly #silentForMs: () => number
  #said: S | undefined
  #doubts = 0
  #doubt = ''

  /** @param silentForMs how long ago the thread last breathed */
  constructor(silentForMs: () => number) {
    this.#silentForMs = silentForMs
  }

  /** Undefined until the thread has said something. */
  get current(): S | undefined {
    const said = this.#said
    const reason = said?.inSync ? this.#whyNot(said) : undefined
    return said && reason !== undefined ? { ...said, inSync: false, reason } : said
  }

  #whyNot({ doubts }: S): string | undefined {
    if (doubts < this.#doubts) return this.#doubt
    const silentMs = this.#silentForMs()
    return silentMs > SILENCE_LIMIT_MS ? `the cluster thread has stood still for ${Math.round(silentMs)} ms` : undefined
  }

  take(status: S): void {
    this.#said = status
  }

  /** The thread is to be told, too. @param reason in words for an operator */
  doubt(reason: string): void {
    this.#doubts++
    this.#doubt = reason
  }
}
