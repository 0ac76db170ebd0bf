/** Started by keepalived.test.ts inside a network namespace of its own. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import tap, { type Test, test } from 'tap'
import { createNamespace, createVethPair, ip, type Namespace, waitUntilUp } from '../forwarder/namespace.ts'
import { startPeer } from '../node/director/vip/peer-process.ts'
import { until } from '../until.ts'
import { capture } from './capture.ts'

const other = await createNamespace()
tap.teardown(() => other.close())
createVethPair('ours', 'theirs')
ip(`link set theirs netns ${other.pid}`)
ip('address add 10.0.0.1/24 dev ours')
ip('link set lo up\naddress add 10.0.0.2/24 dev theirs\nlink set theirs up', other)
ip('address add fe80::1/64 dev ours nodad')
ip('address add fe80::2/64 dev theirs nodad', other)
waitUntilUp('ours')

const FAMILIES = [
  { family: 'IPv4', holder: '10.0.0.2', filter: 'ip proto 112', addresses: ['10.0.0.100'] },
  // The RFC wants a link-local address first, and keepalived looks for it.
  { family: 'IPv6', holder: 'fe80::2', filter: 'ip6 proto 112', addresses: ['fe80::100', '2001:db8:1::100'] },
]

interface Keepalived {
  readonly log: string[]
  /** Whether its last reported state is this one. */
  is(state: 'MASTER' | 'BACKUP'): boolean
  end(signal: NodeJS.Signals): Promise<void>
}

function startKeepalived(t: Test, namespace: Namespace, priority: number, addresses: string[]): Keepalived {
  const folder = mkdtempSync(join(tmpdir(), 'keepalived-'))
  const file = join(folder, 'keepalived.conf')
  writeFileSync(
    file,
    `global_defs {
  vrrp_version 3
}
vrrp_instance pool {
  state BACKUP
  interface theirs
  virtual_router_id 51
  priority ${priority}
  advert_int 0.05
  virtual_ipaddress {
    ${addresses.map((address) => `${address}/${address.includes(':') ? 128 : 32}`).join('\n    ')}
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

for (const { family, holder, filter, addresses } of FAMILIES) {
  test(`keepalived yields to a director of higher priority over ${family}, and takes over when that resigns`, async (t) => {
    const traffic = await capture(t, 'ours', filter)
    const keepalived = startKeepalived(t, other, 100, addresses)
    await until(() => keepalived.is('MASTER'))
    const director = startPeer('ours', { priority: 150, addresses })
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

  test(`a director yields to a keepalived of higher priority over ${family}, and takes over when that stops`, async (t) => {
    const director = startPeer('ours', { priority: 100, addresses })
    t.teardown(() => director.end('SIGKILL'))
    await until(() => director.status()?.state === 'active')
    const keepalived = startKeepalived(t, other, 150, addresses)
    await until(() => director.status()?.state === 'backup' && director.status()?.holder === holder)
    await keepalived.end('SIGTERM')
    await until(() => director.status()?.state === 'active')
    t.same(director.status()?.refusals, {}, 'the director finds nothing wrong')
  })
}
