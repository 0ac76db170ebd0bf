/**
 * What libp2p leaves open about bytes that come in: it refuses what it cannot read, but counts nothing, and some of it it would gather, or
 * work on, without end. Each part is handed to libp2p in the place of the one that it wraps.
 *
 * - The negotiation before the handshake (multistream-select) reads byte by byte without a turn of the event loop: 64 KiB of rubbish from a
 *   stranger, or from whoever answers in a peer's place, would hold up this thread for half a second.
 * - What comes faster than the handshake is worked on is kept, up to 4 MiB a connection.
 * - yamux keeps a frame until it is whole, and the frame's own word for its length goes up to 4 GiB. It answers pings and refuses streams
 *   whether or not the other end reads the answers.
 *
 * Source: https://github.com/libp2p/specs/blob/master/connections/README.md (multistream-select, noise), https://github.com/hashicorp/yamux/blob/master/spec.md
 */
import type {
  Connection,
  ConnectionEncrypter,
  MessageStream,
  MultiaddrConnection,
  SecuredConnection,
  Upgrader,
  UpgraderOptions,
} from '@libp2p/interface'
import type { NoiseComponents } from '@libp2p/noise'
import { type TCPComponents, type TCPOptions, tcp } from '@libp2p/tcp'
import { type YamuxMuxerInit, yamux } from '@libp2p/yamux'

/** Twice what a director says before its handshake: the name of multistream-select, then of both its security protocols. */
const GREETING_BYTES_MAX = 128
/** The handshake with a token has less than 2 KiB; behind it may come what a peer says that has heard nothing yet, which is little. */
const HANDSHAKE_BYTES_MAX = 128 * 1024
/** yamux's largest window: no sound frame is longer. */
const FRAME_BYTES_MAX = 16 * 1024 * 1024
/** More than streams hand down to a connection that is full (gossip's 16 MiB at once, then a frame each): the rest is answers that nobody reads. */
const UNREAD_BYTES_MAX = 24 * 1024 * 1024

/** As yamux's specification draws it: version, type, flags (2), stream (4), length (4); a body follows if the type is data. */
const FRAME_HEADER_BYTES = 12
const TYPE_AT = 1
const LENGTH_AT = 8
const DATA_FRAME = 0

/** Of the class behind the interface: it is given what has come. */
interface Receiver {
  onData?: (data: { readonly byteLength: number }) => void
}

/** @param onFailed a connection has come in and ended before it was secured; not for one that the gater has denied */
export function guardedTcp(options: TCPOptions, onFailed: () => void) {
  return (components: TCPComponents) => {
    const transport = tcp(options)(components)
    const { createListener, dial } = transport
    transport.createListener = ({ upgrader, ...rest }) =>
      createListener.call(transport, { ...rest, upgrader: guardedUpgrader(upgrader, onFailed) })
    transport.dial = (address, { upgrader, ...rest }) =>
      dial.call(transport, address, { ...rest, upgrader: guardedUpgrader(upgrader, onFailed) })
    return transport
  }
}

function guardedUpgrader(upgrader: Upgrader, onFailed: () => void): Upgrader {
  async function upgradeInbound(connection: MultiaddrConnection, options: UpgraderOptions): Promise<void> {
    limit(connection, GREETING_BYTES_MAX, 'before the handshake')
    try {
      await upgrader.upgradeInbound(connection, options)
    } catch (error) {
      if ((error as Error).name !== 'ConnectionInterceptedError') onFailed()
      throw error
    }
  }
  function upgradeOutbound(connection: MultiaddrConnection, options: UpgraderOptions): Promise<Connection> {
    limit(connection, GREETING_BYTES_MAX, 'before the handshake')
    return upgrader.upgradeOutbound(connection, options)
  }
  return Object.assign(Object.create(upgrader), { upgradeInbound, upgradeOutbound })
}

/** From now on, and in the place of a limit before it. */
function limit(connection: MessageStream & Receiver, bytes: number, when: string): void {
  endLimit(connection)
  const { onData } = connection
  let left = bytes
  connection.onData = (data) => {
    left -= data.byteLength
    if (left >= 0) onData?.call(connection, data)
    else connection.abort(new Error(`what has come ${when} is too long`))
  }
}

function endLimit(connection: MessageStream & Receiver): void {
  // The method of its class is left.
  delete connection.onData
}

/** @param onBroken a secured connection ends by what has come through it: a broken seal, or frames that yamux does not understand */
export function guardedEncrypter(
  create: (components: NoiseComponents) => ConnectionEncrypter,
  onBroken: () => void,
): (components: NoiseComponents) => ConnectionEncrypter {
  return (components) => {
    const encrypter = create(components)
    const { secureInbound, secureOutbound } = encrypter
    encrypter.secureInbound = (connection, options) =>
      limited(connection, () => secureInbound.call(encrypter, connection, options))
    encrypter.secureOutbound = (connection, options) =>
      limited(connection, () => secureOutbound.call(encrypter, connection, options))
    return encrypter
  }

  async function limited(
    connection: MessageStream,
    secure: () => Promise<SecuredConnection>,
  ): Promise<SecuredConnection> {
    limit(connection, HANDSHAKE_BYTES_MAX, 'with the handshake')
    const secured = await secure()
    endLimit(connection)
    return guarded(connection, secured)
  }

  /** @throws Error when the connection has ended already, by what came right behind the handshake */
  function guarded(connection: MessageStream, secured: SecuredConnection): SecuredConnection {
    if (secured.connection.status !== 'open') throw new Error('the connection has ended with the handshake')
    const { abort } = secured.connection
    secured.connection.abort = (error) => {
      // Whatever else ends it has ended what is below it first.
      if (connection.status === 'open') onBroken()
      abort.call(secured.connection, error)
    }
    return secured
  }
}

export function guardedYamux(init: YamuxMuxerInit) {
  return () => {
    const factory = yamux(init)()
    const { createStreamMuxer } = factory
    factory.createStreamMuxer = (connection) => {
      connection.maxWriteBufferLength = UNREAD_BYTES_MAX
      const muxer = createStreamMuxer.call(factory, connection)
      const frames = new FrameLengths()
      connection.addEventListener('message', ({ data }) => {
        for (const part of data instanceof Uint8Array ? [data] : data)
          if (!frames.pass(part)) connection.abort(new Error('a frame is longer than any window'))
      })
      return muxer
    }
    return factory
  }
}

/** Reads as much of yamux's frames as tells how long they are. */
export class FrameLengths {
  readonly #header = Buffer.alloc(FRAME_HEADER_BYTES)
  #headerBytes = 0
  /** Of the body. */
  #bytesLeft = 0

  /** The next bytes of the connection. @returns whether the frames that begin in them may be as long as they say */
  pass(bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.length; ) {
      if (this.#bytesLeft > 0) {
        const passed = Math.min(this.#bytesLeft, bytes.length - at)
        this.#bytesLeft -= passed
        at += passed
        continue
      }
      this.#header[this.#headerBytes++] = bytes[at++]
      if (this.#headerBytes < FRAME_HEADER_BYTES) continue
      this.#headerBytes = 0
      if (this.#header[TYPE_AT] !== DATA_FRAME) continue
      this.#bytesLeft = this.#header.readUInt32BE(LENGTH_AT)
      if (this.#bytesLeft > FRAME_BYTES_MAX) return false
    }
    return true
  }
}
