/**
 * Control from other machines over TLS, as its director has it: the gate (tls-gate.ts) on a thread of its own, since what strangers may
 * let it do takes time, and the thread of the director speaks VRRP.
 */
import { Worker } from 'node:worker_threads'
import { programFile } from '../../../forwarder/program-file.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { ControlTlsConfig } from '../config.ts'
import { readTlsFiles } from './tls-files.ts'
import type { TlsBelief } from './tls-gate.ts'

export interface TlsGateInput {
  readonly belief: TlsBelief
  readonly listen: string
  readonly path: string
  /** One number: how many were not let in. A message for each would be work that strangers give. */
  readonly refused: SharedArrayBuffer
}

export type ToTlsGate = { kind: 'reload'; belief: TlsBelief } | { kind: 'stop' }

export type FromTlsGate =
  | { kind: 'listens'; port: number }
  | { kind: 'busy'; message: string }
  | { kind: 'refused'; address: string; reason: string }
  | { kind: 'reloaded' }

export interface ControlTlsOptions {
  /** Tells of a stranger, of each address once a minute at most. */
  readonly onRefused: (address: string, reason: string) => void
  /** Nobody can come in by TLS any more. */
  readonly onFailure: (error: Error) => void
}

/** A client that takes nothing shall not keep a director from ending. */
const STOP_LIMIT_MS = 3000

export class ControlTls {
  readonly #config: ControlTlsConfig
  readonly #options: ControlTlsOptions
  readonly #refused = new Uint32Array(new SharedArrayBuffer(4))
  #belief: TlsBelief
  #worker: Worker | undefined
  #port: number | undefined
  #exited: Promise<void> = Promise.resolve()
  #isStopping = false
  /** Who wait until the gate has heard of the last change. */
  readonly #reloads: (() => void)[] = []

  /**
   * Reads the files.
   * @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID
   */
  constructor(config: ControlTlsConfig, options: ControlTlsOptions) {
    this.#config = config
    this.#options = options
    this.#belief = readBelief(config)
  }

  /** Clients that were not let in. */
  get refused(): number {
    return Atomics.load(this.#refused, 0)
  }

  /** The port in use; differs from the one asked for only if that was 0. */
  get port(): number | undefined {
    return this.#port
  }

  /**
   * Resolves when it listens.
   * @param path of the Unix socket, which clients that may do everything are connected to
   * @throws DirectorError SOCKET_BUSY
   */
  async start(path: string): Promise<void> {
    const workerData: TlsGateInput = {
      belief: this.#belief,
      listen: this.#config.listen,
      path,
      refused: this.#refused.buffer as SharedArrayBuffer,
    }
    const worker = new Worker(programFile('node/director/control/tls-gate-worker'), { workerData, name: 'tls-gate' })
    this.#worker = worker
    const { promise: listens, resolve, reject } = Promise.withResolvers<void>()
    let failure = new Error('it ended without an error')
    worker.on('message', (message: FromTlsGate) => {
      switch (message.kind) {
        case 'listens':
          this.#port = message.port
          resolve()
          break
        case 'busy':
          reject(new DirectorError('SOCKET_BUSY', message.message))
          break
        case 'refused':
          this.#options.onRefused(message.address, message.reason)
          break
        case 'reloaded':
          this.#reloads.shift()?.()
      }
    })
    worker.on('error', (error: Error) => {
      failure = error
    })
    this.#exited = new Promise((exited) => {
      worker.on('exit', () => {
        this.#worker = undefined
        exited()
        reject(failure)
        for (const reloaded of this.#reloads.splice(0)) reloaded()
        if (this.#port !== undefined && !this.#isStopping) this.#options.onFailure(failure)
      })
    })
    await listens
  }

  /** Lets nobody in any more; resolves when the last connection has ended, and ends them when that takes too long. */
  async stop(): Promise<void> {
    this.#isStopping = true
    this.#post({ kind: 'stop' })
    const limit = setTimeout(() => void this.#worker?.terminate(), STOP_LIMIT_MS)
    await this.#exited
    clearTimeout(limit)
  }

  /**
   * Reads the files again; resolves when they count, and the names that are allowed. Where it listens stays as it was. If the CA or the
   * names are others than before, clients that are connected have to come again.
   * @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID, at once; nothing has changed then
   */
  async reload(config: ControlTlsConfig): Promise<void> {
    this.#belief = readBelief(config)
    // It starts with what was read last, or has ended, which has been told.
    if (!this.#worker) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#reloads.push(resolve)
    this.#post({ kind: 'reload', belief: this.#belief })
    await promise
  }

  #post(message: ToTlsGate): void {
    this.#worker?.postMessage(message)
  }
}

function readBelief({ keyFile, certificateFile, clientCaFile, allow }: ControlTlsConfig): TlsBelief {
  return { credentials: readTlsFiles({ keyFile, certificateFile, caFile: clientCaFile }), allow }
}
