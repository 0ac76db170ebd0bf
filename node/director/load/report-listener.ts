/**
 * Where agents' reports come in: a UDP socket on agents.listen. What is not signed with one of the keys is counted and dropped before
 * it is decoded; so is a replay, and what a key says of servers that it is not for.
 */
import { createSocket, type Socket } from 'node:dgram'
import { monotonicMs } from '../../../forwarder/clock.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { type Endpoint, isIPv6Text, parseEndpoint } from '../../../protocol/packet/ipv6-address.ts'
import type { AgentKey } from '../../../protocol/wire/agent-key.ts'
import { type AgentReport, type AgentReportRefusal, decodeAgentReport } from '../../../protocol/wire/agent-report.ts'
import { LoadBook, type ServerLoad } from './load-book.ts'
import { ReplayGuard, type ReplayRefusal } from './replay-guard.ts'

export interface ReportListenerOptions {
  /** "10.0.0.1:7947" or "[2001:db8::1]:7947", as agents.listen in the configuration. */
  listen: string
  keys: readonly AgentKey[]
  /** The factor of this address is another than before. */
  onChange: (address: string, factor: number) => void
  /** Milliseconds that never jump, for ages and smoothing. */
  monotonicMs?: () => number
  /** Milliseconds since 1970, for the window in which reports are believed. */
  wallClockMs?: () => number
}

export interface ReportStatistics {
  accepted: number
  /** Under address: none of the report's addresses is the key's. */
  refused: Record<AgentReportRefusal | ReplayRefusal | 'address', number>
}

interface GuardedKey extends AgentKey {
  readonly guard: ReplayGuard
}

/** Agents of all servers may share a key that is for no server in particular. */
const SHARED_KEY_RUNS_MAX = 4096
/** One agent, and how often it may have been started within a minute. */
const SERVER_KEY_RUNS_MAX = 16
const EXPIRE_EVERY_MS = 250

export class ReportListener {
  readonly #options: Required<ReportListenerOptions>
  readonly #book: LoadBook
  #keys: ReadonlyMap<string, GuardedKey> = new Map()
  readonly #statistics: ReportStatistics = {
    accepted: 0,
    refused: { length: 0, version: 0, key: 0, signature: 0, body: 0, address: 0, clock: 0, replay: 0, capacity: 0 },
  }
  #socket: Socket | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: ReportListenerOptions) {
    this.#options = { monotonicMs, wallClockMs: Date.now, ...options }
    this.#book = new LoadBook(options.onChange)
    this.setKeys(options.keys)
  }

  /** From now on these count and no others, nor what was said under others; what is known of the reports under a key that stays is kept. */
  setKeys(keys: readonly AgentKey[]): void {
    const guardOf = ({ id, addresses }: AgentKey) => {
      const runsMax = addresses.length > 0 ? SERVER_KEY_RUNS_MAX : SHARED_KEY_RUNS_MAX
      const guard = this.#keys.get(id)?.guard ?? new ReplayGuard(runsMax)
      // The same key may be for other addresses than before, or for any.
      guard.runsMax = runsMax
      return guard
    }
    this.#keys = new Map(keys.map((key) => [key.id, { ...key, guard: guardOf(key) }]))
    this.#book.retain((keyId, address) => {
      const key = this.#keys.get(keyId)
      return key !== undefined && speaksFor(key, address)
    })
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
    // As things were a turn ago: when this thread has stood still, reports that came meanwhile have been read by the next turn.
    let turnBeforeMs = this.#options.monotonicMs()
    this.#timer = setInterval(() => {
      this.expire(turnBeforeMs)
      turnBeforeMs = this.#options.monotonicMs()
    }, EXPIRE_EVERY_MS)
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
    const signed = decodeAgentReport(datagram, (id) => this.#keys.get(id))
    if (typeof signed === 'string') {
      refused[signed]++
      return
    }
    const report = restrict(signed.report, signed.key)
    if (report.addresses.length === 0) {
      refused.address++
      return
    }
    const replay = signed.key.guard.check(report, this.#options.wallClockMs())
    if (replay) {
      refused[replay]++
      return
    }
    if (this.#book.take(report, signed.key.id, this.#options.monotonicMs())) this.#statistics.accepted++
    else refused.capacity++
  }

  /** Returns the servers of agents that were silent by then to their configured weight; runs by itself after start(). */
  expire(byMs: number): void {
    this.#book.expire(byMs)
  }
}

/** The report, of the addresses that its key is for. */
function restrict(report: AgentReport, key: AgentKey): AgentReport {
  return { ...report, addresses: report.addresses.filter((address) => speaksFor(key, address)) }
}

function speaksFor({ addresses }: AgentKey, address: string): boolean {
  return addresses.length === 0 || addresses.includes(address)
}
