/**
 * Waiting for a disk that may hang: an fsync then neither succeeds nor fails, for seconds, for minutes or for good.
 *
 * Who waits is told so after a while; and until the disk has answered, whoever asks it anything is told so at once, since each question that
 * hangs holds one of the few threads that this process has for files. What was asked goes on all the same.
 */
import { monotonicMs } from '../../../forwarder/clock.ts'
import { DirectorError } from '../../../protocol/errors.ts'

export const ANSWER_MS = 2_000
/** Less than any disk that is well can write: what is long has its time. */
const SLOWEST_BYTES_PER_MS = 4 * 1024

export class DiskAnswers {
  readonly #answerMs: number
  /** When what hangs was asked. */
  readonly #hanging = new Set<{ readonly askedMs: number }>()

  constructor(answerMs = ANSWER_MS) {
    this.#answerMs = answerMs
  }

  /** @throws DirectorError STORE_FAILED while something hangs */
  demand(): void {
    for (const { askedMs } of this.#hanging) throw noAnswer(askedMs)
  }

  /**
   * @param ask begins it; its promise may come to an end after this one, which is when `isGivenUp` says true
   * @param bytes that are to be written
   * @throws DirectorError STORE_FAILED when it hangs, or something else does; otherwise as `ask` does
   */
  async wait<T>(ask: (isGivenUp: () => boolean) => Promise<T>, bytes = 0): Promise<T> {
    this.demand()
    const question = { askedMs: monotonicMs() }
    const answer = ask(() => this.#hanging.has(question))
    const limit = Promise.withResolvers<never>()
    let isAnswered = false
    const giveUp = () => {
      if (isAnswered) return
      this.#hanging.add(question)
      const forget = () => this.#hanging.delete(question)
      answer.then(forget, forget)
      limit.reject(noAnswer(question.askedMs))
    }
    // It may be this process that had no time: what has come meanwhile is seen first.
    const timer = setTimeout(() => setImmediate(giveUp), this.#answerMs + bytes / SLOWEST_BYTES_PER_MS)
    try {
      return await Promise.race([answer, limit.promise])
    } finally {
      isAnswered = true
      clearTimeout(timer)
    }
  }
}

function noAnswer(askedMs: number): DirectorError {
  const seconds = Math.round((monotonicMs() - askedMs) / 1000)
  const message = `the disk of the store has not answered for ${seconds} s: look at its health, or name a folder on another one in \`store\``
  return new DirectorError('STORE_FAILED', message)
}
