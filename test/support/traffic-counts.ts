/** What a director has counted of traffic, for all its servers together. */
import { COUNTER, COUNTERS } from '../../forwarder/table/server-directory.ts'
import type { DirectorBench } from './director-bench.ts'

export interface TrafficCounts {
  inPackets: number
  inBytes: number
  outPackets: number
  outBytes: number
}

export function trafficOf({ engine: { services } }: DirectorBench): TrafficCounts {
  const { counters } = services.directory
  const sum = (counter: number) =>
    services.serverBySlot.reduce((sum, server) => sum + (server ? counters[server.slot * COUNTERS + counter] : 0), 0)
  return {
    inPackets: sum(COUNTER.inPackets),
    inBytes: sum(COUNTER.inBytes),
    outPackets: sum(COUNTER.outPackets),
    outBytes: sum(COUNTER.outBytes),
  }
}
