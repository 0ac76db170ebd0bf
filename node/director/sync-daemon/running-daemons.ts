/**
 * The daemons of the kernel's sync protocol in the thread that has the connection records: at most one master and one backup, each
 * with a socket of its own.
 */
import type { Socket } from 'node:dgram'
import { openMulticastReceiver, openMulticastSender } from '../../../forwarder/sys/multicast.ts'
import type { RecordBlock } from '../../../protocol/wire/record-block.ts'
import type { Clock } from '../cluster/clock.ts'
import type { ConnectionSource } from '../cluster/replication/snapshot-server.ts'
import { adoptSocket } from './multicast-socket.ts'
import { SyncBackup } from './sync-backup.ts'
import { addressBytes, type SyncDaemon, type SyncDaemonState } from './sync-daemon.ts'
import { SyncMaster } from './sync-master.ts'

export interface RunningDaemonsOptions {
  readonly clock: Clock
  readonly source: ConnectionSource
  /** False when the forwarder has enough before it. */
  readonly apply: (block: RecordBlock) => boolean
}

interface Running {
  readonly counters: Readonly<Record<string, number>>
  stop(): Promise<void>
}

export class RunningDaemons {
  readonly #options: RunningDaemonsOptions
  readonly #running = new Map<SyncDaemonState, Running>()
  #master: SyncMaster | undefined

  constructor(options: RunningDaemonsOptions) {
    this.#options = options
  }

  /** @throws DirectorError INTERFACE_MISSING, PRIVILEGE_MISSING, SOCKET_BUSY; the daemon does not run then */
  async start(daemon: SyncDaemon): Promise<void> {
    await this.stop(daemon.state)
    this.#running.set(
      daemon.state,
      daemon.state === 'master' ? await this.#startMaster(daemon) : await this.#startBackup(daemon),
    )
  }

  async stop(state: SyncDaemonState): Promise<void> {
    const running = this.#running.get(state)
    this.#running.delete(state)
    await running?.stop()
  }

  async stopAll(): Promise<void> {
    await this.stop('master')
    await this.stop('backup')
  }

  /** A record that the forwarder has written. */
  note(bytes: Uint8Array, offset: number): void {
    this.#master?.note(bytes, offset)
  }

  get counters(): Partial<Record<SyncDaemonState, Readonly<Record<string, number>>>> {
    return Object.fromEntries([...this.#running].map(([state, { counters }]) => [state, { ...counters }]))
  }

  async #startMaster(daemon: SyncDaemon): Promise<Running> {
    const { clock, source } = this.#options
    const group = addressBytes(daemon.group)
    const target = { interfaceName: daemon.interface, group, port: daemon.port }
    const socket = await adoptSocket(openMulticastSender(target, daemon.ttl), group.length === 4 ? 4 : 6)
    const failures = { failed: 0 }
    const master = new SyncMaster({
      syncId: daemon.syncId,
      maxLength: daemon.maxLength,
      clock,
      source,
      send: (datagram) =>
        new Promise((resolve) => {
          socket.send(datagram, daemon.port, daemon.group, (error) => {
            if (error) failures.failed++
            resolve()
          })
        }),
    })
    this.#master = master
    return {
      get counters() {
        return { ...master.counters, ...failures }
      },
      stop: async () => {
        this.#master = undefined
        await master.stop()
        await closed(socket)
      },
    }
  }

  async #startBackup(daemon: SyncDaemon): Promise<Running> {
    const { apply } = this.#options
    const group = addressBytes(daemon.group)
    const target = { interfaceName: daemon.interface, group, port: daemon.port }
    const socket = await adoptSocket(openMulticastReceiver(target), group.length === 4 ? 4 : 6)
    const backup = new SyncBackup({ syncId: daemon.syncId, maxLength: daemon.maxLength, apply })
    socket.on('message', (datagram) => backup.receive(datagram))
    return { counters: backup.counters, stop: () => closed(socket) }
  }
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.close(resolve))
}
