/** The programs of the network benchmark: started inside a namespace, and gone when the benchmark is. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Namespace } from '../../forwarder/namespace.ts'

export class BenchProcess {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #what: string

  private constructor(namespace: Namespace, words: readonly string[]) {
    // The kernel ends it when this process dies without having been able to.
    const [command, ...rest] = [...namespace.enter, 'setpriv', '--pdeathsig', 'KILL', '--', ...words]
    this.#what = words.slice(0, 2).join(' ')
    this.child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]()
  }

  /** Another program. */
  static program(namespace: Namespace, ...words: string[]): BenchProcess {
    return new BenchProcess(namespace, words)
  }

  /** A file of this folder, which is given `options` as JSON; resolves when it has written its first line. */
  static async script(namespace: Namespace, name: string, options: object): Promise<BenchProcess> {
    const file = join(import.meta.dirname, `${name}.ts`)
    const started = new BenchProcess(namespace, [process.execPath, file, JSON.stringify(options)])
    await started.line()
    return started
  }

  get pid(): number {
    return this.child.pid!
  }

  /** The next line that it writes. */
  async line(): Promise<string> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error(`${this.#what} has ended early`)
    return value
  }

  /** All that it still writes; resolves when it has ended. */
  async rest(): Promise<string> {
    const lines: string[] = []
    for (let next = await this.#lines.next(); !next.done; next = await this.#lines.next()) lines.push(next.value)
    return lines.join('\n')
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const exited = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await exited
  }
}
