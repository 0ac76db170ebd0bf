/**
 * A transport over a network that is only memory: for tests, and for simulations of whole pools. Loss, delay, duplication and
 * partitions come from one seeded source and one clock, so that a run can be repeated.
 *
 * It behaves as the libp2p transport does: gossip goes to whoever is connected and may be lost, doubled or overtaken; a stream
 * loses nothing and keeps its order until the connection ends; an end that nobody announces is noticed after a while.
 */
import { JOIN_TOKEN_BYTES_MAX } from '../../../protocol/wire/join-token.ts'
import type { Clock } from '../clock.ts'
import {
  type Admittance,
  createTransportCounters,
  Delivery,
  MAX_MESSAGE_BYTES,
  MAX_WAITING_BYTES,
  type MessageHandler,
  type Peer,
  type PeerName,
  type Topic,
  type Transport,
  type TransportCounters,
} from './transport.ts'

export interface MemoryNetworkOptions {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** One way, milliseconds. */
  readonly delayMs: number
  /** Added at random to each gossip message; what makes them overtake each other. */
  readonly jitterMs: number
  /** Of gossip messages, in [0, 1]. */
  readonly loss: number
  readonly duplication: number
  /** Until a peer that has fallen silent is taken for gone. */
  readonly detectionMs: number
  /** A stream carries no more than this in a millisecond; what is more makes the sender wait. */
  readonly bytesPerMs: number
}

const DEFAULTS = {
  delayMs: 1,
  jitterMs: 0,
  loss: 0,
  duplication: 0,
  detectionMs: 500,
  bytesPerMs: 100_000,
}

export class MemoryNetwork {
  readonly options: MemoryNetworkOptions
  /** These three may be changed at any time. */
  loss: number
  jitterMs: number
  duplication: number
  readonly #members = new Map<PeerName, MemoryTransport>()
  /** "FROM TO" */
  readonly #cuts = new Set<string>()

  constructor(options: Partial<MemoryNetworkOptions> & Pick<MemoryNetworkOptions, 'clock' | 'random'>) {
    this.options = { ...DEFAULTS, ...options }
    this.loss = this.options.loss
    this.jitterMs = this.options.jitterMs
    this.duplication = this.options.duplication
  }

  /** A new director on this network, whose peer id is its name; it can be used again after stop(). */
  join(name: PeerName, peers: readonly PeerName[], admittance: Admittance = {}): Transport {
    return new MemoryTransport(this, name, new Set(peers), admittance)
  }

  /** Nothing passes between the two any more; both notice later. */
  cut(a: PeerName, b: PeerName): void {
    this.cutOneWay(a, b)
    this.cutOneWay(b, a)
  }

  /** Nothing gets from one to the other any more. Without acknowledgements the other way ends soon, too: both notice. */
  cutOneWay(from: PeerName, to: PeerName): void {
    this.#cuts.add(wayOf(from, to))
    this.options.clock.schedule(this.options.detectionMs, () => {
      if (this.isCut(from, to)) this.disconnect(from, to)
    })
  }

  heal(a: PeerName, b: PeerName): void {
    this.#cuts.delete(wayOf(a, b))
    this.#cuts.delete(wayOf(b, a))
    // A connection whose end was not noticed goes on, without what was lost; its stream has lost too, so it must end.
    this.disconnect(a, b)
    this.#connect(a, b)
  }

  /** Cut off from everybody, as a process that is stopped or a host that has lost its network. */
  isolate(name: PeerName): void {
    for (const other of this.#members.keys()) if (other !== name) this.cut(name, other)
  }

  rejoin(name: PeerName): void {
    for (const other of this.#members.keys()) if (other !== name) this.heal(name, other)
  }

  isCut(from: PeerName, to: PeerName): boolean {
    return this.#cuts.has(wayOf(from, to))
  }

  /** Ends the connection between the two, if there is one; they stay apart until heal(). */
  disconnect(a: PeerName, b: PeerName): void {
    this.#members.get(a)?.disconnect(b)
    this.#members.get(b)?.disconnect(a)
  }

  member(name: PeerName): MemoryTransport | undefined {
    return this.#members.get(name)
  }

  /** The member may have other peers than before. */
  reconnect(name: PeerName): void {
    for (const other of this.#members.keys()) this.#connect(name, other)
  }

  add(transport: MemoryTransport): void {
    this.#members.set(transport.self, transport)
    this.reconnect(transport.self)
  }

  remove(transport: MemoryTransport): void {
    if (this.#members.get(transport.self) !== transport) return
    for (const other of this.#members.keys()) this.disconnect(transport.self, other)
    this.#members.delete(transport.self)
  }

  #connect(a: PeerName, b: PeerName): void {
    this.options.clock.schedule(2 * this.options.delayMs, () => {
      const [first, second] = [this.#members.get(a), this.#members.get(b)]
      if (!first || !second || a === b || this.isCut(a, b) || this.isCut(b, a)) return
      const shown = [second.meet(first), first.meet(second)].filter((each) => each !== undefined)
      if (shown.length === 0) this.#decide(first, second)
      else void Promise.all(shown).then(() => this.#decide(first, second))
    })
  }

  #decide(first: MemoryTransport, second: MemoryTransport): void {
    const [a, b] = [first.self, second.self]
    if (this.#members.get(a) !== first || this.#members.get(b) !== second || this.isCut(a, b) || this.isCut(b, a))
      return
    if (!first.isWelcome(b) || !second.isWelcome(a)) {
      first.counters.refusedStrangers++
      second.counters.refusedStrangers++
      return
    }
    first.connect(b)
    second.connect(a)
  }
}

interface Stream {
  /** On the way, in order. A real clock may run two timers the wrong way round; each takes the first. */
  readonly messages: { readonly topic: Topic; readonly message: Uint8Array }[]
  /** When the bytes sent so far will have gone out. */
  freeAt: number
  waitingBytes: number
}

class MemoryTransport implements Transport {
  readonly self: PeerName
  readonly counters: TransportCounters = createTransportCounters()
  readonly #network: MemoryNetwork
  readonly #admittance: Admittance
  readonly #streams = new Map<PeerName, Stream>()
  readonly #delivery = new Delivery(this.counters)
  #peers: ReadonlySet<PeerName>

  constructor(network: MemoryNetwork, self: PeerName, peers: ReadonlySet<PeerName>, admittance: Admittance) {
    this.#network = network
    this.self = self
    this.#peers = peers
    this.#admittance = admittance
  }

  async start(): Promise<void> {
    this.#network.add(this)
  }

  async stop(): Promise<void> {
    this.#network.remove(this)
  }

  broadcast(topic: Topic, message: Uint8Array): void {
    if (message.length > MAX_MESSAGE_BYTES) {
      this.counters.oversizedMessages++
      return
    }
    const { clock, random, delayMs } = this.#network.options
    const { loss, jitterMs, duplication } = this.#network
    for (const peer of this.#streams.keys()) {
      const copies = random() < loss ? 0 : random() < duplication ? 2 : 1
      for (let copy = 0; copy < copies; copy++) {
        clock.schedule(delayMs + random() * jitterMs, () => {
          if (!this.#network.isCut(this.self, peer)) this.#network.member(peer)?.deliver(topic, this.self, message)
        })
      }
    }
  }

  async send(peer: PeerName, topic: Topic, message: Uint8Array): Promise<void> {
    if (message.length > MAX_MESSAGE_BYTES) {
      this.counters.oversizedMessages++
      throw new RangeError(`a message of ${message.length} bytes is too large`)
    }
    const stream = this.#streams.get(peer)
    if (!stream) throw new Error(`${peer} is not connected`)
    if (stream.waitingBytes > MAX_WAITING_BYTES) throw new Error(`${peer} does not keep up`)
    const { clock, delayMs, bytesPerMs } = this.#network.options
    const waitMs = Math.max(0, stream.freeAt - clock.now())
    stream.freeAt = clock.now() + waitMs + message.length / bytesPerMs
    stream.messages.push({ topic, message })
    clock.schedule(stream.freeAt - clock.now() + delayMs, () => {
      const first = stream.messages.shift()
      const isOpen = this.#streams.get(peer) === stream && !this.#network.isCut(this.self, peer)
      if (isOpen && first) this.#network.member(peer)?.deliver(first.topic, this.self, first.message)
    })
    if (waitMs < 1) return
    stream.waitingBytes += message.length
    await new Promise<void>((resolve, reject) => {
      clock.schedule(waitMs, () => {
        stream.waitingBytes -= message.length
        if (this.#streams.get(peer) === stream) resolve()
        else reject(new Error(`${peer} is no longer connected`))
      })
    })
  }

  onMessage(topic: Topic, handler: MessageHandler): void {
    this.#delivery.onMessage(topic, handler)
  }

  onPeer(handler: (peer: PeerName, connected: boolean) => void): void {
    this.#delivery.onPeer(handler)
  }

  connectedPeers(): PeerName[] {
    return [...this.#streams.keys()]
  }

  setPeers(peers: readonly Peer[]): void {
    this.#peers = new Set(peers.map(({ name }) => name))
    for (const peer of this.#streams.keys()) if (!this.isWelcome(peer)) this.#network.disconnect(this.self, peer)
    if (this.#network.member(this.self) === this) this.#network.reconnect(this.self)
  }

  isWelcome(peer: PeerName): boolean {
    return this.#peers.has(peer)
  }

  /** Reads the token of somebody who connects, if he has one; undefined: there is nothing to read. */
  meet(other: MemoryTransport): Promise<void> | undefined {
    const { token } = other.#admittance
    const { onToken } = this.#admittance
    if (!token || !onToken || this.#streams.has(other.self)) return undefined
    if (token.length <= JOIN_TOKEN_BYTES_MAX) return onToken(token, other.self)
    this.counters.malformedMessages++
    return undefined
  }

  connect(peer: PeerName): void {
    if (this.#streams.has(peer)) return
    this.#streams.set(peer, { messages: [], freeAt: 0, waitingBytes: 0 })
    this.#delivery.peer(peer, true)
  }

  disconnect(peer: PeerName): void {
    if (this.#streams.delete(peer)) this.#delivery.peer(peer, false)
  }

  deliver(topic: Topic, from: PeerName, message: Uint8Array): void {
    if (this.#streams.has(from)) this.#delivery.message(topic, from, message)
  }
}

function wayOf(from: PeerName, to: PeerName): string {
  return `${from} ${to}`
}
