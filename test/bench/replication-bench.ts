/**
 * Replication between two real clusters over the loopback interface: records written into the outgoing ring of the one, counted
 * where they come out of the incoming ring of the other. docs/benchmarks.md says what the numbers mean.
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
import { percentile } from './statistics.ts'

export interface ReplicationResult {
  readonly perSecond: number
  /** From one ring to the other, at LATENCY_RATE records a second. */
  readonly latencyMs: { readonly p50: number; readonly p99: number }
}

/** Records a second while latency is measured. */
export const LATENCY_RATE = 50_000
/** How often rings are filled and emptied. */
const TURN_MS = 1
const GIVE_UP_MS = 30_000
const PORT_BITS = 14

/** @param records how many for each of the two measurements */
export async function measureReplication(records: number): Promise<ReplicationResult> {
  const members = await createMembers(['d1', 'd2'])
  const [from, to] = ['d1', 'd2'].map((name) => createDirector(optionsOf(members, name)))
  try {
    await Promise.all([from.cluster.start(), to.cluster.start()])
    await until(() => from.cluster.status().inSync && to.cluster.status().inSync)
    // The code is compiled and the connection at speed when it counts.
    await transfer(from.outgoing, to, records / 4, Number.POSITIVE_INFINITY)
    const start = performance.now()
    await transfer(from.outgoing, to, records, Number.POSITIVE_INFINITY)
    const perSecond = (records * 1000) / (performance.now() - start)
    const latencies = await transfer(from.outgoing, to, records, LATENCY_RATE)
    return { perSecond, latencyMs: { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99) } }
  } finally {
    await Promise.all([from.cluster.stop(), to.cluster.stop()])
    for (const { wakeDescriptor } of [from, to]) closeDescriptor(wakeDescriptor)
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
 * Writes records as fast as the ring takes them, at most `perSecond`, until the last has come out at the other end.
 * @returns how many milliseconds each was under way
 */
async function transfer(outgoing: RecordRing, to: Director, records: number, perSecond: number): Promise<number[]> {
  const record = makeRecord(0, 1)
  const writtenAt = new Float64Array(records)
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
    drain(to.wakeDescriptor)
    const { incoming } = to
    for (let at = incoming.peek(); at >= 0; at = incoming.peek()) {
      const number =
        ((readInt32(incoming.bytes, at + RECORD.clientAddress + 12) & 0xff_ffff) << PORT_BITS) |
        readUint16(incoming.bytes, at + RECORD.clientPort)
      latencies.push(now - writtenAt[number])
      incoming.advance()
    }
    await delay(TURN_MS)
  }
  return latencies
}
