/** Sync daemons without sockets: what they are asked to do is noted, and there are the interfaces that the test names. */

import { MemoryStore } from '../../node/director/store/memory-store.ts'
import type { SyncDaemon } from '../../node/director/sync-daemon/sync-daemon.ts'
import { SyncDaemons } from '../../node/director/sync-daemon/sync-daemons.ts'
import { DirectorError } from '../../protocol/errors.ts'

export interface NotedDaemons {
  readonly daemons: SyncDaemons
  /** In the order in which they were asked for: a daemon that was started, or the state of one that was stopped. */
  readonly asked: (SyncDaemon | string)[]
  /** MTU by name. */
  readonly interfaces: Map<string, number>
  readonly store: MemoryStore
}

export async function notedDaemons(store = new MemoryStore(), refuse?: DirectorError): Promise<NotedDaemons> {
  await store.open()
  const asked: (SyncDaemon | string)[] = []
  const interfaces = new Map([['d0', 1500]])
  const daemons = new SyncDaemons({
    store,
    cluster: {
      syncDaemonCounters: {},
      startSyncDaemon: async (daemon) => {
        if (refuse) throw refuse
        asked.push(daemon)
      },
      stopSyncDaemon: async (state) => void asked.push(state),
    },
    mtuOf: (name) => {
      const mtu = interfaces.get(name)
      if (mtu === undefined) throw new DirectorError('INTERFACE_MISSING', `${name}: no such network interface`)
      return mtu
    },
  })
  return { daemons, asked, interfaces, store }
}
