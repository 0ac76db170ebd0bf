/**
 * The sync daemons of this director as its operator starts and stops them: which are to run, kept over a restart. They run in the
 * cluster's thread, which has the connection records (running-daemons.ts).
 */
import { interfaceFacts } from '../../../forwarder/sys/interface.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { SyncDaemonListing } from '../control/answers.ts'
import { type SyncDaemonInput, syncDaemonInputSchema } from '../control/api.ts'
import type { Store } from '../store/store.ts'
import { longestDatagram, type SyncDaemon, type SyncDaemonState } from './sync-daemon.ts'

const KEY_PREFIX = 'sync-daemon/'
const STATES: readonly SyncDaemonState[] = ['master', 'backup']

export interface SyncDaemonsOptions {
  readonly store: Store
  readonly cluster: Pick<Cluster, 'startSyncDaemon' | 'stopSyncDaemon' | 'syncDaemonCounters'>
  /** MTU of an interface. @throws DirectorError INTERFACE_MISSING */
  readonly mtuOf?: (interfaceName: string) => number
}

export class SyncDaemons {
  readonly #options: SyncDaemonsOptions
  readonly #running = new Map<SyncDaemonState, SyncDaemon>()
  /** The end of the queue in which changes happen one after the other. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: SyncDaemonsOptions) {
    this.#options = options
  }

  /** Starts those that ran before the restart. One whose interface is gone is told of, and forgotten only when it is stopped. */
  async resume(onFailure: (error: Error, daemon: SyncDaemonInput) => void): Promise<void> {
    for await (const [, bytes] of this.#options.store.iterate(KEY_PREFIX)) {
      const daemon = syncDaemonInputSchema.parse(JSON.parse(new TextDecoder().decode(bytes)))
      await this.#inTurn(() => this.#start(daemon)).catch((error: Error) => onFailure(error, daemon))
    }
  }

  /** Those that run, the master first. */
  list(): SyncDaemonListing[] {
    const { syncDaemonCounters } = this.#options.cluster
    return STATES.flatMap((state) => {
      const daemon = this.#running.get(state)
      return daemon ? [{ ...daemon, counters: syncDaemonCounters[state] }] : []
    })
  }

  /** @throws DirectorError INTERFACE_MISSING, DAEMON_RUNNING, SOCKET_BUSY, STORE_FAILED; nothing is changed then */
  start(input: SyncDaemonInput): Promise<void> {
    return this.#inTurn(async () => {
      await this.#start(input)
      try {
        await this.#options.store.put(KEY_PREFIX + input.state, new TextEncoder().encode(JSON.stringify(input)))
      } catch (error) {
        await this.#stop(input.state)
        throw error
      }
    })
  }

  /** @throws DirectorError DAEMON_MISSING, STORE_FAILED; nothing is changed then */
  stop(state: SyncDaemonState): Promise<void> {
    return this.#inTurn(async () => {
      const key = KEY_PREFIX + state
      if (!this.#running.has(state) && (await this.#options.store.get(key)) === undefined) {
        throw new DirectorError('DAEMON_MISSING', `no ${state} sync daemon is running on this director`)
      }
      await this.#options.store.delete(key)
      await this.#stop(state)
    })
  }

  async #start(input: SyncDaemonInput): Promise<void> {
    const { cluster, mtuOf = (name: string) => interfaceFacts(name).mtu } = this.#options
    const mtu = mtuOf(input.interface)
    if (this.#running.has(input.state)) {
      throw new DirectorError(
        'DAEMON_RUNNING',
        `a ${input.state} sync daemon runs on this director already: stop it first`,
      )
    }
    const family = input.group.includes(':') ? 6 : 4
    const daemon: SyncDaemon = { ...input, maxLength: longestDatagram(input.state, input.maxLength, mtu, family) }
    await cluster.startSyncDaemon(daemon)
    this.#running.set(input.state, daemon)
  }

  async #stop(state: SyncDaemonState): Promise<void> {
    this.#running.delete(state)
    await this.#options.cluster.stopSyncDaemon(state)
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#last.then(task)
    this.#last = done.catch(() => undefined)
    return done
  }
}
