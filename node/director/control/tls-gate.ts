/**
 * The way to the control socket from other machines: TCP with TLS 1.3, and a certificate of each client's by a CA of its own. Who
 * has been let in is connected to the Unix socket; of who has not, nothing is read.
 *
 * Handshakes are few a second and few at a time, whoever asks for them. Even so they are for a thread of their own (control-tls.ts): a
 * stranger may send a chain of as many certificates as fit into 100 KiB, with signatures that take long to verify, and OpenSSL
 * verifies all of them before anybody is asked.
 *
 * Source: RFC 8446 (a client whose certificate is not taken has finished its handshake before it hears of that: section 4.4.2.4).
 */
import { once } from 'node:events'
import { connect, createServer as createListener, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import { monotonicMs } from '../../../forwarder/clock.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { type Endpoint, parseEndpoint } from '../../../protocol/packet/ipv6-address.ts'
import type { RefusalLog } from './refusal-log.ts'
import type { TlsCredentials } from './tls-files.ts'

const HANDSHAKE_MAX_MS = 10_000
/** Under way at a time; the oldest makes room. */
const HANDSHAKES_MAX = 64
/** Each takes about a millisecond, and half a second with the longest chain of certificates. */
const HANDSHAKES_PER_SECOND = 50
/** Of clients that were let in. */
const CONNECTIONS_MAX = 64
/** Whether a client that says nothing is there still. */
const KEEP_ALIVE_MS = 30_000

interface Handshake {
  readonly raw: Socket
  readonly address: string
  /** Why it is refused if it ends now. */
  reason: string
}

/** What may change while it is open. */
export interface TlsBelief {
  readonly credentials: TlsCredentials
  /** Clients' common names; undefined: all. */
  readonly allow: readonly string[] | undefined
}

export class TlsGate {
  #belief: TlsBelief
  readonly #refusals: RefusalLog
  readonly #listener: Server
  /** Listens to nothing itself. */
  readonly #tls: TlsServer
  /** By address and port, the oldest first. */
  readonly #handshakes = new Map<string, Handshake>()
  readonly #open = new Set<TLSSocket>()
  readonly #nowMs: () => number
  #second = 0
  #begunInSecond = 0

  /**
   * @param refusals counts those who were not let in
   * @param nowMs milliseconds that never jump
   */
  constructor(belief: TlsBelief, refusals: RefusalLog, nowMs: () => number = monotonicMs) {
    this.#belief = belief
    this.#nowMs = nowMs
    this.#refusals = refusals
    this.#tls = createTlsServer({
      ...belief.credentials,
      requestCert: true,
      // #refusalOf() does it: Node.js would end the connection without a word about who it was and why.
      rejectUnauthorized: false,
      handshakeTimeout: HANDSHAKE_MAX_MS,
    })
    this.#tls.on('tlsClientError', ({ code, message }: NodeJS.ErrnoException, socket) => {
      const handshake = this.#handshakes.get(keyOf(socket))
      if (handshake) handshake.reason = code ?? message
    })
    const options = { keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS, noDelay: true }
    this.#listener = createListener(options, (raw) => this.#begin(raw))
  }

  /** The port in use; differs from the one asked for only if that was 0. */
  get port(): number | undefined {
    return (this.#listener.address() as { port: number } | null)?.port
  }

  /**
   * @param listen address and port
   * @param path of the Unix socket, which clients that may do everything are connected to
   * @throws DirectorError SOCKET_BUSY
   */
  async start(listen: string, path: string): Promise<void> {
    const { address, port } = parseEndpoint(listen) as Endpoint
    this.#tls.on('secureConnection', (socket) => this.#finish(socket, path))
    this.#listener.listen({ host: address, port })
    try {
      await once(this.#listener, 'listening')
    } catch (error) {
      const hint = 'stop what has it, or name another address'
      throw new DirectorError('SOCKET_BUSY', `controlTls.listen ${listen}: ${(error as Error).message}: ${hint}`)
    }
    // From now on an error is about one connection that could not be accepted: the next one comes all the same.
    this.#listener.on('error', () => {})
  }

  /** Lets nobody in any more; resolves when the last connection has ended. */
  async stop(): Promise<void> {
    const isListening = this.#listener.listening
    const closed = isListening && once(this.#listener, 'close')
    this.#listener.close()
    for (const { raw } of this.#handshakes.values()) raw.destroy()
    await closed
  }

  /** If the CA or the names are others than before, clients that are connected have to come again. */
  reload(belief: TlsBelief): void {
    const before = this.#belief
    this.#tls.setSecureContext(belief.credentials)
    this.#belief = belief
    if (belief.credentials.ca === before.credentials.ca && isDeepStrictEqual(belief.allow, before.allow)) return
    for (const { raw } of this.#handshakes.values()) raw.destroy()
    for (const socket of this.#open) socket.destroy()
  }

  #begin(raw: Socket): void {
    const { remoteAddress: address = 'unknown' } = raw
    if (this.#isFlood()) {
      this.#refusals.refuse(address, 'too many at once')
      raw.destroy()
      return
    }
    if (this.#handshakes.size >= HANDSHAKES_MAX) this.#endOldest()
    const key = keyOf(raw)
    const handshake = { raw, address, reason: 'no handshake' }
    this.#handshakes.set(key, handshake)
    raw.on('error', () => {})
    raw.once('close', () => {
      if (this.#handshakes.get(key) !== handshake) return
      this.#handshakes.delete(key)
      this.#refusals.refuse(address, handshake.reason)
    })
    this.#tls.emit('connection', raw)
  }

  #isFlood(): boolean {
    const second = Math.floor(this.#nowMs() / 1000)
    if (second !== this.#second) this.#begunInSecond = 0
    this.#second = second
    return ++this.#begunInSecond > HANDSHAKES_PER_SECOND
  }

  #endOldest(): void {
    const [[key, { raw, address, reason }]] = this.#handshakes
    this.#handshakes.delete(key)
    this.#refusals.refuse(address, reason)
    raw.destroy()
  }

  #finish(socket: TLSSocket, path: string): void {
    const key = keyOf(socket)
    const handshake = this.#handshakes.get(key)
    const refusal = this.#refusalOf(socket)
    if (!handshake || refusal !== undefined) {
      if (handshake && refusal !== undefined) handshake.reason = refusal
      socket.on('error', () => {})
      socket.destroy()
      return
    }
    this.#handshakes.delete(key)
    this.#open.add(socket)
    socket.once('close', () => this.#open.delete(socket))
    join(socket, connect(path))
  }

  /** Undefined: he may do everything. */
  #refusalOf(socket: TLSSocket): string | undefined {
    // A session that was resumed counts as authorized by whatever it began with.
    if (!socket.getPeerX509Certificate() || socket.isSessionReused()) return 'no certificate'
    if (!socket.authorized) return String(socket.authorizationError)
    const { allow } = this.#belief
    const name = socket.getPeerCertificate().subject?.CN
    if (allow && !(typeof name === 'string' && allow.includes(name))) {
      return `the name ${JSON.stringify(name)?.slice(0, 80)} is not allowed`
    }
    return this.#open.size < CONNECTIONS_MAX ? undefined : 'too many connections'
  }
}

/** What one says the other hears, until either has ended. */
function join(client: TLSSocket, server: Socket): void {
  client.on('error', () => {})
  server.on('error', () => {})
  client.once('close', () => server.destroy())
  // Behind what is still on its way to the client.
  server.once('close', () => client.destroySoon())
  client.pipe(server).pipe(client)
}

function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
