/**
 * A pool of replicators on a virtual network and a virtual clock. Each director's forwarder is a map of connections that takes
 * from the incoming ring as the real one does: the newest version wins.
 */

import { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import type { Clock } from '../../../../node/director/clock.ts'
import { MemoryNetwork, type MemoryNetworkOptions } from '../../../../node/director/cluster/memory-transport.ts'
import { connectionKey } from '../../../../node/director/cluster/replication/connection-key.ts'
import { type ReplicationStatus, Replicator } from '../../../../node/director/cluster/replication/replicator.ts'
import type { ConnectionSource } from '../../../../node/director/cluster/replication/snapshot-server.ts'
import { UnknownFields } from '../../../../node/director/cluster/replication/unknown-fields.ts'
import type { Transport } from '../../../../node/director/cluster/transport.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'
import { RECORD, RECORD_LENGTH, RECORD_REMOVE, RECORD_UPSERT } from '../../../../protocol/wire/connection-record.ts'
import { seededRandom } from '../../../random.ts'
import { type Accent, withAccent } from '../../../support/accent.ts'
import { makeRecord } from './record.ts'

interface Connection {
  readonly version: number
  readonly record: Uint8Array
}

/** Time passes, but nothing is done: as in a process that is stopped. */
class FreezableClock implements Clock {
  readonly #clock: Clock
  #due: (() => void)[] | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  schedule(delayMs: number, task: () => void): () => void {
    return this.#clock.schedule(delayMs, () => (this.#due ? this.#due.push(task) : task()))
  }

  freeze(): void {
    this.#due = []
  }

  thaw(): void {
    const due = this.#due ?? []
    this.#due = undefined
    for (const task of due) task()
  }
}

export class Director {
  readonly name: string
  readonly outgoing: RecordRing
  readonly incoming: RecordRing
  readonly connections = new Map<string, Connection>()
  readonly clock: FreezableClock
  readonly transport: Transport
  readonly replicator: Replicator
  /** What stands behind its records: of a later version its own. */
  readonly fields: UnknownFields
  /** A forwarder that is too slow, or hangs, takes nothing. */
  takes = true
  /** Of its forwarder, for connections. */
  room = Number.POSITIVE_INFINITY
  status: ReplicationStatus | undefined

  constructor(pool: Pool, name: string, peers: readonly string[], ringSlots: number) {
    this.name = name
    this.outgoing = new RecordRing(RecordRing.allocate(ringSlots))
    this.incoming = new RecordRing(RecordRing.allocate(ringSlots))
    this.clock = new FreezableClock(pool.clock)
    const accent = pool.accents.get(name)
    const transport = pool.network.join(name, peers)
    this.transport = accent ? withAccent(transport, accent) : transport
    this.fields = new UnknownFields(() => this.clock.now())
    this.replicator = new Replicator({
      transport: this.transport,
      peers,
      clock: this.clock,
      random: () => Math.floor(pool.random() * 2 ** 32),
      outgoing: this.outgoing,
      incoming: this.incoming,
      source: this.#source(),
      versionNow: () => VERSION_NOW,
      unknownFields: this.fields,
      restore: async () => pool.checkpoints.get(name)?.shift(),
      wake: () => this.take(),
      onStatus: (status) => {
        this.status = status
      },
      resendBytes: pool.resendBytes,
    })
  }

  async start(): Promise<void> {
    this.replicator.start()
    await this.transport.start()
  }

  /** As a process that dies. */
  async kill(): Promise<void> {
    this.replicator.stop()
    await this.transport.stop()
  }

  get inSync(): boolean {
    return this.replicator.status().inSync
  }

  get joined(): boolean {
    return this.replicator.status().joined
  }

  /** The forwarder's side of a new, changed or ended connection. Refused when the ring is full. */
  write(n: number, version = 1, kind: number = RECORD_UPSERT): void {
    const record = makeRecord(n, version, kind)
    this.#apply(record)
    const offset = this.outgoing.reserve()
    if (offset < 0) return
    this.outgoing.bytes.set(record, offset)
    this.outgoing.commit()
  }

  end(n: number): void {
    this.write(n, 2, RECORD_REMOVE)
  }

  flush(): void {
    this.replicator.recordsWritten()
  }

  take(): void {
    for (let offset = this.incoming.peek(); this.takes && offset >= 0; offset = this.incoming.peek()) {
      if (!this.#apply(this.incoming.bytes.slice(offset, offset + RECORD_LENGTH))) this.incoming.countUnplaced()
      this.incoming.advance()
    }
  }

  /** @returns whether there was room */
  #apply(record: Uint8Array): boolean {
    const key = connectionKey(record, 0)
    if (record[RECORD.kind] === RECORD_REMOVE) {
      this.connections.delete(key)
      return true
    }
    const version = (record[RECORD.version] << 8) | record[RECORD.version + 1]
    const known = this.connections.get(key)
    if (!known && this.connections.size >= this.room) return false
    if ((known?.version ?? -1) <= version) this.connections.set(key, { version, record })
    return true
  }

  /** A table as it was when the walk over it began: what ends meanwhile is still in it. */
  #source(): ConnectionSource {
    const director = this
    let walked: Connection[] = []
    return {
      get capacity() {
        return Math.max(1024, director.connections.size, walked.length)
      },
      encodeRange(from, count, target, offset) {
        if (from === 0) walked = [...director.connections.values()]
        const some = walked.slice(from, from + count)
        some.forEach(({ record }, index) => {
          target.set(record, offset + index * RECORD_LENGTH)
        })
        return some.length
      },
    }
  }
}

/** Newer than any version of these connections. */
const VERSION_NOW = 0x4000

export class Pool {
  readonly clock = new VirtualClock()
  readonly random: () => number
  readonly network: MemoryNetwork
  readonly resendBytes: number | undefined
  readonly directors: Director[] = []
  /** Of directors of other versions. */
  readonly accents = new Map<string, Accent>()
  /** What directors know from before their restart: records, in pieces. */
  readonly checkpoints = new Map<string, Uint8Array[]>()
  readonly #names: readonly string[]

  constructor(
    names: readonly string[],
    options: { seed?: number; resendBytes?: number; network?: Partial<MemoryNetworkOptions> } = {},
  ) {
    this.#names = names
    const { below } = seededRandom(options.seed ?? 1)
    this.random = () => below(2 ** 32) / 2 ** 32
    this.resendBytes = options.resendBytes
    this.network = new MemoryNetwork({ clock: this.clock, random: this.random, ...options.network })
  }

  /** Starts a director; a name that was used before is a restarted one. */
  async start(name: string, ringSlots = 2 ** 14): Promise<Director> {
    const others = this.#names.filter((other) => other !== name)
    const director = new Director(this, name, others, ringSlots)
    const index = this.directors.findIndex((other) => other.name === name)
    if (index >= 0) this.directors[index] = director
    else this.directors.push(director)
    await director.start()
    return director
  }

  /** @param isReady what is waited for; one that reaches nobody joins, but is not in sync */
  async startAll(isReady = (director: Director) => director.inSync): Promise<Director[]> {
    for (const name of this.#names) await this.start(name)
    await this.untilAll(isReady)
    return this.directors
  }

  async untilInSync(): Promise<void> {
    await this.untilAll((director) => director.inSync)
  }

  async untilAll(isReady: (director: Director) => boolean): Promise<void> {
    await this.clock.until(() => this.directors.every(isReady), 5000, 10)
  }

  stop(): void {
    for (const director of this.directors) director.replicator.stop()
  }
}

/** Writes connections [from, to) at a steady rate, so that they make many batches. */
export async function writeSteadily(
  pool: Pool,
  director: Director,
  from: number,
  to: number,
  perMs = 20,
): Promise<void> {
  for (let n = from; n < to; n++) {
    director.write(n)
    if (n % perMs === perMs - 1) {
      director.flush()
      await pool.clock.advance(1)
    }
  }
  director.flush()
}

export function sameTables(a: Director, b: Director): boolean {
  if (a.connections.size !== b.connections.size) return false
  for (const [key, { version }] of a.connections) if (b.connections.get(key)?.version !== version) return false
  return true
}
