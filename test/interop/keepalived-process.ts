/** keepalived as a process, in a namespace, with a configuration of its own (keepalived.conf(5)); and what it says of itself. */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import type { Namespace } from '../forwarder/namespace.ts'
import { endsWithTest } from '../support/own-process.ts'

/** A vrrp_instance. */
export interface VrrpInstance {
  readonly name: string
  readonly vrid: number
  readonly version: 2 | 3
  readonly priority: number
  readonly seconds: number
  readonly addresses: readonly string[]
  readonly unicast?: readonly [self: string, peer: string]
  /** Another line of it. */
  readonly line?: string
}

export interface Keepalived {
  readonly log: string[]
  /** Whether the last reported state is this one, of every instance unless one is named. */
  is(state: 'MASTER' | 'BACKUP', name?: string): boolean
  /** What it finds wrong: that it discards a lower priority's advertisement is not that. */
  complaints(): string[]
  end(signal: NodeJS.Signals): Promise<void>
}

/** Why keepalived does not take part here; undefined: it does. @param least the version from which on it can, as in [2, 2, 8] */
export function missingKeepalived(least: readonly number[] = []): string | undefined {
  const { error, stderr } = spawnSync('keepalived', ['--version'], { encoding: 'utf8' })
  if (error) return 'keepalived is not installed'
  const [, version] = /Keepalived v([\d.]+)/.exec(stderr) ?? []
  const parts = version?.split('.').map(Number) ?? []
  const at = least.findIndex((part, index) => part !== parts[index])
  if (at < 0 || parts[at] > least[at]) return undefined
  return `keepalived ${version} is older than ${least.join('.')}`
}

/** Speaks VRRP on the interface "theirs". */
export function startKeepalived(t: Test, namespace: Namespace, instances: readonly VrrpInstance[]): Keepalived {
  const folder = mkdtempSync(join(tmpdir(), 'keepalived-'))
  const file = join(folder, 'keepalived.conf')
  writeFileSync(file, instances.map(configurationOf).join(''))
  const [command, ...rest] = [
    ...namespace.enter,
    ...['keepalived', '--dont-fork', '--log-console', '--vrrp', '--use-file', file],
    ...['--pid', join(folder, 'pid'), '--vrrp_pid', join(folder, 'vrrp.pid')],
  ]
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
  const log: string[] = []
  for (const stream of [child.stdout, child.stderr]) createInterface(stream).on('line', (line) => log.push(line))
  const end = endsWithTest(t, child, folder, 'SIGTERM')
  const stateOf = (name: string) =>
    log.map((line) => line.match(/\((.+)\) Entering (\w+) STATE/)).findLast((match) => match?.[1] === name)?.[2]
  return {
    log,
    end,
    is: (state, name) => instances.every((each) => (name ?? each.name) !== each.name || stateOf(each.name) === state),
    complaints: () =>
      log.filter((line) => /invalid|error|ignor|discard|mismatch/i.test(line) && !/received lower priority/.test(line)),
  }
}

function configurationOf(instance: VrrpInstance): string {
  const { name, vrid, version, priority, seconds, addresses, unicast, line } = instance
  // At one advertisement a second, a start as backup would take as long as all else.
  const state = seconds < 1 ? 'BACKUP' : 'MASTER'
  const peers = unicast && `unicast_src_ip ${unicast[0]}\n  unicast_peer {\n    ${unicast[1]}\n  }`
  return `vrrp_instance ${name} {
  version ${version}
  state ${state}
  interface theirs
  virtual_router_id ${vrid}
  priority ${priority}
  advert_int ${seconds}
  ${peers ?? ''}
  ${line ?? ''}
  virtual_ipaddress {
    ${addresses.map((address) => `${address}/${address.includes(':') ? 128 : 32}`).join('\n    ')}
  }
}
`
}
