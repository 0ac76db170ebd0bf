/**
 * gossipsub as a pool of 3 to 50 directors needs it.
 *
 * Every message goes from its sender straight to everybody (flood publishing). Who gets one passes it on, but only after a moment
 * and only to mesh peers that have not said by then that they have it (IDONTWANT, gossipsub 1.2): so a director that has
 * lost its way to the sender still hears it, and the others do not get it twice. Nothing is offered for later (IHAVE): what is lost is
 * found by number and fetched over the stream. Scores do nothing: the peers are known, and one that was frozen is no villain.
 *
 * Source: gossipsub v1.2, https://github.com/libp2p/specs/tree/master/pubsub/gossipsub
 */
import { type GossipSub, type GossipsubMessage, gossipsub, TopicValidatorResult } from '@libp2p/gossipsub'
import type { PeerId } from '@libp2p/interface'
import type { Clock } from '../clock.ts'
import { MAX_MESSAGE_BYTES, type PeerName, type Topic, type TransportCounters } from './transport.ts'

/** What is said by stream only is not among them. */
const GOSSIPED = ['connections', 'presence', 'config', 'health'] as const satisfies readonly Topic[]
const PREFIX = 'linux-director/1/'

const HEARTBEAT_MS = 250
/** Longer than an IDONTWANT takes to come, shorter than the cache keeps a message. */
const RELAY_DELAY_MS = 25
/** A seen message is forgotten after this; numbers and versions tell an older one from a new one. */
const SEEN_MS = 10_000
/** A peer that reads too slowly for this much is cut off, and starts again from what it missed. */
const MAX_OUTBOUND_BYTES = 16 * 1024 * 1024
/** What is longer than a message and this ends the neighbour's gossip, and so its connection (#handedTo() of libp2p-transport.ts). */
const ENVELOPE_BYTES = 4096

/** Why a neighbour's gossip has ended when it was by what it sent, not by the connection. */
const FRAMING_ERRORS = [
  'InvalidMessageLengthError',
  'InvalidDataLengthError',
  'InvalidDataLengthLengthError',
  'UnexpectedEOFError',
]

/** Of the class behind gossipsub(); its interface leaves it out. */
interface Validation {
  reportMessageValidationResult(messageId: string, source: string, result: TopicValidatorResult): void
  /** @throws Error when it is no RPC, or one of too many parts; the frame is dropped then */
  decodeRpc(bytes: Uint8Array): unknown
  /** Is told why a neighbour's gossip has ended. */
  handlePeerReadStreamError(error: Error, from: PeerId): void
  /** Is told of each message whose signature, key or sequence number is not as it must be: it is refused before a topic validator sees it. */
  readonly score: { rejectInvalidMessage(source: string, topic: string): void }
}

export function createGossipService() {
  return gossipsub({
    allowedTopics: GOSSIPED.map((topic) => PREFIX + topic),
    allowPublishToZeroTopicPeers: true,
    asyncValidation: true,
    emitSelf: false,
    fallbackToFloodsub: false,
    fastMsgIdFn: ({ from, seqno }) => textOf(from) + textOf(seqno),
    floodPublish: true,
    gossipFactor: 0,
    Dlazy: 0,
    heartbeatInterval: HEARTBEAT_MS,
    idontwantMinDataSize: 64,
    maxInboundDataLength: MAX_MESSAGE_BYTES + ENVELOPE_BYTES,
    maxOutboundBufferSize: MAX_OUTBOUND_BYTES,
    maxTopicBytesPerPeer: 16 * 1024,
    mcacheGossip: 0,
    mcacheLength: 2,
    pruneBackoff: 1000,
    unsubcribeBackoff: 1000,
    scoreParams: { appSpecificWeight: 0, behaviourPenaltyWeight: 0, IPColocationFactorWeight: 0 },
    seenTTL: SEEN_MS,
    tagMeshPeers: false,
  })
}

export interface GossipOptions {
  readonly service: GossipSub
  readonly clock: Clock
  readonly counters: TransportCounters
  readonly self: PeerId
  readonly nameOf: (peer: PeerId) => PeerName | undefined
  readonly onMessage: (topic: Topic, from: PeerName, message: Uint8Array) => void
  /** Bytes have come from this neighbour. */
  readonly onHeard: (peer: PeerName) => void
}

export class Gossip {
  readonly #options: GossipOptions
  readonly #relays: { id: string; source: string }[] = []
  #cancelRelay: (() => void) | undefined

  constructor(options: GossipOptions) {
    this.#options = options
    const { service, counters } = options
    countRefusals(service as unknown as Validation, counters)
    for (const topic of GOSSIPED) service.topicValidators.set(PREFIX + topic, (_, message) => this.#validate(message))
    service.addEventListener('gossipsub:message', (event) => this.#receive(event.detail))
  }

  /** The service has been started. */
  start(): void {
    for (const topic of GOSSIPED) this.#options.service.subscribe(PREFIX + topic)
  }

  stop(): void {
    this.#cancelRelay?.()
  }

  /** Resolves with the neighbours it was handed to. */
  async publish(topic: Topic, message: Uint8Array): Promise<PeerName[]> {
    const { recipients } = await this.#options.service.publish(PREFIX + topic, message)
    return recipients.flatMap((peer) => this.#options.nameOf(peer) ?? [])
  }

  #validate(message: { type: string; data: Uint8Array; from?: PeerId }): TopicValidatorResult {
    const { self, nameOf, counters } = this.#options
    const { from } = message
    // What we said before a restart may still go round.
    if (from?.equals(self)) return TopicValidatorResult.Ignore
    if (!from || nameOf(from) === undefined) {
      counters.refusedStrangers++
      return TopicValidatorResult.Reject
    }
    if (message.data.length <= MAX_MESSAGE_BYTES) return TopicValidatorResult.Accept
    counters.malformedMessages++
    return TopicValidatorResult.Reject
  }

  #receive({ msg, msgId, propagationSource }: GossipsubMessage): void {
    const { nameOf, onMessage, onHeard, clock } = this.#options
    const from = msg.type === 'signed' ? nameOf(msg.from) : undefined
    const neighbour = nameOf(propagationSource)
    if (from === undefined || neighbour === undefined) return
    this.#relays.push({ id: msgId, source: propagationSource.toString() })
    this.#cancelRelay ??= clock.schedule(RELAY_DELAY_MS, () => this.#relay())
    onHeard(neighbour)
    onMessage(msg.topic.slice(PREFIX.length) as Topic, from, msg.data)
  }

  #relay(): void {
    this.#cancelRelay = undefined
    const validation = this.#options.service as unknown as Validation
    for (const { id, source } of this.#relays.splice(0))
      validation.reportMessageValidationResult(id, source, TopicValidatorResult.Accept)
  }
}

/** What gossipsub refuses by itself it tells nobody of. */
function countRefusals(service: Validation, counters: TransportCounters): void {
  const { score, decodeRpc, handlePeerReadStreamError } = service
  const { rejectInvalidMessage } = score
  score.rejectInvalidMessage = (source, topic) => {
    counters.malformedMessages++
    rejectInvalidMessage.call(score, source, topic)
  }
  service.decodeRpc = (bytes) => {
    try {
      return decodeRpc.call(service, bytes)
    } catch (error) {
      counters.malformedMessages++
      throw error
    }
  }
  service.handlePeerReadStreamError = (error, from) => {
    if (FRAMING_ERRORS.includes(error.name)) counters.malformedMessages++
    handlePeerReadStreamError.call(service, error, from)
  }
}

function textOf(bytes: Uint8Array | undefined): string {
  return bytes ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1') : ''
}
