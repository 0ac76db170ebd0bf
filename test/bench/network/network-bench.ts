/**
 * The director beside nftables' DNAT, through the same veth interfaces, in turns: packets a second, processor time a packet, bulk
 * throughput. docs/benchmarks.md says what the numbers mean and why they are measured so.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { median } from '../statistics.ts'
import { datagramsReceived, processorTimeUs } from './counters.ts'
import { BenchProcess } from './processes.ts'
import type { SenderOptions } from './sender-options.ts'
import {
  BULK_PORT,
  CLIENT_LINK,
  closeTopology,
  createTopology,
  DIRECT_LINK,
  DIRECT_SERVER,
  DIRECT_SERVER_MAC,
  OUTSIDE_MAC,
  SERVER_UDP_PORT,
  startNftables,
  stopNftables,
  type Topology,
  VIP,
  VIRTUAL_UDP_PORT,
} from './topology.ts'

export interface Comparison {
  readonly ours: number
  readonly nftables: number
  /** ours / nftables */
  readonly ratio: number
}

export interface NetworkResult {
  readonly packetsPerSecond: Comparison
  readonly cpuPerPacketUs: Comparison
  readonly bulkNatMbps: Comparison
}

/** Packets a second while processor time is measured. */
export const STEADY_RATE = 100_000
const ROUNDS = 3
/** In which the code is compiled and the sender finds its rate. */
const RAMP_MS = 1500
const SETTLE_MS = 300
const WINDOW_MS = 1500
const BULK_SECONDS = 2

interface Measured {
  readonly packetsPerSecond: number
  readonly cpuPerPacketUs: number
  readonly bulkMbps: number
}

/** @param progress is told what is about to be measured */
export async function measureNetwork(progress: (what: string) => void): Promise<NetworkResult> {
  const topology = await createTopology()
  const processes: BenchProcess[] = []
  try {
    const sink = await BenchProcess.script(topology.server, 'sink', {})
    processes.push(sink, BenchProcess.program(topology.server, 'iperf3', '--server', '--port', String(BULK_PORT)))
    const bench = new Bench(topology, sink.pid, processes)
    const ours: Measured[] = []
    const nftables: Measured[] = []
    for (let round = 1; round <= ROUNDS; round++) {
      progress(`veth, round ${round} of ${ROUNDS}: director`)
      ours.push(await bench.director())
      progress(`veth, round ${round} of ${ROUNDS}: nftables`)
      nftables.push(await bench.nftables())
    }
    const compareBy = (field: keyof Measured) =>
      compare(
        ours.map((m) => m[field]),
        nftables.map((m) => m[field]),
      )
    return {
      packetsPerSecond: compareBy('packetsPerSecond'),
      cpuPerPacketUs: compareBy('cpuPerPacketUs'),
      bulkNatMbps: compareBy('bulkMbps'),
    }
  } finally {
    for (const process of processes) await process.kill()
    closeTopology(topology)
  }
}

class Bench {
  readonly #topology: Topology
  readonly #sinkPid: number
  /** All that have been started, so that whoever catches an error can end them. */
  readonly #processes: BenchProcess[]
  readonly #throughDirector: SenderOptions
  readonly #direct: SenderOptions

  constructor(topology: Topology, sinkPid: number, processes: BenchProcess[]) {
    this.#topology = topology
    this.#sinkPid = sinkPid
    this.#processes = processes
    this.#throughDirector = {
      link: CLIENT_LINK,
      nextHopMac: OUTSIDE_MAC,
      source: '10.1.0.201',
      destination: `${VIP}:${VIRTUAL_UDP_PORT}`,
      serverPid: sinkPid,
    }
    this.#direct = {
      link: DIRECT_LINK,
      nextHopMac: DIRECT_SERVER_MAC,
      source: '10.3.0.1',
      destination: `${DIRECT_SERVER}:${SERVER_UDP_PORT}`,
      serverPid: sinkPid,
    }
  }

  async director(): Promise<Measured> {
    const director = await this.#start(BenchProcess.script(this.#topology.director, 'director-process', {}))
    const measured = await this.#measure([director.pid])
    await director.kill()
    return measured
  }

  async nftables(): Promise<Measured> {
    startNftables(this.#topology)
    const measured = await this.#measure([])
    stopNftables(this.#topology)
    return measured
  }

  async #measure(forwarders: readonly number[]): Promise<Measured> {
    const { packetsPerSecond } = await this.#traffic(this.#throughDirector, RAMP_MS, forwarders)
    const through = await this.#traffic({ ...this.#throughDirector, rate: STEADY_RATE }, SETTLE_MS, forwarders)
    const direct = await this.#traffic({ ...this.#direct, rate: STEADY_RATE }, SETTLE_MS, forwarders)
    const bulkMbps = await this.#bulk()
    return { packetsPerSecond, cpuPerPacketUs: through.cpuPerPacketUs - direct.cpuPerPacketUs, bulkMbps }
  }

  /** Sends for a while and looks at the last WINDOW_MS of it. */
  async #traffic(
    options: SenderOptions,
    rampMs: number,
    forwarders: readonly number[],
  ): Promise<Omit<Measured, 'bulkMbps'>> {
    const sender = await this.#start(BenchProcess.script(this.#topology.client, 'sender', options))
    const pids = [sender.pid, ...forwarders]
    await delay(rampMs)
    const before = this.#sample(pids)
    await delay(WINDOW_MS)
    const after = this.#sample(pids)
    await sender.kill()
    const packets = after.received - before.received
    if (packets === 0) throw new Error(`no datagram for ${options.destination} has arrived`)
    return {
      packetsPerSecond: (packets * 1000) / (after.atMs - before.atMs),
      cpuPerPacketUs: (after.processorUs - before.processorUs) / packets,
    }
  }

  #sample(pids: readonly number[]): { atMs: number; received: number; processorUs: number } {
    return { atMs: performance.now(), received: datagramsReceived(this.#sinkPid), processorUs: processorTimeUs(pids) }
  }

  /** Megabits a second of one TCP connection, segmentation left to the interfaces as it is by default. */
  async #bulk(): Promise<number> {
    const words = ['--client', VIP, '--port', String(BULK_PORT), '--time', String(BULK_SECONDS), '--json']
    const client = BenchProcess.program(this.#topology.client, 'iperf3', ...words)
    this.#processes.push(client)
    const report = JSON.parse(await client.rest())
    if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`)
    return report.end.sum_received.bits_per_second / 1e6
  }

  async #start(starting: Promise<BenchProcess>): Promise<BenchProcess> {
    const process = await starting
    this.#processes.push(process)
    return process
  }
}

function compare(ours: readonly number[], nftables: readonly number[]): Comparison {
  return { ours: median(ours), nftables: median(nftables), ratio: median(ours) / median(nftables) }
}
