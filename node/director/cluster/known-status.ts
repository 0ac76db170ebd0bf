/**
 * What the main thread knows of how far this director is: what the cluster thread has said, but that it is in sync only if it has said so
 * since the last doubt. What it said before it knew of that may still be on its way.
 */

export interface SaidStatus {
  readonly inSync: boolean
  /** Why, in words for an operator. */
  readonly reason: string
  /** How many doubts it knows of. */
  readonly doubts: number
}

export class KnownStatus<S extends SaidStatus> {
  #said: S | undefined
  #doubts = 0
  #doubt = ''

  /** Undefined until the thread has said something. */
  get current(): S | undefined {
    const said = this.#said
    return said && said.doubts < this.#doubts ? { ...said, inSync: false, reason: this.#doubt } : said
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
