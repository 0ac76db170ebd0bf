/** A running director's checkpoints: of its forwarder's table, asked for by its cluster, told of in its log. */
import type { Logger } from 'pino'
import type { Forwarder } from '../../../forwarder/forwarder.ts'
import { openConnectionSource } from '../../../forwarder/table/connection-reader.ts'
import { systemClock } from '../clock.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { Store } from '../store/store.ts'
import { removeCheckpoint } from './checkpoint-format.ts'
import { Checkpoints } from './checkpoints.ts'
import { instantNow } from './instant.ts'

export interface CheckpointSurroundings {
  readonly store: Store
  readonly forwarder: Pick<Forwarder, 'tableMemory' | 'directoryMemory'>
  readonly cluster: Pick<Cluster, 'status' | 'onRestore'>
  readonly log: Logger
  /** Seconds; 0: none, and what is there goes. */
  readonly intervalS: number
}

/** Finds the last run's, and has the cluster ask for it. Undefined when there are to be none. */
export async function openCheckpoints(surroundings: CheckpointSurroundings): Promise<Checkpoints | undefined> {
  const { store, forwarder, cluster, log, intervalS } = surroundings
  if (intervalS === 0) {
    await removeCheckpoint(store).catch((error: Error) => log.error({ error }, 'an old checkpoint stays in the store'))
    return undefined
  }
  const checkpoints = new Checkpoints({
    store,
    source: openConnectionSource(forwarder.tableMemory, forwarder.directoryMemory),
    clock: systemClock,
    instant: instantNow,
    intervalMs: intervalS * 1000,
    isWhole: () => cluster.status().joined,
    onRead: (report) => {
      if (report === 'unreadable') log.warn('the checkpoint of the connections cannot be read: begins without it')
      else if (report.damagedChunks > 0)
        log.warn(report, 'a part of the checkpoint of the connections is damaged: goes on with what is sound')
      else log.info(report, 'goes on with the connections of its checkpoint')
    },
    onTrouble: (error) => {
      if (error) log.error({ error }, 'the connections cannot be written to the store: the last checkpoint stays')
      else log.info('the connections are written to the store again')
    },
  })
  await checkpoints.load()
  cluster.onRestore(() => checkpoints.next())
  return checkpoints
}
