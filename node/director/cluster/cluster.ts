/**
 * The cluster as the main thread has it: a thread of its own that speaks to the peers and keeps the connection tables alike, and this
 * handle, which is a Transport for configuration and health, and knows how far everybody is.
 */
import { Worker } from 'node:worker_threads'
import { monotonicMs } from '../../../forwarder/clock.ts'
import { programFile } from '../../../forwarder/program-file.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { SyncDaemon, SyncDaemonState } from '../sync-daemon/sync-daemon.ts'
import type { TokenRefusal } from './admission.ts'
import { peerIdOf } from './identity.ts'
import { KnownStatus } from './known-status.ts'
import { PeerTurns } from './peer-turns.ts'
import {
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
import { UntakenMessages } from './untaken-messages.ts'
import type {
  ClusterInput,
  ClusterStatus,
  ClusterWorkerInput,
  FromClusterWorker,
  ToClusterWorker,
} from './worker-messages.ts'

/** Messages handed to the thread whose sending has not been confirmed. */
const MAX_PENDING_SENDS = 1024
/** A thread that has not ended by then is ended. */
const STOP_LIMIT_MS = 3000
/** How soon it is told of that the thread hangs, or does so no longer. */
const PULSE_CHECK_MS = 100
/**
 * Of the thread's heap, for what it has just made. V8 would let it grow to four times that on a large machine, in steps, whenever much is kept
 * for a moment, and never take it back: a director's memory would rise for hours.
 */
const YOUNG_GENERATION_MB = 48

export interface NewcomerHandler {
  /** Lets in whoever has shown this token, by setPeers(), or says why not. */
  judge(token: Uint8Array): Promise<TokenRefusal | undefined>
  /** A token did not let in whoever proved to be `peerId`; told so seldom that it can be logged. */
  refused(peerId: string, reason: TokenRefusal): void
}

type Heard = Extract<FromClusterWorker, { kind: 'message' }>

interface PendingSend {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export class Cluster implements Transport {
  readonly self: PeerName
  readonly peerId: string
  readonly #input: ClusterInput
  readonly #counters = createTransportCounters()
  readonly #delivery = new Delivery(this.#counters)
  readonly #connected = new Set<PeerName>()
  readonly #untaken = new UntakenMessages()
  readonly #turns = new PeerTurns<Heard>((message) => this.#hear(message))
  #peers: readonly Peer[]
  #newcomers: NewcomerHandler | undefined
  readonly #sends = new Map<number, PendingSend>()
  /** What was asked of the sync daemons, by the same numbers. */
  readonly #asked = new Map<number, PendingSend>()
  #nextSend = 0
  #worker: Worker | undefined
  #exited: Promise<void> = Promise.resolve()
  /** A double: when the thread last breathed, by monotonicMs(). */
  readonly #pulse = new Float64Array(new SharedArrayBuffer(8))
  readonly #known = new KnownStatus<ClusterStatus>(() => monotonicMs() - this.#pulse[0])
  /** What onSync's handler was told last. */
  #toldInSync = false
  #pulseCheck: NodeJS.Timeout | undefined
  #onSync: (state: Pick<ClusterStatus, 'inSync' | 'reason'>) => void = () => {}
  readonly #failed = Promise.withResolvers<Error>()
  #onDelivered: () => void = () => {}
  #restore: () => Promise<Uint8Array | undefined> = async () => undefined
  #isStopping = false

  /** @throws DirectorError STORE_CORRUPT when the private key is none */
  constructor(input: ClusterInput) {
    this.#input = input
    this.#peers = input.peers
    this.self = input.name
    this.peerId = peerIdOf(input.privateKey)
  }

  /** Resolves when the thread listens. @throws DirectorError SOCKET_BUSY, CONFIG_INVALID */
  async start(): Promise<void> {
    const workerData: ClusterWorkerInput = {
      ...this.#input,
      peers: this.#peers,
      untaken: this.#untaken.shared,
      pulse: this.#pulse.buffer as SharedArrayBuffer,
    }
    const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB }
    const options = { workerData, resourceLimits, name: 'cluster' }
    const worker = new Worker(programFile('node/director/cluster/worker'), options)
    this.#worker = worker
    this.#pulseCheck = setInterval(() => this.#tellChange(), PULSE_CHECK_MS)
    let isReady = false
    let failure: Error | undefined
    await new Promise<void>((resolve, reject) => {
      worker.on('message', (message: FromClusterWorker) => {
        if (message.kind === 'ready') {
          isReady = true
          resolve()
        } else if (message.kind === 'refused') reject(new DirectorError(message.code, message.message))
        else this.#receive(message)
      })
      worker.on('error', (error: Error) => {
        failure = error
        reject(error)
      })
      this.#exited = new Promise((exited) => {
        worker.on('exit', () => {
          exited()
          this.#ended()
          const reason = failure?.message ?? 'it ended without an error'
          const message = `the cluster thread has died: ${reason}`
          const error = new DirectorError('CLUSTER_FAILED', message, { cause: failure })
          reject(error)
          if (isReady && !this.#isStopping) this.#failed.resolve(error)
        })
      })
    })
  }

  /** Resolves when the peers have all that this director has to tell of its connections, or have had the time for it. */
  deliver(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#onDelivered = resolve
    void this.#exited.then(resolve)
    this.#post({ kind: 'deliver' })
    return promise
  }

  async stop(): Promise<void> {
    const worker = this.#worker
    if (!worker) return
    this.#isStopping = true
    clearInterval(this.#pulseCheck)
    this.#post({ kind: 'stop' })
    const limit = setTimeout(() => void worker.terminate(), STOP_LIMIT_MS)
    await this.#exited
    clearTimeout(limit)
  }

  /** Called whenever this director has come into sync or has fallen out of it, and at each doubt. */
  onSync(handler: (state: Pick<ClusterStatus, 'inSync' | 'reason'>) => void): void {
    this.#onSync = handler
  }

  /** Called once if the thread dies, or has died. */
  onFailure(handler: (error: Error) => void): void {
    void this.#failed.promise.then(handler)
  }

  /** @param next asked, one time after the other, for the records that are known from before the restart, if nobody knows better */
  onRestore(next: () => Promise<Uint8Array | undefined>): void {
    this.#restore = next
  }

  /** As of a tenth of a second ago at most, if the thread does not hang; a change of inSync is known at once. */
  status(): Pick<ClusterStatus, 'inSync' | 'reason' | 'joined' | 'peers' | 'counters'> {
    return this.#known.current ?? { inSync: false, reason: 'has just started', joined: false, peers: [], counters: {} }
  }

  /** This director may have missed something: it is not in sync until peers have answered it. @param reason in words for an operator */
  doubt(reason: string): void {
    this.#known.doubt(reason)
    this.#post({ kind: 'doubt' })
    if (this.#known.current) this.#tell()
  }

  /** Whether the thread lives. */
  get isRunning(): boolean {
    return this.#worker !== undefined
  }

  /** Of the running daemons of the kernel's sync protocol. */
  get syncDaemonCounters(): ClusterStatus['syncDaemons'] {
    return this.#known.current?.syncDaemons ?? {}
  }

  /** @throws DirectorError INTERFACE_MISSING, PRIVILEGE_MISSING, SOCKET_BUSY; it does not run then */
  startSyncDaemon(daemon: SyncDaemon): Promise<void> {
    return this.#askSyncDaemons((id) => ({ kind: 'start-sync-daemon', id, daemon }))
  }

  /** Does nothing about one that does not run. */
  stopSyncDaemon(state: SyncDaemonState): Promise<void> {
    return this.#askSyncDaemons((id) => ({ kind: 'stop-sync-daemon', id, state }))
  }

  get refusedTokens(): ClusterStatus['refusedTokens'] {
    return this.#known.current?.refusedTokens ?? {}
  }

  get counters(): Readonly<TransportCounters> {
    const thread = this.#known.current?.transport ?? createTransportCounters()
    return {
      ...thread,
      oversizedMessages: thread.oversizedMessages + this.#counters.oversizedMessages,
      failedHandlers: thread.failedHandlers + this.#counters.failedHandlers,
    }
  }

  broadcast(topic: Topic, message: Uint8Array): void {
    if (message.length > MAX_MESSAGE_BYTES) this.#counters.oversizedMessages++
    else this.#post({ kind: 'broadcast', topic, message })
  }

  async send(peer: PeerName, topic: Topic, message: Uint8Array): Promise<void> {
    if (message.length > MAX_MESSAGE_BYTES) {
      this.#counters.oversizedMessages++
      throw new RangeError(`a message of ${message.length} bytes is too large`)
    }
    if (!this.#connected.has(peer)) throw new Error(`${peer} is not connected`)
    if (this.#sends.size >= MAX_PENDING_SENDS) throw new Error('the peers do not keep up')
    const id = this.#nextSend++
    await new Promise<void>((resolve, reject) => {
      this.#sends.set(id, { resolve, reject })
      this.#post({ kind: 'send', id, peer, topic, message })
    })
  }

  onMessage(topic: Topic, handler: MessageHandler): void {
    this.#delivery.onMessage(topic, handler)
  }

  onPeer(handler: (peer: PeerName, connected: boolean) => void): void {
    this.#delivery.onPeer(handler)
  }

  connectedPeers(): PeerName[] {
    return [...this.#connected]
  }

  setPeers(peers: readonly Peer[]): void {
    this.#peers = peers
    this.#post({ kind: 'peers', peers })
  }

  /** To be given before start(). */
  onNewcomers(handler: NewcomerHandler): void {
    this.#newcomers = handler
  }

  #receive(message: FromClusterWorker): void {
    switch (message.kind) {
      case 'message':
        this.#turns.push(message.peerId, message)
        break
      case 'peer':
        this.#peerChanged(message.peer, message.connected)
        break
      case 'newcomer':
        void this.#judge(message.id, message.token)
        break
      case 'token-refused':
        this.#newcomers?.refused(message.peerId, message.reason)
        break
      case 'sent': {
        const send = this.#sends.get(message.id)
        this.#sends.delete(message.id)
        if (message.error === undefined) send?.resolve()
        else send?.reject(new Error(message.error))
        break
      }
      case 'delivered':
        this.#onDelivered()
        break
      case 'sync-daemon': {
        const asked = this.#asked.get(message.id)
        this.#asked.delete(message.id)
        if (message.error === undefined) asked?.resolve()
        else asked?.reject(new DirectorError(message.error.code, message.error.message))
        break
      }
      case 'restore':
        void this.#restore().then((records) =>
          this.#post({ kind: 'restored', ...(records && { records: new Uint8Array(records) }) }),
        )
        break
      case 'status':
        this.#take(message.status)
    }
  }

  #hear({ topic, from, peerId, place, message }: Heard): void {
    this.#untaken.take(place)
    // It may have been on its way from the thread while its sender ceased to be a peer, and another got the name.
    if (this.#peers.some(({ name, id }) => name === from && id === peerId)) this.#delivery.message(topic, from, message)
  }

  #take(status: ClusterStatus): void {
    this.#known.take(status)
    this.#tellChange()
  }

  #tellChange(): void {
    if (this.status().inSync !== this.#toldInSync) this.#tell()
  }

  #tell(): void {
    const status = this.status()
    this.#toldInSync = status.inSync
    this.#onSync(status)
  }

  async #judge(id: number, token: Uint8Array): Promise<void> {
    const reason = await (this.#newcomers?.judge(token) ?? 'store')
    this.#post({ kind: 'judged', id, reason })
  }

  async #askSyncDaemons(question: (id: number) => ToClusterWorker): Promise<void> {
    if (!this.isRunning) throw new Error('the cluster does not run')
    const id = this.#nextSend++
    await new Promise<void>((resolve, reject) => {
      this.#asked.set(id, { resolve, reject })
      this.#post(question(id))
    })
  }

  #peerChanged(peer: PeerName, connected: boolean): void {
    if (connected) this.#connected.add(peer)
    else this.#connected.delete(peer)
    this.#delivery.peer(peer, connected)
  }

  /** Nothing is connected any more, and nothing will be sent. */
  #ended(): void {
    this.#worker = undefined
    clearInterval(this.#pulseCheck)
    for (const { reject } of [...this.#sends.values(), ...this.#asked.values()])
      reject(new Error('the cluster has stopped'))
    this.#sends.clear()
    this.#asked.clear()
    for (const peer of [...this.#connected]) this.#peerChanged(peer, false)
  }

  #post(message: ToClusterWorker): void {
    // A message that lies in a larger buffer would take it along.
    const own = 'message' in message ? { ...message, message: new Uint8Array(message.message) } : message
    this.#worker?.postMessage(own)
  }
}
