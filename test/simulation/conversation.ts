/**
 * One client's TCP conversation with a virtual service, as far as a load balancer can tell: it opens, asks and is answered for
 * a while, and closes. What is not answered is sent again, as TCP does.
 */

import type { Clock } from '../../node/director/clock.ts'
import { parseIPv4 } from '../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_SYN } from '../../protocol/packet/tcp.ts'
import type { Random } from '../random.ts'
import { tcpFrame } from '../support/frames.ts'
import { between } from './draw.ts'
import { serverOf } from './hosts.ts'
import { endpoint, type SimulatedService } from './site.ts'

export interface ConversationOptions {
  readonly service: SimulatedService
  readonly clientAddress: string
  readonly clientPort: number
  /** Another conversation had the same addresses and ports before. */
  readonly isReuse: boolean
  readonly clock: Clock
  readonly random: Random
  readonly transmit: (nextHop: number, frame: Uint8Array) => void
  /** While true, nothing new is said. */
  readonly isQuiet: () => boolean
}

const SEQUENCES_PER_MS = 250
const RETRANSMISSION_MS = 250
const MOST_TRIES = 10
const THINKING_MS = [100, 500] as const
const MOST_QUESTIONS = 24

export class Conversation {
  readonly service: SimulatedService
  readonly clientAddress: string
  readonly clientPort: number
  readonly key: number
  readonly isReuse: boolean
  state: 'opening' | 'established' | 'closing' | 'closed' | 'failed' = 'opening'
  /** The servers that a SYN of this conversation has reached. */
  readonly synServers = new Set<string>()
  /** The server that answered the SYN. */
  server: string | undefined
  readonly begunMs: number
  establishedMs = 0
  /** When the server was last heard. */
  answeredMs = 0
  /** When the question was put, or the end said, that is not yet answered. */
  askedMs: number | undefined
  /** By boot, the directors that have had it in their tables. From the second on the promises cover it. */
  readonly witnesses = new Set<string>()
  readonly #options: ConversationOptions
  readonly #virtual: number
  readonly #frames = new Map<number, Uint8Array>()
  /** RFC 9293 section 3.4.1: by the clock. */
  readonly #firstSequence: number
  /** What its server says next. */
  #expected = 0
  #questions: number
  #cancelTimer = () => {}

  constructor(options: ConversationOptions) {
    const { service, clientAddress, clientPort, random } = options
    this.#options = options
    this.service = service
    this.clientAddress = clientAddress
    this.clientPort = clientPort
    this.isReuse = options.isReuse
    this.begunMs = options.clock.now()
    this.key = endpoint(clientAddress, clientPort)
    this.#firstSequence = Math.floor(options.clock.now() * SEQUENCES_PER_MS) | 0
    this.#virtual = parseIPv4(service.address)
    this.#questions = between(random, 1, MOST_QUESTIONS)
    this.#say(TCP_SYN, () => this.#end('failed'))
  }

  /** Its client has been answered, and it has not come to its end. */
  get isUnderway(): boolean {
    return this.state === 'established' || this.state === 'closing'
  }

  get isCovered(): boolean {
    return this.witnesses.size > 1
  }

  get isOver(): boolean {
    return this.state === 'closed' || this.state === 'failed'
  }

  /** The client hears a segment. */
  hear(flags: number, sequence: number): void {
    const { clock } = this.#options
    const isOpening = (flags & TCP_SYN) !== 0
    if (this.state === 'opening' && isOpening) {
      this.state = 'established'
      this.server = this.service.servers[serverOf(sequence)]
      this.#expected = (sequence + 1) | 0
      this.establishedMs = clock.now()
      this.answeredMs = clock.now()
      this.#transmit(TCP_ACK)
      this.#think()
    } else if (isOpening) {
      if (!this.isOver) this.#transmit(TCP_ACK)
    } else if (sequence !== this.#expected) {
      // Of another server, or another conversation.
    } else if (this.state === 'established') {
      this.answeredMs = clock.now()
      if (this.askedMs !== undefined && (flags & TCP_PSH) !== 0) this.#think()
    } else if (this.state === 'closing' && (flags & TCP_FIN) !== 0) {
      this.#transmit(TCP_ACK)
      this.#end('closed')
    }
  }

  /** Whether a segment of this number may still be under way: a SYN while it opens, whatever it says after that. */
  isInFlight(sequence: number): boolean {
    return (sequence === this.#firstSequence) === (this.state === 'opening')
  }

  /** Its client has been told that there is nobody. */
  fail(): void {
    this.#end('failed')
  }

  #think(): void {
    this.askedMs = undefined
    this.#wait(between(this.#options.random, ...THINKING_MS), () => this.#goOn())
  }

  #goOn(): void {
    if (this.#options.isQuiet()) this.#wait(RETRANSMISSION_MS, () => this.#goOn())
    else if (this.#questions-- > 0) {
      this.askedMs = this.#options.clock.now()
      this.#say(TCP_PSH | TCP_ACK)
    } else {
      this.state = 'closing'
      this.askedMs = this.#options.clock.now()
      this.#say(TCP_FIN | TCP_ACK)
    }
  }

  /** Sends it, again and again until something is heard; gives up after MOST_TRIES if `orElse` says what comes then. */
  #say(flags: number, orElse?: () => void, tries = 1): void {
    if (orElse && tries > MOST_TRIES) {
      orElse()
      return
    }
    this.#transmit(flags)
    this.#wait(RETRANSMISSION_MS, () => this.#say(flags, orElse, tries + 1))
  }

  #wait(ms: number, task: () => void): void {
    this.#cancelTimer()
    this.#cancelTimer = this.#options.clock.schedule(ms, task)
  }

  #end(state: 'closed' | 'failed'): void {
    this.state = state
    this.askedMs = undefined
    this.#cancelTimer()
  }

  #transmit(flags: number): void {
    let frame = this.#frames.get(flags)
    if (!frame) {
      frame = tcpFrame({
        from: `${this.clientAddress}:${this.clientPort}`,
        to: `${this.service.address}:${this.service.port}`,
        flags,
        sequence: flags & TCP_SYN ? this.#firstSequence : (this.#firstSequence + 1) | 0,
        acknowledgement: this.#expected,
        payload: flags & TCP_PSH ? '?' : '',
      })
      this.#frames.set(flags, frame)
    }
    this.#options.transmit(this.#virtual, frame.slice())
  }
}
