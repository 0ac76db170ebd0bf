/**
 * How directors of one pool reach each other. Two ways (docs/protocol.md, "Two ways"): broadcast() is the fast path, at most
 * once; send() is the guarantee, in order and complete for as long as the peer stays connected.
 *
 * Implementations: libp2p (libp2p-transport.ts) and memory (memory-transport.ts, for tests and the simulation). Both pass
 * test/compliance/transport.ts. A message from anybody who is not a peer at that moment never reaches a handler.
 */
export type PeerName = string

/** Peers that a director may have. */
export const PEERS_MAX = 63

export interface Peer {
  readonly name: PeerName
  /** libp2p peer id. */
  readonly id: string
  /** ADDRESS:PORT, an address of IPv6 in brackets. */
  readonly address: string
}

/** How strangers come to be peers (protocol/wire/join-token.ts). */
export interface Admittance {
  /** Shown to everybody this director connects to; none unless given. */
  readonly token?: Uint8Array
  /**
   * Somebody who connects, and has proved to be `id`, shows a token of at most JOIN_TOKEN_BYTES_MAX bytes. Once this has resolved it counts
   * whether setPeers() has made him a peer. Not given: tokens are not read.
   */
  readonly onToken?: (token: Uint8Array, id: string) => Promise<void>
}

/** Topics of broadcast() and send(), each with its number on a stream. 5 stays free: earlier versions listen to it. */
export const TOPIC_NUMBERS = { connections: 1, presence: 2, config: 3, health: 4, sync: 6, digest: 7, vip: 8 } as const
export type Topic = keyof typeof TOPIC_NUMBERS

export type MessageHandler = (from: PeerName, message: Uint8Array) => void

export interface Transport {
  /** The name of this director. */
  readonly self: PeerName
  start(): Promise<void>
  stop(): Promise<void>
  /** To all peers by gossip; may be lost, never blocks. A message of more than MAX_MESSAGE_BYTES is dropped and counted. */
  broadcast(topic: Topic, message: Uint8Array): void
  /**
   * To one peer by stream, in order. Resolves when handed to the stream; waits while the peer is slow. Rejects when the peer is
   * not connected, when MAX_WAITING_BYTES wait for it already, or when the message has more than MAX_MESSAGE_BYTES.
   */
  send(peer: PeerName, topic: Topic, message: Uint8Array): Promise<void>
  /** One handler a topic; both ways of sending end there. What it throws is counted and goes no further. */
  onMessage(topic: Topic, handler: MessageHandler): void
  onPeer(handler: (peer: PeerName, connected: boolean) => void): void
  connectedPeers(): PeerName[]
  /**
   * These are the peers from now on. Everybody else is a stranger: his connections end at once, new ones are refused, nothing that he says
   * is heard, by whatever way it comes, and nothing of him is read but a token. May be called before start().
   */
  setPeers(peers: readonly Peer[]): void
  readonly counters: Readonly<TransportCounters>
}

export interface TransportCounters {
  /** Messages of ours that were too large to send. */
  oversizedMessages: number
  /** From the network: not understood, too large, changed on the way, or not signed as it must be. */
  malformedMessages: number
  /** Connections and messages of nodes that are no peers. */
  refusedStrangers: number
  /** Connections that came in and ended before it was proved who was there. */
  failedHandshakes: number
  /** Messages that a handler threw on. */
  failedHandlers: number
  /** Times that a connected peer gave no sign of life for so long that it was taken for gone. */
  silentPeers: number
  /** Connections we ended to begin anew: the peer stayed silent, or gossip did not reach it. */
  abortedConnections: number
  /** Messages of peers that were dropped, since too many waited for the main thread (untaken-messages.ts). */
  droppedMessages: number
}

export function createTransportCounters(): TransportCounters {
  return {
    oversizedMessages: 0,
    malformedMessages: 0,
    refusedStrangers: 0,
    failedHandshakes: 0,
    failedHandlers: 0,
    silentPeers: 0,
    abortedConnections: 0,
    droppedMessages: 0,
  }
}

export const MAX_MESSAGE_BYTES = 64 * 1024
/** What may wait for one slow peer before send() rejects. */
export const MAX_WAITING_BYTES = 4 * 1024 * 1024

/** The handlers of one transport, and the delivery to them. */
export class Delivery {
  readonly #handlers = new Map<Topic, MessageHandler>()
  readonly #peerHandlers: ((peer: PeerName, connected: boolean) => void)[] = []
  readonly #counters: TransportCounters

  constructor(counters: TransportCounters) {
    this.#counters = counters
  }

  onMessage(topic: Topic, handler: MessageHandler): void {
    if (this.#handlers.has(topic)) throw new Error(`topic ${topic} has a handler`)
    this.#handlers.set(topic, handler)
  }

  onPeer(handler: (peer: PeerName, connected: boolean) => void): void {
    this.#peerHandlers.push(handler)
  }

  message(topic: Topic, from: PeerName, message: Uint8Array): void {
    try {
      this.#handlers.get(topic)?.(from, message)
    } catch {
      this.#counters.failedHandlers++
    }
  }

  peer(peer: PeerName, connected: boolean): void {
    for (const handler of this.#peerHandlers) handler(peer, connected)
  }
}
