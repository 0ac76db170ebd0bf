/** The control socket: requests, damaged, from somebody who may open it. He may change what he likes; he must not break anything. */
import { once } from 'node:events'
import { connect } from 'node:net'
import type { DirectorStatus } from '../../../node/director/control/answers.ts'
import { type ServedPool, servePool } from '../../node/cli/served-pool.ts'
import type { Random } from '../../random.ts'
import { count, demand, mutated, oneOf, randomBytes, type Wire } from './wire.ts'

const ROUND = 20
const service = { protocol: 'tcp', address: '10.0.0.100', port: 80, scheduler: 'wlc' }
const server = { service, address: '10.0.0.1', port: 8080, weight: 1, method: 'nat' }
const requests = [
  requestOf('GET', '/status'),
  requestOf('GET', '/services?counters=now'),
  requestOf('POST', '/services', service),
  requestOf('PUT', '/services', service),
  requestOf('DELETE', '/services', service),
  requestOf('POST', '/servers', server),
  requestOf('PUT', '/settings', { drop_entry: 1 }),
  requestOf('POST', '/marks', { rule: { mark: 1, protocol: 'tcp', destination: '10.0.0.0/8' } }),
  requestOf('POST', '/explain', { protocol: 'tcp', from: '10.0.0.9:1', to: '10.0.0.100:80' }),
  requestOf('POST', '/sync-daemons', { state: 'master', interface: 'eth0', syncId: 1 }),
  requestOf('POST', '/changes', { do: 'add-service', service }, 'application/x-ndjson'),
]

function requestOf(method: string, path: string, body?: object, type = 'application/json'): Uint8Array {
  const payload = body ? JSON.stringify(body) : ''
  const headers = body ? `Content-Type: ${type}\r\nContent-Length: ${payload.length}\r\n` : ''
  return Buffer.from(`${method} ${path} HTTP/1.1\r\nHost: director\r\n${headers}\r\n${payload}`)
}

export class ControlWire implements Wire {
  readonly outcomes = new Map<string, number>()
  readonly #bugs: string[] = []
  readonly #teardowns: (() => unknown)[] = []
  #pool: ServedPool | undefined

  async bring(random: Random): Promise<number> {
    this.#pool ??= await servePool(
      {
        teardown: (task) => void this.#teardowns.push(task),
        fail: (message) => void this.#bugs.push(message),
      },
      {} as DirectorStatus,
    )
    const { socketPath } = this.#pool
    await Promise.all(Array.from({ length: ROUND }, () => this.#ask(socketPath, this.#request(random))))
    demand(this.#bugs.length === 0, `a request met a bug: ${this.#bugs}`)
    return ROUND
  }

  async close(): Promise<void> {
    try {
      demand((await this.#pool?.control('GET', '/health')) !== undefined, 'the director does not answer any more')
    } finally {
      for (const task of this.#teardowns.splice(0).reverse()) await task()
    }
  }

  /** Damaged anywhere, or in its body alone, which its head then tells the right length of. */
  #request(random: Random): Uint8Array {
    const whole = Buffer.from(oneOf(random, requests))
    if (random.oneIn(10)) return randomBytes(random, random.below(500))
    if (random.oneIn(2)) return mutated(random, whole, requests)
    const bodyAt = whole.indexOf('\r\n\r\n') + 4
    if (bodyAt === whole.length) return whole
    const body = mutated(random, whole.subarray(bodyAt))
    const head = whole
      .subarray(0, bodyAt)
      .toString()
      .replace(/Length: \d+/, `Length: ${body.length}`)
    return Buffer.concat([Buffer.from(head), body])
  }

  async #ask(socketPath: string, bytes: Uint8Array): Promise<void> {
    const socket = connect(socketPath)
    let answer = ''
    socket.setEncoding('latin1').on('data', (text: string) => (answer += text))
    // What is refused may end before it was all sent.
    socket.on('error', () => {})
    socket.end(bytes)
    await once(socket, 'close')
    const status = /^HTTP\/1.1 (\d+)/.exec(answer)?.[1] ?? 'no answer'
    demand(status !== '500', `a request failed: ${answer}`, bytes)
    count(this.outcomes, status)
  }
}
