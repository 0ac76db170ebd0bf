/**
 * Replication between real clusters over the loopback interface: records written into the outgoing ring of one, counted where
 * they come out of the incoming rings of the others. docs/benchmarks.md says what the numbers mean.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { RecordRing } from '../../forwarder/table/record-ring.ts'
import { readInt32, readUint16, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { RECORD } from '../../protocol/wire/connection-record.ts'
import { makeRecord } from '../node/director/cluster/record.ts'
import { type BenchDirector, startInSync, withDirectors } from './bench-cluster.ts'
import { type EngineMeasurement, measureEngine } from './engine-thread.ts'
import { median, percentile } from './statistics.ts'

export interface ReplicationResult {
  /** To one peer, as fast as it goes. */
  readonly perSecond: number
  /** From one ring until it is in those of both peers, at LATENCY_RATE records a second: of each percentile the median of all turns. */
  readonly latencyMs: Latency
  /**
   * The same while the engine is kept busy, and what a packet of an established connection takes it: with nothing beside it, and then.
   * In turns with the above, so that a machine that becomes slower is no difference between them.
   */
  readonly besideEngine: {
    readonly latencyMs: Latency
    readonly engineNs: { readonly alone: number; readonly meanwhile: number }
  }
}

export interface Latency {
  readonly p50: number
  readonly p99: number
}

export interface ReplicationPlan {
  /** How many are sent as fast as it goes, to one peer. */
  readonly records: number
  /** How long records are sent at LATENCY_RATE, to two, each time. */
  readonly seconds: number
  readonly turns: number
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
  turns,
  engineRounds,
}: ReplicationPlan): Promise<ReplicationResult> {
  const perSecond = await withDirectors(['d1', 'd2'], async (directors) => {
    await startInSync(directors)
    const [{ outgoing }, peer] = directors
    // The code is compiled and the connection at speed when it counts.
    await transfer(outgoing, [peer], records / 4, Number.POSITIVE_INFINITY)
    const start = performance.now()
    await transfer(outgoing, [peer], records, Number.POSITIVE_INFINITY)
    return (records * 1000) / (performance.now() - start)
  })
  const packets: EngineMeasurement = {
    kind: 'established',
    method: 'nat',
    isIPv6: false,
    connections: 1000,
    rounds: engineRounds,
  }
  return await withDirectors(['d1', 'd2', 'd3'], async (directors) => {
    await startInSync(directors)
    const [{ outgoing }, ...peers] = directors
    const replicate = async (count: number) => describe(await transfer(outgoing, peers, count, LATENCY_RATE))
    await replicate(records / 4)
    const seen: { alone: number; latency: Latency; latencyBeside: Latency; meanwhile: number }[] = []
    for (let turn = 0; turn < turns; turn++) {
      const alone = await measureEngine(packets)
      const latency = await replicate(LATENCY_RATE * seconds)
      const [latencyBeside, meanwhile] = await Promise.all([replicate(LATENCY_RATE * seconds), measureEngine(packets)])
      seen.push({ alone, latency, latencyBeside, meanwhile })
    }
    return {
      perSecond,
      latencyMs: medianLatency(seen.map(({ latency }) => latency)),
      besideEngine: {
        latencyMs: medianLatency(seen.map(({ latencyBeside }) => latencyBeside)),
        engineNs: {
          alone: median(seen.map(({ alone }) => alone)),
          meanwhile: median(seen.map(({ meanwhile }) => meanwhile)),
        },
      },
    }
  })
}

function describe(latencies: readonly number[]): Latency {
  return { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99) }
}

function medianLatency(latencies: readonly Latency[]): Latency {
  return { p50: median(latencies.map(({ p50 }) => p50)), p99: median(latencies.map(({ p99 }) => p99)) }
}

/**
 * Writes records as fast as the ring takes them, at most `perSecond`, until the last has come out at every other end.
 * @returns how many milliseconds each was under way to the peer that had it last
 */
async function transfer(
  outgoing: RecordRing,
  peers: readonly BenchDirector[],
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
    for (const peer of peers) {
      peer.takeRecords((bytes, at) => {
        const number =
          ((readInt32(bytes, at + RECORD.clientAddress + 12) & 0xff_ffff) << PORT_BITS) |
          readUint16(bytes, at + RECORD.clientPort)
        if (--awaitedBy[number] === 0) latencies.push(now - writtenAt[number])
      })
    }
    await delay(TURN_MS)
  }
  return latencies
}
