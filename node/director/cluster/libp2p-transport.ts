/**
 * The transport that directors really use: libp2p over TCP, encrypted and authenticated by noise, multiplexed by yamux.
 *
 * Nobody is discovered. The peers are those that it is told, known by their peer ids; any other connection ends right after the handshake
 * that shows who it is, which may have a token behind it (token-handshake.ts). A loop of our own dials whoever is missing.
 */

import { privateKeyFromProtobuf } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import type { Connection, ConnectionGater, PeerId } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { DirectorError } from '../../../protocol/errors.ts'
import { type Endpoint, isIPv6Text, parseEndpoint } from '../../../protocol/packet/ipv6-address.ts'
import { systemClock } from '../clock.ts'
import { createGossipService, Gossip } from './gossip.ts'
import { guardedEncrypter, guardedTcp, guardedYamux } from './inbound-guard.ts'
import { LIFE_INTERVAL_MS, PeerLink } from './peer-link.ts'
import { noiseWithToken } from './token-handshake.ts'
import {
  type Admittance,
  createTransportCounters,
  Delivery,
  MAX_MESSAGE_BYTES,
  type MessageHandler,
  type Peer,
  type PeerName,
  type Topic,
  type Transport,
  type TransportCounters,
} from './transport.ts'

export interface Libp2pTransportOptions {
  readonly name: PeerName
  /** As identity.ts makes it. */
  readonly privateKey: Uint8Array
  /** ADDRESS:PORT, an address of IPv6 in brackets. */
  readonly listen: string
  readonly peers: readonly Peer[]
}

/** The version is part of the name: another one is another protocol. */
const STREAM_PROTOCOL = '/linux-director/messages/1'
const REDIAL_MS = 250
/** Both ends dial; the one with the greater name leaves the other time to do it. */
const PATIENT_REDIAL_MS = 1000
const DIAL_LIMIT_MS = 2000
/** A timer that runs later than this tells that the thread stood still. */
const LATE_MS = 300
/** Broadcasts in a row that were not handed to a connected peer before its connections are made anew. */
const GOSSIP_GAPS_LIMIT = 8
const MAX_PENDING_CONNECTIONS = 128

type Node = Awaited<ReturnType<typeof createNode>>

interface PeerEntry extends Peer {
  readonly peerId: PeerId
  readonly link: PeerLink
  isDialing: boolean
  dialedAt: number
  isOpening: boolean
  /** Presences in a row that gossip did not hand to it. */
  gossipGaps: number
}

export class Libp2pTransport implements Transport {
  readonly self: PeerName
  readonly counters = createTransportCounters()
  readonly #options: Libp2pTransportOptions
  readonly #admittance: Admittance
  readonly #delivery = new Delivery(this.counters)
  readonly #peers = new Map<PeerName, PeerEntry>()
  readonly #byId = new Map<string, PeerEntry>()
  #node: Node | undefined
  #gossip: Gossip | undefined
  #timer: NodeJS.Timeout | undefined
  #tickedAt = 0
  #lastPublished: Promise<void> = Promise.resolve()

  /** @throws DirectorError CONFIG_INVALID for a peer id that is none */
  constructor(options: Libp2pTransportOptions, admittance: Admittance = {}) {
    this.#options = options
    this.#admittance = admittance
    this.self = options.name
    this.setPeers(options.peers)
  }

  /** @throws DirectorError SOCKET_BUSY, CONFIG_INVALID */
  async start(): Promise<void> {
    const { listen, privateKey } = this.#options
    const node = await createNode(privateKey, listen, this.#gater(), this.#encrypters(), this.counters)
    this.#node = node
    this.#gossip = new Gossip({
      service: node.services.gossip,
      clock: systemClock,
      counters: this.counters,
      self: node.peerId,
      nameOf: (peer) => this.#entryOf(peer)?.name,
      onMessage: (topic, from, message) => this.#delivery.message(topic, from, message),
      onHeard: (peer) => this.#peers.get(peer)?.link.heard(),
    })
    node.addEventListener('connection:open', ({ detail }) => this.#connectionOpened(detail))
    node.addEventListener('connection:close', ({ detail }) => this.#connectionClosed(detail))
    await node.handle(STREAM_PROTOCOL, (stream, connection) => {
      const entry = this.#entryOf(connection.remotePeer)
      if (entry) entry.link.attachInbound(stream)
      else stream.abort(new Error('not a peer'))
    })
    try {
      await node.start()
    } catch (error) {
      await node.stop()
      throw listenError(listen, error as Error)
    }
    this.#gossip.start()
    this.#tickedAt = systemClock.now()
    this.#timer = setInterval(() => this.#tick(), LIFE_INTERVAL_MS)
    this.#tick()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    // What was said last is being signed.
    await this.#lastPublished
    this.#gossip?.stop()
    await this.#node?.stop()
    for (const { link } of this.#peers.values()) link.disconnected()
    this.#node = undefined
  }

  broadcast(topic: Topic, message: Uint8Array): void {
    if (message.length > MAX_MESSAGE_BYTES) {
      this.counters.oversizedMessages++
      return
    }
    if (!this.#node || !this.#gossip) return
    this.#lastPublished = this.#gossip.publish(topic, message).then(
      (recipients) => this.#handedTo(topic, recipients),
      () => {},
    )
  }

  async send(peer: PeerName, topic: Topic, message: Uint8Array): Promise<void> {
    if (message.length > MAX_MESSAGE_BYTES) {
      this.counters.oversizedMessages++
      throw new RangeError(`a message of ${message.length} bytes is too large`)
    }
    const entry = this.#peers.get(peer)
    if (!entry) throw new Error(`${peer} is not a peer`)
    await entry.link.send(topic, message)
  }

  onMessage(topic: Topic, handler: MessageHandler): void {
    this.#delivery.onMessage(topic, handler)
  }

  onPeer(handler: (peer: PeerName, connected: boolean) => void): void {
    this.#delivery.onPeer(handler)
  }

  connectedPeers(): PeerName[] {
    return [...this.#peers.values()].filter(({ link }) => link.isConnected).map(({ name }) => name)
  }

  setPeers(peers: readonly Peer[]): void {
    const wanted = new Map(peers.map((peer) => [peer.name, peer]))
    for (const entry of this.#peers.values()) {
      const { id, address } = wanted.get(entry.name) ?? {}
      if (id === entry.id && address === entry.address) continue
      this.#peers.delete(entry.name)
      this.#byId.delete(entry.id)
      this.#end(entry, 'it is no peer any more')
    }
    for (const peer of peers) if (!this.#peers.has(peer.name)) this.#addPeer(peer)
  }

  #addPeer(peer: Peer): void {
    const link = new PeerLink({
      peer: peer.name,
      clock: systemClock,
      counters: this.counters,
      onMessage: (topic, _, message) => this.#deliver(topic, entry, message),
      onConnected: (name, connected) => this.#delivery.peer(name, connected),
      abort: (reason) => this.#abort(entry, reason),
    })
    const peerId = parsePeerId(peer)
    const entry = { ...peer, peerId, link, isDialing: false, dialedAt: 0, isOpening: false, gossipGaps: 0 }
    this.#peers.set(peer.name, entry)
    this.#byId.set(peer.id, entry)
  }

  /** Undefined: it is no peer, or no longer. */
  #entryOf(peer: PeerId): PeerEntry | undefined {
    return this.#byId.get(peer.toString())
  }

  /** What is read of a stream that has ended may have been on its way. */
  #deliver(topic: Topic, from: PeerEntry, message: Uint8Array): void {
    if (this.#peers.get(from.name) === from) this.#delivery.message(topic, from.name, message)
    else this.counters.refusedStrangers++
  }

  /** Who dials speaks the first of his own that the other has. */
  #encrypters() {
    const { token, onToken } = this.#admittance
    const withToken = noiseWithToken({
      token,
      onToken: async (shown, id) => onToken?.(shown, id),
      onOversized: () => {
        this.counters.malformedMessages++
        this.counters.refusedStrangers++
      },
    })
    if (token) return [withToken, noise()]
    return onToken ? [noise(), withToken] : [noise()]
  }

  #gater(): ConnectionGater {
    const deny = (peer: PeerId) => {
      if (this.#entryOf(peer)) return false
      this.counters.refusedStrangers++
      return true
    }
    return {
      denyDialPeer: deny,
      denyDialMultiaddr: () => false,
      denyInboundEncryptedConnection: deny,
      denyOutboundEncryptedConnection: deny,
      denyInboundUpgradedConnection: deny,
      denyOutboundUpgradedConnection: deny,
    }
  }

  #tick(): void {
    const now = systemClock.now()
    const wasLate = now - this.#tickedAt > LATE_MS
    this.#tickedAt = now
    for (const entry of this.#peers.values()) {
      entry.link.tick(wasLate)
      if (this.#connectionsOf(entry).length > 0) void this.#openStream(entry)
      else void this.#dial(entry, now)
    }
  }

  async #dial(entry: PeerEntry, now: number): Promise<void> {
    const interval = this.self < entry.name ? REDIAL_MS : PATIENT_REDIAL_MS
    if (entry.isDialing || now - entry.dialedAt < interval || !this.#node) return
    entry.isDialing = true
    entry.dialedAt = now
    try {
      const address = multiaddr(`${tcpAddress(entry.address)}/p2p/${entry.id}`)
      await this.#node.dial(address, { signal: AbortSignal.timeout(DIAL_LIMIT_MS) })
    } catch {
      // Not up, not reachable, or not whom we expect: tried again until it is.
    } finally {
      entry.isDialing = false
    }
  }

  #connectionOpened(connection: Connection): void {
    const entry = this.#entryOf(connection.remotePeer)
    if (entry) void this.#openStream(entry)
    // It ceased to be a peer while the connection was made.
    else connection.abort(new Error('not a peer'))
  }

  async #openStream(entry: PeerEntry): Promise<void> {
    const connection = this.#connectionsOf(entry).at(-1)
    if (!connection || entry.link.hasStream || entry.isOpening) return
    entry.isOpening = true
    entry.gossipGaps = 0
    try {
      const signal = AbortSignal.timeout(DIAL_LIMIT_MS)
      const stream = await connection.newStream(STREAM_PROTOCOL, { signal })
      if (stream.status === 'open' && this.#peers.get(entry.name) === entry) entry.link.attachOutbound(stream)
    } catch (error) {
      connection.abort(error as Error)
    } finally {
      entry.isOpening = false
    }
  }

  #connectionClosed(connection: Connection): void {
    const entry = this.#entryOf(connection.remotePeer)
    if (!entry || this.#connectionsOf(entry).length > 0) return
    entry.link.disconnected()
    entry.dialedAt = 0
  }

  #connectionsOf(entry: PeerEntry): Connection[] {
    return this.#node?.getConnections(entry.peerId).filter(({ status }) => status === 'open') ?? []
  }

  #abort(entry: PeerEntry, reason: string): void {
    this.counters.abortedConnections++
    this.#end(entry, reason)
  }

  #end(entry: PeerEntry, reason: string): void {
    for (const connection of this.#node?.getConnections(entry.peerId) ?? []) connection.abort(new Error(reason))
    entry.link.disconnected()
  }

  /**
   * gossipsub gives a peer up in silence when its stream breaks, and does not take it up again while the connection lasts. So a
   * peer that is connected but not among the recipients for a while gets new connections.
   */
  #handedTo(topic: Topic, recipients: readonly PeerName[]): void {
    if (topic !== 'presence') return
    for (const entry of this.#peers.values()) {
      entry.gossipGaps = !entry.link.isConnected || recipients.includes(entry.name) ? 0 : entry.gossipGaps + 1
      if (entry.gossipGaps >= GOSSIP_GAPS_LIMIT) this.#abort(entry, 'gossip does not reach the peer')
    }
  }
}

function createNode(
  privateKey: Uint8Array,
  listen: string,
  connectionGater: ConnectionGater,
  encrypters: (ReturnType<typeof noise> | ReturnType<typeof noiseWithToken>)[],
  counters: TransportCounters,
) {
  const socketOptions = { inboundSocketInactivityTimeout: 30_000, outboundSocketInactivityTimeout: 30_000 }
  return createLibp2p({
    start: false,
    privateKey: privateKeyFromProtobuf(privateKey),
    addresses: { listen: [tcpAddress(listen)] },
    transports: [guardedTcp(socketOptions, () => counters.failedHandshakes++)],
    connectionEncrypters: encrypters.map((create) => guardedEncrypter(create, () => counters.malformedMessages++)),
    streamMuxers: [guardedYamux({ maxInboundStreams: 32, maxOutboundStreams: 32 })],
    connectionGater,
    connectionMonitor: { enabled: false },
    connectionManager: {
      maxConnections: 512,
      maxIncomingPendingConnections: MAX_PENDING_CONNECTIONS,
      inboundConnectionThreshold: MAX_PENDING_CONNECTIONS,
      dialTimeout: DIAL_LIMIT_MS,
      inboundUpgradeTimeout: DIAL_LIMIT_MS,
      reconnectRetries: 0,
    },
    services: { identify: identify(), gossip: createGossipService() },
  })
}

function tcpAddress(endpoint: string): string {
  const { address, port } = parseEndpoint(endpoint) as Endpoint
  return `/${isIPv6Text(address) ? 'ip6' : 'ip4'}/${address}/tcp/${port}`
}

function parsePeerId(peer: Peer): PeerId {
  try {
    return peerIdFromString(peer.id)
  } catch {
    throw new DirectorError(
      'CONFIG_INVALID',
      `cluster.peers: the id of ${peer.name} is not a peer id; run \`director identity\` there and copy what it prints`,
    )
  }
}

function listenError(listen: string, error: Error): Error {
  const texts = [error.message, ...((error as AggregateError).errors ?? []).map(String)].join(' ')
  if (/EADDRINUSE/.test(texts))
    return new DirectorError('SOCKET_BUSY', `cluster.listen: ${listen} is in use; is a director running already?`)
  if (/EADDRNOTAVAIL/.test(texts))
    return new DirectorError('CONFIG_INVALID', `cluster.listen: ${listen}: this host does not have that address`)
  return new DirectorError('CONFIG_INVALID', `cluster.listen: cannot listen on ${listen}: ${error.message}`)
}
