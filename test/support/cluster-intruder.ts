/**
 * Somebody at a director's cluster port who says whatever he likes at any layer: to TCP, in the noise handshake, through noise, as yamux or
 * on a stream. He has an identity; whether that is a peer's is the director's to know.
 */
import { once } from 'node:events'
import { privateKeyFromProtobuf } from '@libp2p/crypto/keys'
import { RPC } from '@libp2p/gossipsub/message'
import type {
  ComponentLogger,
  Logger,
  MessageStream,
  MultiaddrConnection,
  StreamMuxer,
  Upgrader,
} from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'

export const MULTISTREAM = '/multistream/1.0.0'
export const GOSSIP = '/meshsub/1.2.0'
/** He takes longer only where the director does not answer. */
const LIMIT_MS = 10_000

const log: Logger = Object.assign(() => {}, { error() {}, trace() {}, enabled: false, newScope: () => log })
const logger: ComponentLogger = { forComponent: () => log }

/** Names as multistream-select says them. */
export function negotiation(...names: readonly string[]): Uint8Array {
  return Buffer.concat(names.map((name) => Buffer.from(`${String.fromCharCode(name.length + 1)}${name}\n`)))
}

/** @param localAddress libp2p refuses more than so many connections a second from one address */
export async function connectTo(endpoint: string, localAddress: string): Promise<MultiaddrConnection> {
  const [host, port] = endpoint.split(':')
  const options: object = { dialOpts: { localAddress } }
  const upgrader = { upgradeOutbound: async (connection: MultiaddrConnection) => connection }
  return (await tcp(options)({ logger }).dial(multiaddr(`/ip4/${host}/tcp/${port}`), {
    upgrader: upgrader as unknown as Upgrader,
    // It would end the connection as well, later.
    signal: new AbortController().signal,
  })) as unknown as MultiaddrConnection
}

/** Resolves with the next bytes that come; undefined: the connection has ended. */
export function nextBytes(stream: MessageStream): Promise<Uint8Array | undefined> {
  return new Promise((resolve) => {
    const end = (bytes?: Uint8Array) => {
      stream.removeEventListener('message', onMessage)
      stream.removeEventListener('close', onClose)
      resolve(bytes)
    }
    const onMessage = ({ data }: { data: { subarray(): Uint8Array } }) => end(data.subarray())
    const onClose = () => end()
    stream.addEventListener('message', onMessage)
    stream.addEventListener('close', onClose)
    if (stream.status !== 'open') end()
  })
}

export async function closed(stream: MessageStream): Promise<void> {
  // What comes is read, or the end would wait behind it.
  stream.addEventListener('message', () => {})
  if (['open', 'closing'].includes(stream.status)) await once(stream, 'close')
}

export class Intruder {
  readonly #key
  readonly id

  /** @param privateKey as identity.ts makes it */
  constructor(privateKey: Uint8Array) {
    this.#key = privateKeyFromProtobuf(privateKey)
    this.id = peerIdFromPrivateKey(this.#key)
  }

  /** @returns what goes through noise. @throws Error when the director does not go along */
  async secure(connection: MessageStream): Promise<MessageStream> {
    const signal = AbortSignal.timeout(LIMIT_MS)
    connection.send(negotiation(MULTISTREAM, '/noise'))
    const wanted = negotiation(MULTISTREAM, '/noise').length
    for (let got = 0; got < wanted; ) {
      const bytes = await nextBytes(connection)
      if (!bytes) throw new Error('the director does not speak noise')
      got += bytes.length
    }
    const muxers = new Map([['/yamux/1.0.0', yamux()()]])
    const upgrader = { getStreamMuxers: () => muxers } as unknown as Upgrader
    const encrypter = noise()({ peerId: this.id, privateKey: this.#key, logger, upgrader })
    return (await encrypter.secureOutbound(connection, { signal })).connection
  }

  /** A yamux that takes whatever streams the director opens, and says nothing on them. */
  multiplex(secured: MessageStream): StreamMuxer {
    const muxer = yamux({ enableKeepAlive: false })().createStreamMuxer(secured)
    muxer.addEventListener('stream', ({ detail: stream }) => {
      // What is asked for is granted by saying it again.
      stream.addEventListener('message', ({ data }) => void stream.send(data), { once: true })
      stream.addEventListener('message', () => {})
    })
    return muxer
  }

  async open(muxer: StreamMuxer, protocol: string): Promise<MessageStream> {
    const stream = await muxer.createStream()
    stream.send(negotiation(MULTISTREAM, protocol))
    await nextBytes(stream)
    return stream
  }

  /** A frame of gossip with one message. @param by who signs it, in place of whoever it says that it is from */
  async gossip(topic: string, data: Uint8Array, seqno: Uint8Array, by: Intruder = this): Promise<Uint8Array> {
    const message = { from: this.id.toMultihash().bytes, data, seqno, topic }
    const signed = Buffer.concat([Buffer.from('libp2p-pubsub:'), RPC.Message.encode(message)])
    const signature = await by.#key.sign(signed)
    return RPC.encode({ subscriptions: [], messages: [{ ...message, signature }] })
  }
}
