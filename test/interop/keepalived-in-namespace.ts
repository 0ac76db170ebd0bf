/** Started by keepalived.test.ts inside a network namespace of its own. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import tap, { type Test, test } from 'tap'
import type { VipConfig } from '../../node/director/vip/vip-config.ts'
import { createNeighbour, type Namespace } from '../forwarder/namespace.ts'
import { startPeer } from '../node/director/vip/peer-process.ts'
import { until } from '../until.ts'
import { capture } from './capture.ts'

const other = await createNeighbour('ours', 'theirs')
tap.teardown(() => other.close())

const VIPS = ['10.0.0.100']

interface Dialect {
  readonly dialect: string
  /** What both are told besides the priority, each in its own way. */
  readonly ours: Partial<VipConfig>
  readonly theirs: {
    readonly version: 2 | 3
    readonly seconds: number
    readonly unicast?: readonly [self: string, peer: string]
  }
  /** Their address, as the director sees it. */
  readonly holder: string
  readonly filter: string
}

const DIALECTS: readonly Dialect[] = [
  {
    dialect: 'IPv4',
    ours: { addresses: VIPS },
    theirs: { version: 3, seconds: 0.05 },
    holder: '10.0.0.2',
    filter: 'ip proto 112',
  },
  {
    dialect: 'IPv6',
    // The RFC wants a link-local address first, and keepalived looks for it.
    ours: { addresses: ['fe80::100', '2001:db8:1::100'] },
    theirs: { version: 3, seconds: 0.05 },
    holder: 'fe80::2',
    filter: 'ip6 proto 112',
  },
  {
    dialect: 'IPv4 in version 2',
    // keepalived neither knows nor cares which MAC it hears.
    ours: { addresses: VIPS, version: 2, advertisementIntervalMs: 1000, virtualMac: true },
    theirs: { version: 2, seconds: 1 },
    holder: '10.0.0.2',
    filter: 'ip proto 112',
  },
  {
    dialect: 'IPv4 to named peers',
    ours: { addresses: VIPS, unicastPeers: ['10.0.0.2'] },
    theirs: { version: 3, seconds: 0.05, unicast: ['10.0.0.2', '10.0.0.1'] },
    holder: '10.0.0.2',
    filter: 'ip proto 112 and not multicast',
  },
  {
    dialect: 'IPv6 to named peers',
    ours: { addresses: ['fe80::100', '2001:db8:1::100'], unicastPeers: ['2001:db8:1::2'] },
    theirs: { version: 3, seconds: 0.05, unicast: ['2001:db8:1::2', '2001:db8:1::1'] },
    holder: '2001:db8:1::2',
    filter: 'ip6 proto 112 and not multicast',
  },
]

interface Keepalived {
  readonly log: string[]
  /** Whether its last reported state is this one. */
  is(state: 'MASTER' | 'BACKUP'): boolean
  end(signal: NodeJS.Signals): Promise<void>
}

function startKeepalived(t: Test, namespace: Namespace, priority: number, { ours, theirs }: Dialect): Keepalived {
  const folder = mkdtempSync(join(tmpdir(), 'keepalived-'))
  const file = join(folder, 'keepalived.conf')
  const { version, seconds, unicast } = theirs
  // At one advertisement a second, a start as backup would take as long as all else.
  const state = seconds < 1 ? 'BACKUP' : 'MASTER'
  const peers = unicast && `unicast_src_ip ${unicast[0]}\n  unicast_peer {\n    ${unicast[1]}\n  }`
  writeFileSync(
    file,
    `global_defs {
  vrrp_version ${version}
}
vrrp_instance pool {
  state ${state}
  interface theirs
  virtual_router_id 51
  priority ${priority}
  advert_int ${seconds}
  ${peers ?? ''}
  virtual_ipaddress {
    ${ours.addresses?.map((address) => `${address}/${address.includes(':') ? 128 : 32}`).join('\n    ')}
  }
}
`,
  )
  const [command, ...rest] = [
    ...namespace.enter,
    ...['keepalived', '--dont-fork', '--log-console', '--vrrp', '--use-file', file],
    ...['--pid', join(folder, 'pid'), '--vrrp_pid', join(folder, 'vrrp.pid')],
  ]
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
  const log: string[] = []
  for (const stream of [child.stdout, child.stderr]) createInterface(stream).on('line', (line) => log.push(line))
  const exited = once(child, 'exit')
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    await exited
  }
  t.teardown(async () => {
    await end('SIGTERM')
    rmSync(folder, { recursive: true })
  })
  const entered = /Entering (MASTER|BACKUP) STATE/
  return { log, end, is: (state) => log.findLast((line) => entered.test(line))?.includes(`Entering ${state}`) ?? false }
}

for (const dialect of DIALECTS) {
  const { dialect: name, ours, holder, filter } = dialect
  test(`keepalived yields to a director of higher priority over ${name}, and takes over when that resigns`, async (t) => {
    const traffic = await capture(t, 'ours', filter)
    const keepalived = startKeepalived(t, other, 100, dialect)
    await until(() => keepalived.is('MASTER'))
    const director = startPeer('ours', { ...ours, priority: 150 })
    t.teardown(() => director.end('SIGKILL'))
    await until(() => keepalived.is('BACKUP') && director.status()?.state === 'active')
    await director.end('SIGTERM')
    await until(() => keepalived.is('MASTER'))
    t.same(
      keepalived.log.filter((line) => /invalid|error|ignor|discard|mismatch/i.test(line)),
      [],
      'keepalived finds nothing wrong',
    )
    if (traffic) t.same(await traffic.complaints(), [])
  })

  test(`a director yields to a keepalived of higher priority over ${name}, and takes over when that stops`, async (t) => {
    const director = startPeer('ours', { ...ours, priority: 100 })
    t.teardown(() => director.end('SIGKILL'))
    await until(() => director.status()?.state === 'active')
    const keepalived = startKeepalived(t, other, 150, dialect)
    await until(() => director.status()?.state === 'backup' && director.status()?.holder === holder)
    await keepalived.end('SIGTERM')
    await until(() => director.status()?.state === 'active')
    t.same(director.status()?.refusals, {}, 'the director finds nothing wrong')
  })
}
