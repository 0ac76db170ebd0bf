/**
 * The stream to and from one peer: messages out, one after the other and no faster than the peer takes them; messages in; and
 * signs of life both ways. A peer that says nothing for half a second is taken for gone; only when it stays silent does the connection
 * end, so that a host with too much to do does not lose all its connections on top of it.
 *
 * The signs are empty frames on the stream rather than libp2p's pings: those open a stream each, which at this pace would cost
 * more than all the rest of an idle pool.
 */
import type { Stream } from '@libp2p/interface'
import { encodeFrame, FrameReader } from '../../../protocol/wire/stream-frame.ts'
import type { Clock } from '../clock.ts'
import {
  MAX_MESSAGE_BYTES,
  MAX_WAITING_BYTES,
  type PeerName,
  TOPIC_NUMBERS,
  type Topic,
  type TransportCounters,
} from './transport.ts'

export interface PeerLinkOptions {
  readonly peer: PeerName
  readonly clock: Clock
  readonly counters: TransportCounters
  readonly onMessage: (topic: Topic, from: PeerName, message: Uint8Array) => void
  readonly onConnected: (peer: PeerName, connected: boolean) => void
  /** Ends every connection to the peer. */
  readonly abort: (reason: string) => void
}

const LIFE_TOPIC = 0
const TOPIC_OF_NUMBER: ReadonlyMap<number, Topic> = new Map(
  Object.entries(TOPIC_NUMBERS).map(([topic, number]) => [number, topic as Topic]),
)
export const LIFE_INTERVAL_MS = 150
const SILENCE_LIMIT_MS = 450
const ABORT_LIMIT_MS = 1500
/** From the opening of a stream to the peer's first word. */
const GREETING_LIMIT_MS = 2000

interface Waiting {
  readonly frame: Uint8Array
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export class PeerLink {
  readonly #options: PeerLinkOptions
  readonly #waiting: Waiting[] = []
  #waitingBytes = 0
  #isDraining = false
  #outbound: Stream | undefined
  /** The peer has spoken on this connection, and not long ago. */
  #heard = false
  #heardAt = 0
  #sentAt = 0

  constructor(options: PeerLinkOptions) {
    this.#options = options
  }

  get peer(): PeerName {
    return this.#options.peer
  }

  /** We can speak to the peer, and have heard it. */
  get isConnected(): boolean {
    return this.#outbound !== undefined && this.#heard
  }

  get hasStream(): boolean {
    return this.#outbound !== undefined
  }

  /** Takes the stream that we opened to the peer. */
  attachOutbound(stream: Stream): void {
    this.#outbound = stream
    if (!this.#heard) this.#heardAt = this.#options.clock.now() + GREETING_LIMIT_MS - ABORT_LIMIT_MS
    stream.addEventListener('close', () => this.#outboundClosed(stream), { once: true })
    this.#sign()
    if (this.#heard) this.#options.onConnected(this.peer, true)
  }

  /** Reads the stream that the peer opened to us. */
  attachInbound(stream: Stream): void {
    const reader = new FrameReader(MAX_MESSAGE_BYTES)
    // Nothing is said in this direction; a peer that closes its end waits for ours.
    stream.addEventListener('remoteCloseWrite', () => void stream.close().catch(() => {}), { once: true })
    stream.addEventListener('message', ({ data }) => {
      this.heard()
      for (const part of data instanceof Uint8Array ? [data] : data) {
        if (reader.push(part, (number, message) => this.#receive(number, message))) continue
        this.#options.counters.malformedMessages++
        stream.abort(new Error('a frame is too long'))
        return
      }
    })
  }

  /** The peer has shown life, here or elsewhere. */
  heard(): void {
    const wasConnected = this.isConnected
    this.#heard = true
    this.#heardAt = this.#options.clock.now()
    if (!wasConnected && this.isConnected) this.#options.onConnected(this.peer, true)
  }

  /** As Transport.send(). */
  async send(topic: Topic, message: Uint8Array): Promise<void> {
    if (!this.isConnected || !this.#outbound) throw new Error(`${this.peer} is not connected`)
    if (this.#waitingBytes > MAX_WAITING_BYTES) throw new Error(`${this.peer} does not keep up`)
    const frame = encodeFrame(TOPIC_NUMBERS[topic], message)
    if (!this.#isDraining && !this.#outbound.writableNeedsDrain) {
      this.#write(frame)
      return
    }
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ frame, resolve, reject })
      this.#waitingBytes += frame.length
      void this.#drain()
    })
  }

  /**
   * To be called every LIFE_INTERVAL_MS.
   * @param wasLate this thread itself has stood still, so that silence proves nothing
   */
  tick(wasLate: boolean): void {
    const stream = this.#outbound
    if (!stream) return
    const now = this.#options.clock.now()
    if (wasLate) this.#heardAt = Math.max(this.#heardAt, now)
    const silentMs = now - this.#heardAt
    if (silentMs > SILENCE_LIMIT_MS && this.isConnected) {
      this.#heard = false
      this.#options.counters.silentPeers++
      this.#options.onConnected(this.peer, false)
    }
    if (silentMs > ABORT_LIMIT_MS) this.#options.abort('the peer is silent')
    else if (now - this.#sentAt >= LIFE_INTERVAL_MS / 2 && !stream.writableNeedsDrain) this.#sign()
  }

  /** No connection to the peer is left. */
  disconnected(): void {
    const stream = this.#outbound
    if (stream) this.#outboundClosed(stream)
    this.#heard = false
  }

  #sign(): void {
    try {
      this.#write(encodeFrame(LIFE_TOPIC, new Uint8Array()))
    } catch {
      // The stream is closing; its close event follows.
    }
  }

  #write(frame: Uint8Array): void {
    this.#sentAt = this.#options.clock.now()
    this.#outbound?.send(frame)
  }

  async #drain(): Promise<void> {
    const stream = this.#outbound
    if (this.#isDraining || !stream) return
    this.#isDraining = true
    try {
      while (this.#waiting.length > 0 && this.#outbound === stream) {
        await drained(stream)
        const next = this.#waiting[0]
        // An aborted stream drains too, before it says that it has closed; what it took would be lost in silence.
        if (next === undefined || this.#outbound !== stream || stream.status !== 'open') break
        this.#write(next.frame)
        this.#waiting.shift()
        this.#waitingBytes -= next.frame.length
        next.resolve()
      }
    } catch (error) {
      stream.abort(error as Error)
    } finally {
      this.#isDraining = false
    }
  }

  #outboundClosed(stream: Stream): void {
    if (this.#outbound !== stream) return
    const wasConnected = this.isConnected
    this.#outbound = undefined
    const error = new Error(`${this.peer} is no longer connected`)
    for (const { reject } of this.#waiting.splice(0)) reject(error)
    this.#waitingBytes = 0
    if (wasConnected) this.#options.onConnected(this.peer, false)
  }

  #receive(number: number, message: Uint8Array): void {
    if (number === LIFE_TOPIC) return
    const topic = TOPIC_OF_NUMBER.get(number)
    if (topic !== undefined) this.#options.onMessage(topic, this.peer, message)
    else this.#options.counters.malformedMessages++
  }
}

/**
 * Resolves when the stream takes more, or has closed. Not the stream's own onDrain(): that one hands out the promise of an earlier
 * drain again, which is kept already.
 */
function drained(stream: Stream): Promise<void> {
  return new Promise((resolve) => {
    if (!stream.writableNeedsDrain || stream.status !== 'open') {
      resolve()
      return
    }
    const done = () => {
      stream.removeEventListener('drain', done)
      stream.removeEventListener('close', done)
      resolve()
    }
    stream.addEventListener('drain', done)
    stream.addEventListener('close', done)
  })
}
