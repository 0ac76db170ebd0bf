/**
 * A user at a terminal: the telnet program on a lab's client, connected to a port of the pool. To a port that does not speak
 * telnet's own protocol it is a plain line, which is how people have always tried smtp and nntp servers.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Lab } from '../../node/drill/lab.ts'
import { VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { eventually, onHost } from './lab-directors.ts'

export class Conversation {
  readonly #child: ChildProcess
  readonly #port: number
  #heard = ''

  private constructor(child: ChildProcess, port: number) {
    this.#child = child
    this.#port = port
    const hear = (piece: Buffer) => {
      this.#heard += piece
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    child.stdin?.on('error', () => {})
  }

  /** Resolves when the program says that it is connected. */
  static async begin(lab: Lab, port: number): Promise<Conversation> {
    const [program, ...args] = onHost(lab, 'c1', 'telnet', VIRTUAL_ADDRESS, String(port))
    const conversation = new Conversation(spawn(program, args, { stdio: 'pipe' }), port)
    await conversation.hear(/Escape character/)
    return conversation
  }

  /** Types a line, and resolves with what comes back as soon as it holds `answer`. */
  async say(line: string, answer: RegExp): Promise<string> {
    this.#heard = ''
    this.#child.stdin?.write(`${line}\n`)
    return await this.hear(answer)
  }

  /** Resolves with all that was heard since the last line was typed. @throws Error when it does not come, or the line breaks */
  async hear(answer: RegExp): Promise<string> {
    return await eventually(`${answer} from port ${this.#port}`, async () => {
      if (answer.test(this.#heard)) return this.#heard
      throw new Error(`${JSON.stringify(this.#heard)}${this.isOver ? ', and the line is closed' : ''}`)
    })
  }

  get isOver(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  async end(): Promise<void> {
    if (this.isOver) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}
