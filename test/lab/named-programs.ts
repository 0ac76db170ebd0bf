/** The servers and the client of the recordings, on the hosts of a lab. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Lab } from '../../node/drill/lab.ts'
import { onHost } from './lab-directors.ts'
import { programOf, startUntilReady } from './lab-traffic.ts'
import type { ClientRequest } from './named-client.ts'
import type { NamedServerOptions } from './named-server.ts'

/** Starts a server; it ends with the lab. */
export function startNamedServer(lab: Lab, host: string, options: NamedServerOptions): Promise<void> {
  return startUntilReady(lab, host, programOf('named-server', JSON.stringify(options)))
}

/** One client program on the client's host; its sockets end with it. */
export class NamedClient {
  readonly #child
  readonly #answers: AsyncIterator<string>

  constructor(lab: Lab) {
    const [program, ...args] = onHost(lab, 'c1', ...programOf('named-client'))
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#answers = createInterface(this.#child.stdout)[Symbol.asyncIterator]()
  }

  async ask(request: ClientRequest): Promise<string | null> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`)
    const { value, done } = await this.#answers.next()
    if (done) throw new Error('the client has ended')
    return JSON.parse(value)
  }

  async end(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.stdin.end()
    await ended
  }
}
