/**
 * Where agents' reports come in: a UDP socket on agents.listen. What does not hold the key is counted and dropped before it
 * is decoded; a replay is counted and dropped too.
 */
import { createSocket, type Socket } from 'node:dgram'
import { monotonicMs } from '../../../forwarder/clock.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { type Endpoint, isIPv6Text, parseEndpoint } from '../../../protocol/packet/ipv6-address.ts'
import { type AgentReportRefusal, decodeAgentReport } from '../../../protocol/wire/agent-report.ts'
import { LoadBook, type ServerLoad } from './load-book.ts'
import { ReplayGuard, type ReplayRefusal } from './replay-guard.ts'

export interface ReportListenerOptions {
  /** "10.0.0.1:7947" or "[2001:db8::1]:7947", as agents.listen in the configuration. */
  listen: string
  /** 32 bytes, shared with the agents. */
  key: Uint8Array
  /** The factor of this address is another than before. */
  onChange: (address: string, factor: number) => void
  /** Milliseconds that never jump, for ages and smoothing. */
  monotonicMs?: () => number
  /** Milliseconds since 1970, for the window in which reports are believed. */
  wallClockMs?: () => number
}

export interface ReportStatistics {
  accepted: number
  refused: Record<AgentReportRefusal | ReplayRefusal, number>
}

const EXPIRE_EVERY_MS = 250

export class ReportListener {
  readonly #options: Required<ReportListenerOptions>
  readonly #book: LoadBook
  readonly #guard = new ReplayGuard()
  readonly #statistics: ReportStatistics = {
    accepted: 0,
    refused: { length: 0, signature: 0, version: 0, body: 0, clock: 0, replay: 0, capacity: 0 },
  }
  #socket: Socket | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: ReportListenerOptions) {
    this.#options = { monotonicMs, wallClockMs: Date.now, ...options }
    this.#book = new LoadBook(options.onChange)
  }

  /** @throws DirectorError SOCKET_BUSY */
  async start(): Promise<void> {
    const { address, port } = parseEndpoint(this.#options.listen) as Endpoint
    const socket = createSocket(isIPv6Text(address) ? 'udp6' : 'udp4')
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error) =>
        reject(new DirectorError('SOCKET_BUSY', `agents.listen ${this.#options.listen}: ${error.message}`)),
      )
      socket.bind(port, address, resolve)
    })
    socket.removeAllListeners('error')
    // An error on a bound UDP socket is about one datagram; the next one comes all the same.
    socket.on('error', () => {})
    socket.on('message', (datagram) => this.take(datagram))
    this.#socket = socket
    this.#timer = setInterval(() => this.expire(), EXPIRE_EVERY_MS)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    const socket = this.#socket
    this.#socket = undefined
    if (socket) await new Promise<void>((resolve) => socket.close(resolve))
  }

  /** The port in use; differs from the one asked for only if that was 0. */
  get port(): number | undefined {
    return this.#socket?.address().port
  }

  get statistics(): Readonly<ReportStatistics> {
    return this.#statistics
  }

  /** Load and factor of the real server with this address. */
  get(address: string): ServerLoad {
    return this.#book.get(address, this.#options.monotonicMs())
  }

  /** One datagram, from anybody. Never throws. */
  take(datagram: Uint8Array): void {
    const { refused } = this.#statistics
    const report = decodeAgentReport(datagram, this.#options.key)
    if (typeof report === 'string') {
      refused[report]++
      return
    }
    const replay = this.#guard.check(report, this.#options.wallClockMs())
    if (replay) {
      refused[replay]++
      return
    }
    if (this.#book.take(report, this.#options.monotonicMs())) this.#statistics.accepted++
    else refused.capacity++
  }

  /** Returns the servers of silent agents to their configured weight; runs by itself after start(). */
  expire(): void {
    this.#book.expire(this.#options.monotonicMs())
  }
}
