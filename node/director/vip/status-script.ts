/**
 * Tells an operator's program of a group's states, as keepalived's `notify` does: type, name, state and priority follow the
 * program's own words, in keepalived's terms, so that its scripts serve here too. One run at a time and in order; what would wait
 * in too long a queue is left out, the oldest first, since the newest state is the one that counts.
 */
import type { Clock } from '../clock.ts'
import type { RunScript, ScriptRun } from './run-script.ts'
import type { RouterState } from './virtual-router.ts'

const MOST_WAITING = 16
const TIMEOUT_MS = 30_000

const WORDS: Readonly<Record<RouterState, string>> = {
  active: 'MASTER',
  backup: 'BACKUP',
  fault: 'FAULT',
  init: 'STOP',
}

export class StatusScript {
  readonly #command: readonly string[]
  readonly #run: RunScript
  readonly #note: (message: string) => void
  readonly #waiting: string[][] = []
  #running: Promise<void> | undefined
  #current: ScriptRun | undefined

  constructor(command: readonly string[], run: RunScript, note: (message: string) => void) {
    this.#command = command
    this.#run = run
    this.#note = note
  }

  tell(name: string, state: RouterState, priority: number): void {
    this.#waiting.push(['INSTANCE', name, WORDS[state], `${priority}`])
    if (this.#waiting.length > MOST_WAITING) {
      const [, , left] = this.#waiting.shift()!
      this.#note(`${this.#command[0]} is too slow: it is not told of ${left}`)
    }
    this.#running ??= this.#runAll()
  }

  /** Resolves when all has been told, or, after that time, what runs has been killed. */
  async end(clock: Clock, patienceMs: number): Promise<void> {
    const cancel = clock.schedule(patienceMs, () => {
      this.#waiting.length = 0
      this.#current?.kill()
    })
    await this.#running
    cancel()
  }

  async #runAll(): Promise<void> {
    for (let words = this.#waiting.shift(); words !== undefined; words = this.#waiting.shift()) {
      this.#current = this.#run([...this.#command, ...words], TIMEOUT_MS)
      const failure = await this.#current.ended
      if (failure !== undefined) this.#note(`${this.#command[0]} ${words.join(' ')}: ${failure}`)
    }
    this.#running = undefined
    this.#current = undefined
  }
}
