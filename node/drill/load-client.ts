/**
 * The drill's end of its client process (session-client.ts): starts it, and asks it things.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { programFile } from '../../forwarder/program-file.ts'
import { DirectorError } from '../../protocol/errors.ts'
import { putFirst } from '../processor-share.ts'
import { inNamespace } from './lab-network.ts'
import type { FromClient, LoadOptions, LoadProgress, ToClient } from './load-messages.ts'

type Answer<T extends FromClient['type']> = Extract<FromClient, { type: T }>

/** The command line that runs the client in a namespace. */
export function sessionClientIn(namespace: string): string[] {
  return inNamespace(namespace, [process.execPath, programFile('node/drill/session-client')])
}

export class LoadClient {
  readonly #child: ChildProcess
  readonly #waiting = new Map<FromClient['type'], (message: FromClient) => void>()
  readonly #ended: Promise<never>
  #expectEnd = false

  /**
   * @param signal ends the process, and whoever waits for it
   * @param place gives the process its share of the processors
   */
  constructor(
    command: readonly string[],
    signal: AbortSignal,
    onProgress: (progress: LoadProgress) => void,
    place: (processId: number) => void = putFirst,
  ) {
    const [program, ...args] = command
    // Out of the terminal's process group: Ctrl-C is ours to handle.
    this.#child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      detached: true,
      signal,
      killSignal: 'SIGKILL',
    })
    if (this.#child.pid !== undefined) place(this.#child.pid)
    this.#child.on('message', (message: FromClient) => {
      if (message.type === 'progress') onProgress(message)
      this.#waiting.get(message.type)?.(message)
    })
    this.#ended = new Promise((_, reject) => {
      const fail = (how: string) => reject(new DirectorError('LAB_FAILED', `the client of the drill has ended: ${how}`))
      this.#child.once('error', (error) => (signal.aborted ? reject(signal.reason) : fail(error.message)))
      this.#child.once('exit', (code, killedBy) => {
        // It ends with 0 only when it has handed its result over, which may still be on its way.
        if (!this.#expectEnd || code !== 0) fail(killedBy ?? `exit code ${code}`)
      })
    })
    // Whoever asks meets it; when nobody does, the lab is being ended.
    this.#ended.catch(() => {})
  }

  async open(options: LoadOptions): Promise<Answer<'opened'>> {
    return await this.#ask({ type: 'open', options }, 'opened')
  }

  observe(): void {
    this.#tell({ type: 'observe' })
  }

  async census(): Promise<Answer<'census'>['conversations']> {
    return (await this.#ask({ type: 'census' }, 'census')).conversations
  }

  fault(atMs: number): void {
    this.#tell({ type: 'fault', atMs })
  }

  /** The process ends after it. */
  async finish(): Promise<Answer<'result'>> {
    const answer = this.#ask({ type: 'finish' }, 'result')
    this.#expectEnd = true
    return await answer
  }

  async #ask<T extends FromClient['type']>(message: ToClient, answer: T): Promise<Answer<T>> {
    const answered = new Promise<Answer<T>>((resolve) => {
      this.#waiting.set(answer, (received) => resolve(received as Answer<T>))
    })
    this.#tell(message)
    return await Promise.race([answered, this.#ended])
  }

  #tell(message: ToClient): void {
    // A channel that has closed is reported by the process's end.
    this.#child.send(message, () => {})
  }
}
