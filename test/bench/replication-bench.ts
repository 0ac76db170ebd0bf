/**
 * Replication between real clusters over the loopback interface: records written into the outgoing ring of one, counted where
 * they come out of the incoming rings of the others. docs/benchmarks.md says what the numbers mean.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { allocateSharedState } from '../../forwarder/shared-state.ts'
import { createEventFd, drain } from '../../forwarder/sys/event-fd.ts'
import { closeDescriptor } from '../../forwarder/sys/socket.ts'
import { RecordRing } from '../../forwarder/table/record-ring.ts'
import { Cluster } from '../../node/director/cluster/cluster.ts'
import { readInt32, readUint16, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { RECORD } from '../../protocol/wire/connection-record.ts'
import { createMembers, optionsOf } from '../node/director/cluster/libp2p-pool.ts'
import { makeRecord } from '../node/director/cluster/record.ts'
import { until } from '../until.ts'
import { type EngineMeasurement, measureEngine } from './engine-thread.ts'
import { percentile } from './statistics.ts'

export interface ReplicationResult {
  readonly perSecond: number
  /** From one ring until it is in those of both peers, at LATENCY_RATE records a second. */
  readonly latencyMs: { readonly p50: number; readonly p99: number }
  /** What a packet of an established connection takes the engine: with nothing beside it, and while that goes on. */
  readonly engineNs: { readonly alone: number; readonly meanwhile: number }
}

export interface ReplicationPlan {
  /** How many are sent as fast as it goes, to one peer. */
  readonly records: number
  /** How long records are sent at LATENCY_RATE, to two. */
  readonly seconds: number
  /** Of 1,024 packets, each time that the engine is measured. */
  readonly engineRounds: number
}

/** Records a second while latency is measured. */
export const LATENCY_RATE = 100_000
/** How often rings are filled and emptied. */
const TURN_MS = 1
const GIVE_UP_MS = 30_000
const PORT_BITS = 14

export async function measureReplication({
  records,
  seconds,
  engineRounds,
}: ReplicationPlan): Promise<ReplicationResult> {
  const perSecond = await withPool(['d1', 'd2'], async ({ outgoing }, peers) => {
    // The code is compiled and the connection at speed when it counts.
    await transfer(outgoing, peers, records / 4, Number.POSITIVE_INFINITY)
    const start = performance.now()
    await transfer(outgoing, peers, records, Number.POSITIVE_INFINITY)
    return (records * 1000) / (performance.now() - start)
  })
  const packets: EngineMeasurement = {
    kind: 'established',
    method: 'nat',
    isIPv6: false,
    connections: 1000,
    rounds: engineRounds,
  }
  const alone = await measureEngine(packets)
  const [latencies, meanwhile] = await withPool(['d1', 'd2', 'd3'], async ({ outgoing }, peers) => {
    await transfer(outgoing, peers, records / 4, LATENCY_RATE)
    return await Promise.all([transfer(outgoing, peers, LATENCY_RATE * seconds, LATENCY_RATE), measureEngine(packets)])
  })
  return {
    perSecond,
    latencyMs: { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99) },
    engineNs: { alone, meanwhile },
  }
}

/** A pool in sync, the first of it apart from its peers, for as long as the measurement takes. */
async function withPool<T>(
  names: readonly string[],
  measure: (first: Director, peers: readonly Director[]) => Promise<T>,
): Promise<T> {
  const members = await createMembers(names)
  const directors = names.map((name) => createDirector(optionsOf(members, name)))
  try {
    await Promise.all(directors.map(({ cluster }) => cluster.start()))
    await until(() => directors.every(({ cluster }) => cluster.status().inSync))
    const [first, ...peers] = directors
    return await measure(first, peers)
  } finally {
    await Promise.all(directors.map(({ cluster }) => cluster.stop()))
    for (const { wakeDescriptor } of directors) closeDescriptor(wakeDescriptor)
  }
}

interface Director {
  readonly cluster: Cluster
  readonly outgoing: RecordRing
  readonly incoming: RecordRing
  readonly wakeDescriptor: number
}

function createDirector(options: ReturnType<typeof optionsOf>): Director {
  const { outgoing, incoming, table, directory } = allocateSharedState(1024, 1)
  const wakeDescriptor = createEventFd()
  return {
    cluster: new Cluster({ ...options, outgoing, incoming, table, directory, wakeDescriptor }),
    outgoing: new RecordRing(outgoing),
    incoming: new RecordRing(incoming),
    wakeDescriptor,
  }
}

/**
 * Writes records as fast as the ring takes them, at most `perSecond`, until the last has come out at every other end.
 * @returns how many milliseconds each was under way to the peer that had it last
 */
async function transfer(
  outgoing: RecordRing,
  peers: readonly Director[],
  records: number,
  perSecond: number,
): Promise<number[]> {
  const record = makeRecord(0, 1)
  const writtenAt = new Float64Array(records)
  const awaitedBy = new Uint8Array(records).fill(peers.length)
  const latencies: number[] = []
  const start = performance.now()
  let written = 0
  while (latencies.length < records) {
    const now = performance.now()
    if (now - start > GIVE_UP_MS) throw new Error(`only ${latencies.length} of ${records} records have arrived`)
    const due = Math.min(records, ((now - start) * perSecond) / 1000)
    for (; written < due && outgoing.length < outgoing.capacity; written++) {
      writtenAt[written] = now
      writeInt32(record, RECORD.clientAddress + 12, (10 << 24) | (written >>> PORT_BITS))
      writeUint16(record, RECORD.clientPort, written & ((1 << PORT_BITS) - 1))
      outgoing.bytes.set(record, outgoing.reserve())
      outgoing.commit()
    }
    outgoing.notify()
    for (const { incoming, wakeDescriptor } of peers) {
      drain(wakeDescriptor)
      for (let at = incoming.peek(); at >= 0; at = incoming.peek()) {
        const number =
          ((readInt32(incoming.bytes, at + RECORD.clientAddress + 12) & 0xff_ffff) << PORT_BITS) |
          readUint16(incoming.bytes, at + RECORD.clientPort)
        if (--awaitedBy[number] === 0) latencies.push(now - writtenAt[number])
        incoming.advance()
      }
    }
    await delay(TURN_MS)
  }
  return latencies
}
