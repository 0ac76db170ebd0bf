/** Real clusters over the loopback interface, for benchmarks: whoever measures takes the part of their forwarders. */
import { allocateSharedState, type SharedState } from '../../forwarder/shared-state.ts'
import { createEventFd, drain } from '../../forwarder/sys/event-fd.ts'
import { closeDescriptor } from '../../forwarder/sys/socket.ts'
import { RecordRing } from '../../forwarder/table/record-ring.ts'
import { Cluster } from '../../node/director/cluster/cluster.ts'
import { createMembers, optionsOf } from '../node/director/cluster/libp2p-pool.ts'
import { until } from '../until.ts'

type ClusterMemory = Pick<SharedState, 'outgoing' | 'incoming' | 'table' | 'directory'>

export class BenchDirector {
  readonly cluster: Cluster
  readonly outgoing: RecordRing
  readonly incoming: RecordRing
  readonly #wakeDescriptor = createEventFd()

  constructor(options: ReturnType<typeof optionsOf>, { outgoing, incoming, table, directory }: ClusterMemory) {
    const wakeDescriptor = this.#wakeDescriptor
    this.cluster = new Cluster({ ...options, outgoing, incoming, table, directory, wakeDescriptor })
    this.outgoing = new RecordRing(outgoing)
    this.incoming = new RecordRing(incoming)
  }

  /** Empties its incoming ring, as its forwarder would. */
  takeRecords(take: (bytes: Uint8Array, at: number) => void): void {
    drain(this.#wakeDescriptor)
    for (let at = this.incoming.peek(); at >= 0; at = this.incoming.peek()) {
      take(this.incoming.bytes, at)
      this.incoming.advance()
    }
  }

  async stop(): Promise<void> {
    await this.cluster.stop()
    closeDescriptor(this.#wakeDescriptor)
  }
}

/** Directors that know each other and have not started; stopped again after the measurement. */
export async function withDirectors<T>(
  names: readonly string[],
  measure: (directors: readonly BenchDirector[]) => Promise<T>,
  memoryOf: (name: string) => ClusterMemory = () => allocateSharedState(1024, 1),
): Promise<T> {
  const members = await createMembers(names)
  const directors = names.map((name) => new BenchDirector(optionsOf(members, name), memoryOf(name)))
  try {
    return await measure(directors)
  } finally {
    await Promise.all(directors.map((director) => director.stop()))
  }
}

/** Starts them, and waits until they are in sync. */
export async function startInSync(directors: readonly BenchDirector[]): Promise<void> {
  await Promise.all(directors.map(({ cluster }) => cluster.start()))
  await until(() => directors.every(({ cluster }) => cluster.status().inSync))
}
