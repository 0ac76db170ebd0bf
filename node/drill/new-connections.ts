/**
 * The drill's new connections: one every so often, each with one HTTP request, its answer, and the end. Open-loop as well:
 * the next one does not wait for the one before. But a client that has stood still makes up for it a little at a time, and not for all:
 * that burst would be another load than was asked for. A lost SYN that TCP repeats is no failure; no answer in time is.
 */
import { connect } from 'node:net'
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import type { FailedBeginning, LoadOptions, LoadProgress, LoadResult } from './load-messages.ts'

/** An answer is a few hundred bytes; whatever is longer is not read to its end. */
const ANSWER_BYTES = 4096
/** Begun at once: what was due in so long a time. */
const BURST_MS = 100
/** Later than this a connection that was due is not begun any more. */
const LONGEST_DELAY_MS = 2000
/** Handshakes whose time is kept, so that a long drill does not grow. */
const MAX_SET_UPS = 50_000

export class NewConnections {
  readonly #options: LoadOptions
  readonly #now: () => number
  readonly #failed: LoadResult['connections']['failed'] = []
  #overdue: FailedBeginning[] = []
  readonly #open = new Set<Promise<void>>()
  readonly #setUpMs: number[] = []
  #attempted = 0
  #connected = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: LoadOptions, now: () => number) {
    this.#options = options
    this.#now = now
  }

  start(): void {
    const intervalMs = 1000 / this.#options.connectionsPerSecond
    let dueMs = this.#now()
    this.#timer = setInterval(
      () => {
        const nowMs = this.#now()
        dueMs = Math.max(dueMs, nowMs - LONGEST_DELAY_MS)
        for (const endMs = Math.min(nowMs, dueMs + BURST_MS); dueMs <= endMs; dueMs += intervalMs) this.#attempt()
      },
      Math.min(10, intervalMs),
    )
  }

  /** Each that is overdue is told of once. */
  progress(): Pick<LoadProgress, 'connectionsAttempted' | 'connectionsFailed' | 'lastFailure' | 'overdue'> {
    const overdue = this.#overdue
    this.#overdue = []
    return {
      connectionsAttempted: this.#attempted,
      connectionsFailed: this.#failed.length,
      lastFailure: this.#failed.at(-1),
      overdue,
    }
  }

  /** Begins no more, and resolves when the last has ended. */
  async finish(): Promise<LoadResult['connections']> {
    clearInterval(this.#timer)
    await Promise.all(this.#open)
    return { attempted: this.#attempted, failed: this.#failed, setUpMs: this.#setUpMs }
  }

  #attempt(): void {
    this.#attempted++
    const startedMs = this.#now()
    const attempt = this.#converse(startedMs).then((failure) => {
      this.#open.delete(attempt)
      if (failure) this.#failed.push(failure)
    })
    this.#open.add(attempt)
  }

  /** Resolves with what went wrong; undefined: nothing. */
  #converse(startedMs: number): Promise<FailedBeginning | undefined> {
    const { promise, resolve } = Promise.withResolvers<FailedBeginning | undefined>()
    const { virtualAddress, webPort, patienceMs } = this.#options
    let answer = ''
    let connectedMs: number | undefined
    let port: number | undefined
    const describe = (reason: string): FailedBeginning => ({ startedMs, connectedMs, port, reason })
    const fail = (reason: string) => resolve(describe(reason))
    const socket = connect({ host: virtualAddress, port: webPort, noDelay: true })
    const missed = (ms: number) => `${socket.connecting ? 'not connected' : 'no answer'} within ${ms / 1000} s`
    // What the kernel knows of a socket goes with it, so whoever wants to look hears of it before it is given up.
    let timer = setTimeout(() => {
      port = socket.localPort
      this.#overdue.push(describe(missed(patienceMs / 2)))
      timer = setTimeout(() => socket.destroy(new Error(missed(patienceMs))), patienceMs / 2)
    }, patienceMs / 2)
    socket.setEncoding('latin1')
    socket.once('connect', () => {
      connectedMs = this.#now()
      port = socket.localPort
      this.#setUpMs[this.#connected++ % MAX_SET_UPS] = connectedMs - startedMs
      socket.write(`GET /hello HTTP/1.0\r\nHost: ${formatEndpoint(virtualAddress, webPort)}\r\n\r\n`)
    })
    socket.on('data', (text: string) => {
      answer += text
      if (answer.length > ANSWER_BYTES) socket.destroy(new Error('the answer does not end'))
    })
    socket.once('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message))
    socket.once('close', () => {
      clearTimeout(timer)
      if (/^HTTP\/1\.1 200 /.test(answer) && answer.endsWith('hello\n')) resolve(undefined)
      else fail('the answer is not whole')
    })
    return promise
  }
}
