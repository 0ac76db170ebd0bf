/** tshark as judge of what is on an interface: a capture that a test starts, and reads when it is done. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import type { Test } from 'tap'

const execute = promisify(execFile)
/** Wireshark leaves these unchecked unless it is told to. */
export const PREFERENCES = ['ip.check_checksum:TRUE', 'tcp.check_checksum:TRUE', 'udp.check_checksum:TRUE'].flatMap(
  (preference) => ['-o', preference],
)

/** Display filter for packets with a bad checksum or that cannot be what they claim to be. */
export const BAD_PACKET =
  '_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0 || vrrp.checksum.status == 0'

export interface Capture {
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
  const end = async () => {
    child.kill('SIGINT')
    await exited
  }
  t.teardown(async () => {
    await end()
    rmSync(folder, { recursive: true })
  })
  for await (const line of createInterface(child.stderr)) if (line.includes('listening on')) break
  return {
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

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '')
}
