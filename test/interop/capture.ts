/** tshark as judge of what is on an interface: a capture that a test starts, and reads when it is done. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { until } from '../until.ts'

const execute = promisify(execFile)
/** Wireshark leaves these unchecked unless it is told to. */
export const PREFERENCES = ['ip.check_checksum:TRUE', 'tcp.check_checksum:TRUE', 'udp.check_checksum:TRUE'].flatMap(
  (preference) => ['-o', preference],
)

/** Display filter for packets with a bad checksum or that cannot be what they claim to be. */
export const BAD_PACKET =
  '_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0 || vrrp.checksum.status == 0'

/** After so many same answers, so far apart, what tcpdump has not taken is nothing that it waits to take. */
const UNTAKEN_ANSWERS = 10
const UNTAKEN_PAUSE_MS = 10
/** What a file without packets holds. */
const PCAP_HEADER_BYTES = 24

export interface Capture {
  /** Resolves when there is a packet. */
  first(): Promise<void>
  /** Ends the capture at the first call. One array of field values for each packet, as tshark prints them. */
  read(fields: readonly string[]): Promise<string[][]>
  /** Every packet that tshark calls malformed or whose checksum it finds bad, in one line each. */
  complaints(): Promise<string[]>
}

/**
 * Resolves when packets are being taken. Undefined, and the test says so, on a machine without the tools: they are no part of
 * what a director needs.
 */
export async function capture(t: Test, interfaceName: string, filter: string): Promise<Capture | undefined> {
  if (['tcpdump', 'tshark'].some((tool) => spawnSync(tool, ['--version']).error)) {
    t.pass('packets are not judged: tcpdump or tshark is not installed', { skip: true })
    return undefined
  }
  const folder = mkdtempSync(join(tmpdir(), 'capture-'))
  const file = join(folder, 'packets.pcap')
  const child = spawn('tcpdump', ['-i', interfaceName, '-w', file, '-U', '--immediate-mode', '-s', '0', filter], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const exited = once(child, 'exit')
  const said = createInterface(child.stderr)
  let ended: Promise<void> | undefined
  const end = () => {
    ended ??= (async () => {
      await untilAllIsTaken(child, said)
      child.kill('SIGINT')
      await exited
    })()
    return ended
  }
  t.teardown(async () => {
    await end()
    rmSync(folder, { recursive: true })
  })
  for (let line: string | undefined = ''; !line.includes('listening on'); ) {
    line = await nextLine(said)
    if (line === undefined) throw new Error(`tcpdump cannot listen on ${interfaceName}`)
  }
  return {
    first: () => until(() => statSync(file).size > PCAP_HEADER_BYTES),
    async read(fields) {
      await end()
      const chosen = fields.flatMap((field) => ['-e', field])
      const { stdout } = await execute('tshark', ['-r', file, ...PREFERENCES, '-T', 'fields', ...chosen])
      return lines(stdout).map((line) => line.split('\t'))
    },
    async complaints() {
      await end()
      const { stdout } = await execute('tshark', ['-r', file, ...PREFERENCES, '-Y', BAD_PACKET])
      return lines(stdout)
    },
  }
}

/**
 * tcpdump leaves what it has not yet read in the kernel when it is told to end, and on a busy machine that can be all there is. Asked
 * for its counters (SIGUSR1), it says how much that is. What came between its socket and its filter counts as received, and is never
 * taken unless the filter wants it: a rest that stays the same, while tcpdump has the processor to say so, is of those.
 */
async function untilAllIsTaken(child: ChildProcess, said: Interface): Promise<void> {
  let rest = Number.NaN
  for (let same = 0; same < UNTAKEN_ANSWERS && child.exitCode === null && child.signalCode === null; ) {
    child.kill('SIGUSR1')
    const line = await nextLine(said)
    const [taken, received, dropped] = line?.match(/\d+/g)?.map(Number) ?? []
    if (line === undefined || taken + dropped >= received) return
    same = rest === received - taken - dropped ? same + 1 : 0
    rest = received - taken - dropped
    await wait(UNTAKEN_PAUSE_MS)
  }
}

/** Undefined when there will be none. */
function nextLine(said: Interface): Promise<string | undefined> {
  return new Promise((resolve) => {
    said.once('line', resolve)
    said.once('close', () => resolve(undefined))
  })
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '')
}
