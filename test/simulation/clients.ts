/** The clients: conversations open, go on and close all the time, now and then with the addresses and ports of an earlier one. */
import type { VirtualClock } from '../../node/director/virtual-clock.ts'
import type { Random } from '../random.ts'
import { Conversation } from './conversation.ts'
import { pick } from './draw.ts'
import type { ClientSide, Router, ServerSide } from './hosts.ts'
import { SERVICES } from './site.ts'

/** Each router's clients have addresses in a network of their own. */
const CLIENT_NETWORKS = ['203.0.113.', '198.51.100.']
const OPENING_INTERVAL_MS = 40
const DIRECT_REPLY_MS = 0.3
const FIRST_PORT = 1024

export interface ClientsOptions {
  readonly clock: VirtualClock
  readonly random: Random
  /** Conversations open at once. */
  readonly target: number
  /** A client's conversation was ended by somebody else, or a server would have to end it. */
  readonly onReset: (conversation: Conversation, what: string) => void
}

export class Clients implements ClientSide, ServerSide {
  readonly #options: ClientsOptions
  readonly #byKey = new Map<number, Conversation>()
  /** Those that are open, or opening. */
  open: Conversation[] = []
  opened = 0
  /** Nothing is opened, asked or closed. */
  isQuiet = false
  routers: readonly Router[] = []
  #nextPort = FIRST_PORT

  constructor(options: ClientsOptions) {
    this.#options = options
  }

  start(): void {
    this.#options.clock.schedule(OPENING_INTERVAL_MS, () => {
      this.#tend()
      this.start()
    })
  }

  hear(client: number, flags: number, sequence: number): void {
    this.#byKey.get(client)?.hear(flags, sequence)
  }

  refuse(client: number, reason: string, sequence?: number): void {
    const conversation = this.#byKey.get(client)
    if (!conversation || conversation.isOver) return
    // RFC 5927 section 4.1: an error about what has arrived long since is not believed.
    if (sequence !== undefined && !conversation.isInFlight(sequence)) return
    if (conversation.state !== 'opening') this.#options.onReset(conversation, `its client is told: ${reason}`)
    conversation.fail()
  }

  reached(client: number, server: string): void {
    this.#byKey.get(client)?.synServers.add(server)
  }

  stranger(client: number, server: string): void {
    const conversation = this.#byKey.get(client)
    if (!conversation || conversation.isOver || conversation.state === 'opening') return
    this.#options.onReset(conversation, `its segments come to ${server}, which does not know it`)
    conversation.fail()
  }

  reply(client: number, flags: number, sequence: number): void {
    this.#options.clock.schedule(DIRECT_REPLY_MS, () => this.hear(client, flags, sequence))
  }

  #tend(): void {
    const { random, target } = this.#options
    const over = this.open.filter((conversation) => conversation.isOver)
    this.open = this.open.filter((conversation) => !conversation.isOver)
    if (this.isQuiet || this.open.length >= target || random.oneIn(3)) return
    const reused = over.find(({ state }) => state === 'closed')
    this.#begin(reused && random.oneIn(2) ? reused : undefined)
  }

  #begin(earlier: Conversation | undefined): void {
    const { clock, random } = this.#options
    const index = earlier ? CLIENT_NETWORKS.findIndex((net) => earlier.clientAddress.startsWith(net)) : random.below(2)
    const conversation = new Conversation({
      service: earlier?.service ?? pick(random, SERVICES),
      clientAddress: earlier?.clientAddress ?? CLIENT_NETWORKS[index] + (1 + random.below(250)),
      clientPort: earlier?.clientPort ?? this.#nextPort++,
      isReuse: earlier !== undefined,
      clock,
      random,
      transmit: (nextHop, frame) => this.routers[index].forward(nextHop, frame),
      isQuiet: () => this.isQuiet,
    })
    this.#byKey.set(conversation.key, conversation)
    this.open.push(conversation)
    this.opened++
  }
}
