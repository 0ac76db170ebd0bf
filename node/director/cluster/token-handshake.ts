/**
 * Noise with a token behind it: the handshake of a director that wants to be let in. What is read of whoever shows one is a noise handshake
 * and this, before there is any stream or protocol to speak on; who is no peer then is cut off.
 *
 * ```
 *  0        2
 * +--------+------------------+
 * | length | token            |   from who dials, as the first bytes that noise protects; no answer
 * +--------+------------------+
 * ```
 * Version rule: the protocol's name carries the version. Directors that know no pool's key do not offer it; plain noise is spoken with them.
 */
import type { ConnectionEncrypter, MessageStream, SecureConnectionOptions } from '@libp2p/interface'
import { type NoiseComponents, noise } from '@libp2p/noise'
import { JOIN_TOKEN_BYTES_MAX } from '../../../protocol/wire/join-token.ts'

const PROTOCOL = '/linux-director/noise-token/1'
const LENGTH_BYTES = 2

export interface TokenHandshake {
  /** Shown when dialling. */
  readonly token?: Uint8Array
  /** Called with what another shows, of at most JOIN_TOKEN_BYTES_MAX bytes, and the identity that it has proved; the handshake waits. */
  readonly onToken: (token: Uint8Array, peerId: string) => Promise<void>
  /** Somebody shows what is too long to be one. */
  readonly onOversized: () => void
}

export function noiseWithToken({ token, onToken, onOversized }: TokenHandshake) {
  return (components: NoiseComponents): ConnectionEncrypter => {
    const inner = noise()(components)
    return {
      protocol: PROTOCOL,
      async secureOutbound(connection: MessageStream, options?: SecureConnectionOptions) {
        const secured = await inner.secureOutbound(connection, options)
        secured.connection.send(frameOf(token ?? new Uint8Array()))
        return secured
      },
      async secureInbound(connection: MessageStream, options?: SecureConnectionOptions) {
        const secured = await inner.secureInbound(connection, options)
        const shown = await readToken(secured.connection, options?.signal)
        if (!shown) {
          onOversized()
          throw new Error('a token is too long')
        }
        if (shown.length > 0) await onToken(shown, secured.remotePeer.toString())
        return secured
      },
    }
  }
}

function frameOf(token: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(token.length >>> 8, token.length), token])
}

/**
 * The first bytes of the stream; what comes behind them is left in it. Undefined: it would be too long.
 * @throws Error when the stream ends before
 */
export function readToken(
  stream: Pick<MessageStream, 'addEventListener' | 'removeEventListener' | 'unshift' | 'status'>,
  signal?: AbortSignal,
): Promise<Uint8Array | undefined> {
  let read = Buffer.alloc(0)
  return new Promise((resolve, reject) => {
    const end = () => {
      stream.removeEventListener('message', onMessage)
      stream.removeEventListener('close', onClose)
      signal?.removeEventListener('abort', onClose)
    }
    const onClose = () => {
      end()
      reject(new Error('the connection has ended before the token'))
    }
    const onMessage = ({ data }: { data: { subarray(): Uint8Array } }) => {
      read = Buffer.concat([read, data.subarray()])
      if (read.length < LENGTH_BYTES) return
      const length = read.readUInt16BE(0)
      const isTooLong = length > JOIN_TOKEN_BYTES_MAX
      if (!isTooLong && read.length < LENGTH_BYTES + length) return
      end()
      if (isTooLong) {
        resolve(undefined)
        return
      }
      stream.unshift(read.subarray(LENGTH_BYTES + length))
      resolve(new Uint8Array(read.subarray(LENGTH_BYTES, LENGTH_BYTES + length)))
    }
    stream.addEventListener('message', onMessage)
    stream.addEventListener('close', onClose)
    signal?.addEventListener('abort', onClose)
    if (signal?.aborted || stream.status !== 'open') onClose()
  })
}
