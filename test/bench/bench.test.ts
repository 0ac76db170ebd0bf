/** The benchmarks run, on counts that say nothing about speed, and the object that --json prints has the shape that is promised. */
import { test } from 'tap'
import { measureInMemory } from './in-memory.ts'
import { measureReplication } from './replication-bench.ts'
import { type Measurements, toJson, toText } from './report.ts'
import { median, percentile } from './statistics.ts'

const COUNTS = [20, 50]
const comparison = { ours: 1, nftables: 2, ratio: 0.5 }
const commands = {
  start: { vsadmMs: 60, nodeMs: 40, differenceMs: 20 },
  restore: { services: 5, servers: 100, seconds: 3.25, listSeconds: 1.5, peerSeconds: 2, longestSilenceMs: 55 },
}
const network = { packetsPerSecond: comparison, cpuPerPacketUs: comparison, bulkNatMbps: comparison }

test('the engine is measured with both families, every method and number of connections', async (t) => {
  const progress: string[] = []
  const measured = await measureInMemory(2, (what) => progress.push(what), COUNTS)
  for (const byMethod of [measured.engineNs, measured.engineNsIPv6]) {
    t.strictSame(Object.keys(byMethod), ['nat', 'tun', 'dr'])
    for (const byConnections of Object.values(byMethod)) {
      t.strictSame(Object.keys(byConnections).map(Number), COUNTS)
      for (const nanoseconds of Object.values(byConnections)) t.ok(nanoseconds > 0 && Number.isFinite(nanoseconds))
    }
  }
  t.equal(measured.bytesPerConnection, 64)
  t.ok(measured.newConnectionsPerSecond > 0)
  t.equal(progress.length, 2 * 3 * COUNTS.length + 1)
})

test('replication is measured between two and three real clusters', async (t) => {
  const plan = { records: 1000, seconds: 0.01, turns: 2, engineRounds: 2 }
  const { perSecond, latencyMs, besideEngine } = await measureReplication(plan)
  t.ok(perSecond > 0)
  for (const { p50, p99 } of [latencyMs, besideEngine.latencyMs]) t.ok(p50 <= p99)
  t.ok(besideEngine.engineNs.alone > 0 && besideEngine.engineNs.meanwhile > 0)
})

const besideEngine = { latencyMs: { p50: 3, p99: 9 }, engineNs: { alone: 90, meanwhile: 95 } }
const snapshot = { connections: 1_000_000, seconds: 2.5, longestPauseMs: { alone: 1.25, meanwhile: 3.5 } }
const byConnections = { 1000: 1.5, 1000000: 2.5 }
const measurements: Measurements = {
  engineNs: { nat: byConnections, tun: byConnections, dr: byConnections },
  engineNsIPv6: { nat: byConnections, tun: byConnections, dr: byConnections },
  bytesPerConnection: 64,
  newConnectionsPerSecond: 1234.5,
  replication: { perSecond: 4321, latencyMs: { p50: 2, p99: 8 }, besideEngine },
  snapshot,
  network,
  commands,
}

test('the JSON has the promised fields and no others', async (t) => {
  t.strictSame(JSON.parse(JSON.stringify(toJson(measurements))), {
    engineNs: { nat: byConnections, tun: byConnections, dr: byConnections },
    engineNsIPv6: { nat: byConnections, tun: byConnections, dr: byConnections },
    bytesPerConnection: 64,
    newConnectionsPerSecond: 1234.5,
    replicatedPerSecond: 4321,
    replicationToTwo: { perSecond: 100_000, latencyMs: { p50: 2, p99: 8 }, besideEngine },
    snapshot,
    packetsPerSecond: comparison,
    cpuPerPacketUs: comparison,
    bulkNatMbps: comparison,
    vsadmStart: commands.start,
    restore: commands.restore,
  })
})

test('the table names every number and its unit', async (t) => {
  const text = toText(measurements)
  for (const part of [
    '1,000,000 connections',
    'bytes a connection',
    '1,235',
    '4,321',
    '99th percentile 8.0',
    '99th percentile 9.0',
    '95, alone 90',
    'snapshot of 1,000,000 connections, s',
    '3.5, alone 1.3',
    'CPU a packet, us',
    "60, of which Node's start 40, ours 20",
    'vsadm -R of 5 services, 100 servers, s',
    'longest silence of VRRP (every 50 ms), ms',
  ])
    t.match(text, part)
})

test('medians and percentiles', async (t) => {
  t.equal(median([3, 1, 2]), 2)
  t.equal(percentile([5, 4, 3, 2, 1], 0), 1)
  t.equal(percentile([5, 4, 3, 2, 1], 1), 5)
})
