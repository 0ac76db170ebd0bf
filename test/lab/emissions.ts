/**
 * All that the directors of a lab emit, recorded where it enters the switch, and judged by tshark.
 *
 * A frame leaves a director with what its virtio header says is still to be done: a checksum to be finished, segments to be
 * cut. On veth nobody would ever do it, and a capture would show unfinished checksums that are no fault; so the directors'
 * interfaces are told that they can do neither. Then the kernel finishes and cuts the frames, by the director's metadata, before
 * they reach the other end of the pair: wrong metadata becomes a wrong checksum on the switch.
 *
 * Recorded is what comes in at the directors' ports (tcpdump -Q in), whatever its source address says. That nothing escaped is
 * shown by the ports' own counters.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { Lab } from '../../node/drill/lab.ts'
import { inNamespace, portName } from '../../node/drill/lab-network.ts'
import { GUE_PORT, hostsOf } from '../../node/drill/lab-plan.ts'
import { BAD_PACKET, PREFERENCES } from '../interop/capture.ts'
import { eventually } from './lab-directors.ts'
import { ACROSS_PORT, runOn, SINK_PORT } from './lab-traffic.ts'
import { teardown } from './test-lab.ts'

const execute = promisify(execFile)

/** A whole Ethernet frame of the lab. Longer ones on the switch would show that the kernel did not cut. */
export const FRAME_MAX_BYTES = 1514
/** Memory of one recording, in KiB: what a busy machine lets wait. */
const BUFFER_KIB = 128 * 1024

/** tshark takes each packet for itself, and what clients and servers say to each other for what it is: anything. */
const PAYLOADS_ARE_DATA = [
  ...['-o', 'tcp.desegment_tcp_streams:FALSE', '-o', 'tcp.analyze_sequence_numbers:FALSE'],
  ...['-d', 'tcp.port==80,data', '-d', 'tcp.port==8080,data', '-d', 'tcp.port==7946,data'],
  ...['-d', `udp.port==${GUE_PORT},data`],
  ...[SINK_PORT, ACROSS_PORT].flatMap((port) => ['-d', `tcp.port==${port},data`, '-d', `udp.port==${port},data`]),
]

/**
 * What must not be. Every TCP and UDP checksum has to be found good, not merely not bad (3: a datagram without one).
 *
 * Two things tshark is wrong about. 0xffff where TCP has 0: the same in one's complement, and what the kernel writes when it
 * finishes a checksum (skb_checksum_help() in Linux net/core/dev.c). And the transport checksum of a packet that an ICMP error
 * quotes: the quote may be cut short (RFC 1812 section 4.3.2.3), and of a sender with offloads is not finished; so it is judged
 * of the datagrams that a test has made whole itself, and of the others all else.
 */
const WRITTEN_AS_ALL_ONES = '(tcp.checksum == 0xffff && tcp.checksum_calculated == 0)'
const IS_ICMP = '(icmp || icmpv6)'
export const FAULTS = {
  bad: `!${IS_ICMP} && !${WRITTEN_AS_ALL_ONES} && (${BAD_PACKET} || _ws.expert.severity == "Error")`,
  badQuote: `${IS_ICMP} && udp.checksum.status == 0 && udp.port >= 4001 && udp.port <= 4008`,
  badIcmp: 'icmp && (_ws.malformed || ip.checksum.status == 0 || icmp.checksum.status != 1)',
  badIcmpv6: 'icmpv6 && (_ws.malformed || ip.checksum.status == 0 || icmpv6.checksum.status != 1)',
  unjudged: `(tcp || udp) && !${IS_ICMP} && !${WRITTEN_AS_ALL_ONES} && !(tcp.checksum.status == 1 || udp.checksum.status == 1 || udp.checksum.status == 3)`,
  tooLong: `frame.len > ${FRAME_MAX_BYTES}`,
}

export interface Emissions {
  /** Resolves when everything that had come in by now is in the files: what paces itself by this is recorded without a gap. */
  caughtUp(): Promise<void>
  /** Ends the recording at the first call. How many of all frames each display filter finds. */
  count<Name extends string>(filters: Record<Name, string>): Promise<Record<Name, number>>
  /** One line for each frame that a display filter finds. */
  show(filter: string): Promise<string[]>
}

export function toolsAreMissing(): boolean {
  return ['tcpdump', 'tshark', 'ethtool'].some((tool) => spawnSync(tool, ['--version']).error)
}

/** Tells interfaces of a host to leave checksums and segmentation to its kernel. */
export async function switchOffloadsOff(lab: Lab, host: string): Promise<void> {
  const { interfaces } = lab.plan.hosts.find(({ name }) => name === host)!
  const features = ['tx', 'tso', 'gso', 'tx-udp-segmentation'].flatMap((feature) => [feature, 'off'])
  for (const { name } of interfaces) await runOn(lab, host, ['ethtool', '-K', name, ...features])
}

/** Resolves when everything that directors emit is being recorded. */
export async function recordEmissions(t: Test, lab: Lab): Promise<Emissions> {
  const folder = mkdtempSync(join(tmpdir(), 'emissions-'))
  teardown(t, () => rmSync(folder, { recursive: true, force: true }))
  const ports = hostsOf(lab.plan, 'director').flatMap((host) => host.interfaces.map(({ name }) => portName(host, name)))
  const recordings = await Promise.all(ports.map((port) => Recording.begin(lab, port, join(folder, `${port}.pcap`))))
  let ended: Promise<unknown> | undefined
  const end = () => {
    ended ??= Promise.all(recordings.map((recording) => recording.end()))
    return ended
  }
  t.teardown(() => {
    for (const recording of recordings) recording.kill()
  })
  return {
    async caughtUp() {
      await Promise.all(recordings.map((recording) => recording.caughtUp()))
    },
    async count(filters) {
      await end()
      const names = Object.keys(filters) as (keyof typeof filters)[]
      const counts = await Promise.all(recordings.map(({ file }) => countFrames(file, Object.values(filters))))
      const sums = names.map((name, index) => [name, counts.reduce((sum, each) => sum + each[index], 0)])
      return Object.fromEntries(sums)
    },
    async show(filter) {
      await end()
      const found = await Promise.all(recordings.map(({ file }) => tshark(file, ['-Y', filter])))
      return found.flatMap((text) => text.split('\n').filter((line) => line !== ''))
    },
  }
}

async function tshark(file: string, words: readonly string[]): Promise<string> {
  const { stdout } = await execute('tshark', ['-n', '-r', file, ...PREFERENCES, ...PAYLOADS_ARE_DATA, ...words], {
    maxBuffer: 1 << 26,
  })
  return stdout
}

/** One pass over the file: tshark's table of frames and bytes, in which each filter has a column. */
async function countFrames(file: string, filters: readonly string[]): Promise<number[]> {
  // Without a frame there is no table.
  const columns = ['frame', ...filters]
  const table = await tshark(file, ['-q', '-z', `io,stat,0,${columns.join(',')}`])
  const row = table.split('\n').findLast((line) => line.includes('<>'))
  if (row === undefined) return filters.map(() => 0)
  // | interval | frames | bytes | frames | bytes | ...
  const cells = row.split('|').slice(2)
  return filters.map((_, index) => Number(cells[2 * (index + 1)]))
}

/** One tcpdump on one port of the switch. */
class Recording {
  readonly file: string
  readonly #lab: Lab
  readonly #port: string
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>
  /** Frames taken, and frames for which there was no room, as tcpdump last said. */
  #taken = 0
  #dropped = 0
  #framesBefore = 0

  private constructor(lab: Lab, port: string, file: string, onListening: () => void) {
    this.#lab = lab
    this.#port = port
    this.file = file
    const [program, ...args] = inNamespace(lab.plan.switchNamespace, [
      ...['tcpdump', '-i', port, '-Q', 'in', '-w', file, '-Z', 'root', '--immediate-mode'],
      // Longer than any frame may be, so that none is cut short; and slots of 256 KiB would be soon used up.
      ...['-s', '2048', '-B', String(BUFFER_KIB)],
    ])
    this.#child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#exited = once(this.#child, 'exit')
    createInterface(this.#child.stderr!).on('line', (line) => {
      if (line.includes('listening on')) onListening()
      this.#taken = Number(/(\d+) packets captured/.exec(line)?.[1] ?? this.#taken)
      this.#dropped = Number(/(\d+) packets dropped by kernel/.exec(line)?.[1] ?? this.#dropped)
    })
  }

  static async begin(lab: Lab, port: string, file: string): Promise<Recording> {
    const { promise: listening, resolve } = Promise.withResolvers<void>()
    const recording = new Recording(lab, port, file, resolve)
    const failed = recording.#exited.then(() => Promise.reject(new Error(`tcpdump on ${port} has ended`)))
    failed.catch(() => {})
    await Promise.race([listening, failed])
    recording.#framesBefore = await recording.#framesIn()
    return recording
  }

  /** Resolves when all has been taken that had come in. */
  async caughtUp(): Promise<void> {
    const wanted = (await this.#framesIn()) - this.#framesBefore
    await eventually(`tcpdump on ${this.#port} takes ${wanted} frames`, async () => {
      this.#child.kill('SIGUSR1')
      if (this.#taken >= wanted) return true
      throw new Error(`${this.#taken}, and ${this.#dropped} dropped`)
    })
  }

  async end(): Promise<void> {
    await this.caughtUp()
    this.#child.kill('SIGINT')
    await this.#exited
    if (this.#dropped > 0) throw new Error(`tcpdump on ${this.#port} had no room for ${this.#dropped} frames`)
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  async #framesIn(): Promise<number> {
    const [program, ...args] = inNamespace(this.#lab.plan.switchNamespace, ['ip', '-json', '-stats', 'link', 'show'])
    const { stdout } = await execute(program, [...args, this.#port])
    return JSON.parse(stdout)[0].stats64.rx.packets
  }
}
