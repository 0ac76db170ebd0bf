/**
 * A watch's look at the host, which it takes again when it fails. One failure alone is ordinary: a link that vanishes while it is being
 * listed makes ip(8) fail. A watch whose looks go on to fail sees nothing any more, and the log is to say so.
 */
import type { Clock } from '../clock.ts'
import { RareNotes } from '../rare-notes.ts'

export class RetriedLook<Seen> {
  readonly #what: string
  readonly #look: () => Promise<Seen>
  readonly #notes: RareNotes
  #hasFailed = false

  /**
   * @param what is looked at, for the operator: "cannot be read" follows
   * @param warn a line for the log, every ten minutes at most
   */
  constructor(what: string, look: () => Promise<Seen>, clock: Clock, warn: (message: string) => void) {
    this.#what = what
    this.#look = look
    this.#notes = new RareNotes(clock, warn)
  }

  /** Resolves with undefined when it has failed. */
  async take(): Promise<Seen | undefined> {
    try {
      const seen = await this.#look()
      this.#hasFailed = false
      return seen
    } catch (error) {
      const { message } = error as Error
      if (this.#hasFailed) this.#notes.tell('look', `${this.#what} cannot be read, and changes go unseen: ${message}`)
      this.#hasFailed = true
      return undefined
    }
  }
}
