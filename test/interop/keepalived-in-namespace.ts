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
waitUntilUp('ours')

interface Keepalived {
  readonly log: string[]
  /** Whether its last reported state is this one. */
  is(state: 'MASTER' | 'BACKUP'): boolean
  end(signal: NodeJS.Signals): Promise<void>
}

function startKeepalived(t: Test, namespace: Namespace, priority: number): Keepalived {
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
    10.0.0.100/32
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

test('keepalived yields to a director of higher priority, and takes over when that resigns', async (t) => {
  const traffic = await capture(t, 'ours', 'ip proto 112')
  const keepalived = startKeepalived(t, other, 100)
  await until(() => keepalived.is('MASTER'))
  const director = startPeer('ours', { priority: 150 })
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

test('a director yields to a keepalived of higher priority, and takes over when that stops', async (t) => {
  const director = startPeer('ours', { priority: 100 })
  t.teardown(() => director.end('SIGKILL'))
  await until(() => director.status()?.state === 'active')
  const keepalived = startKeepalived(t, other, 150)
  await until(() => director.status()?.state === 'backup' && director.status()?.holder === '10.0.0.2')
  await keepalived.end('SIGTERM')
  await until(() => director.status()?.state === 'active')
  t.same(director.status()?.refusals, {}, 'the director finds nothing wrong')
})
