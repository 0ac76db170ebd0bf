/** What the benchmark reports: the object that --json prints, and the same for people. docs/benchmarks.md explains each number. */
import Table from 'cli-table3'
import type { ForwardingMethod } from '../../forwarder/service.ts'
import { ADVERTISEMENT_INTERVAL_MS, type CommandResult } from './command-bench.ts'
import type { Comparison, NetworkResult } from './network/network-bench.ts'
import { LATENCY_RATE, type Latency, type ReplicationResult } from './replication-bench.ts'
import type { SnapshotResult } from './snapshot-bench.ts'

export const METHODS = ['nat', 'tun', 'dr'] as const satisfies readonly ForwardingMethod[]
export const CONNECTIONS = [1000, 1_000_000] as const

export type EngineNanoseconds = Record<(typeof METHODS)[number], Record<(typeof CONNECTIONS)[number], number>>

export interface Measurements {
  readonly engineNs: EngineNanoseconds
  readonly engineNsIPv6: EngineNanoseconds
  readonly bytesPerConnection: number
  readonly newConnectionsPerSecond: number
  readonly replication: ReplicationResult
  readonly snapshot: SnapshotResult
  readonly network: NetworkResult
  readonly commands: CommandResult
}

/** The shape is a promise to whoever reads it by program. */
export function toJson({ replication, snapshot, network, commands, ...engine }: Measurements): object {
  return {
    ...engine,
    replicatedPerSecond: replication.perSecond,
    replicationToTwo: {
      perSecond: LATENCY_RATE,
      latencyMs: replication.latencyMs,
      besideEngine: replication.besideEngine,
    },
    snapshot,
    packetsPerSecond: network.packetsPerSecond,
    cpuPerPacketUs: network.cpuPerPacketUs,
    bulkNatMbps: network.bulkNatMbps,
    vsadmStart: commands.start,
    restore: commands.restore,
  }
}

export function toText(measurements: Measurements): string {
  const { engineNs, engineNsIPv6, replication, snapshot, network, commands } = measurements
  const { besideEngine } = replication
  const { longestPauseMs } = snapshot
  const engine = new Table({
    head: ['engine, ns a packet', ...CONNECTIONS.map((count) => `${group(count)} connections`)],
    style: plain,
  })
  for (const [family, nanoseconds] of [
    ['IPv4', engineNs],
    ['IPv6', engineNsIPv6],
  ] as const) {
    for (const method of METHODS) {
      engine.push([`${family}, ${method}`, ...CONNECTIONS.map((count) => nanoseconds[method][count].toFixed(0))])
    }
  }
  const memory = new Table({ style: plain })
  memory.push(
    ['bytes a connection', measurements.bytesPerConnection.toFixed(0)],
    ['new connections a second', group(measurements.newConnectionsPerSecond)],
    ['replicated connections a second', group(replication.perSecond)],
    [`replication to two at ${group(LATENCY_RATE)} a second, ms`, latencyText(replication.latencyMs)],
    ['the same while the engine is busy, ms', latencyText(besideEngine.latencyMs)],
    [
      'engine meanwhile, ns a packet',
      `${besideEngine.engineNs.meanwhile.toFixed(0)}, alone ${besideEngine.engineNs.alone.toFixed(0)}`,
    ],
    [`snapshot of ${group(snapshot.connections)} connections, s`, snapshot.seconds.toFixed(1)],
    [
      "longest pause of its giver's loop, ms",
      `${longestPauseMs.meanwhile.toFixed(1)}, alone ${longestPauseMs.alone.toFixed(1)}`,
    ],
  )
  const beside = new Table({ head: ['through veth interfaces', 'director', 'nftables', 'ratio'], style: plain })
  const row = (name: string, { ours, nftables, ratio }: Comparison, digits: number) => [
    name,
    group(ours, digits),
    group(nftables, digits),
    ratio.toFixed(2),
  ]
  beside.push(
    row('packets a second', network.packetsPerSecond, 0),
    row('CPU a packet, us', network.cpuPerPacketUs, 2),
    row('bulk NAT, Mbit/s', network.bulkNatMbps, 0),
  )
  const { start, restore } = commands
  const operator = new Table({ style: plain })
  operator.push(
    [
      'vsadm -Ln, ms',
      `${start.vsadmMs.toFixed(0)}, of which Node's start ${start.nodeMs.toFixed(0)}, ours ${start.differenceMs.toFixed(0)}`,
    ],
    [
      `vsadm -R of ${group(restore.services)} services, ${group(restore.servers)} servers, s`,
      restore.seconds.toFixed(1),
    ],
    ['vsadm -Ln of them, s', restore.listSeconds.toFixed(1)],
    ['until the other director has them, s', restore.peerSeconds.toFixed(1)],
    [`longest silence of VRRP (every ${ADVERTISEMENT_INTERVAL_MS} ms), ms`, restore.longestSilenceMs.toFixed(0)],
  )
  return [engine, memory, beside, operator].map(String).join('\n')
}

function latencyText({ p50, p99 }: Latency): string {
  return `median ${p50.toFixed(1)}, 99th percentile ${p99.toFixed(1)}`
}

const plain = { head: [], border: [] }

function group(value: number, digits = 0): string {
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}
