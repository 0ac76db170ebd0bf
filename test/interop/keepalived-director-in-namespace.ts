/** Started by keepalived-director.test.ts inside a network namespace of its own. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tap, { type Test, test } from 'tap'
import { programFile } from '../../forwarder/program-file.ts'
import type { DirectorStatus } from '../../node/director/control/answers.ts'
import { request } from '../../node/director/control/client.ts'
import { createNeighbour, createVethPair, ip, type Namespace } from '../forwarder/namespace.ts'
import { eventually } from '../lab/lab-directors.ts'
import { BASH } from '../support/bash.ts'
import { endsWithTest } from '../support/own-process.ts'
import { type Capture, capture } from './capture.ts'
import { type Keepalived, startKeepalived } from './keepalived-process.ts'

/** What a new namespace may have from the machine, and a director refuses. */
writeFileSync('/proc/sys/net/ipv4/ip_forward', '0')
const here = { enter: [] }
const other = await createNeighbour('ours', 'theirs')
tap.teardown(() => other.close())
const ourMac = macOf('ours', here)
const theirMac = macOf('theirs', other)

interface Director {
  status(): Promise<DirectorStatus>
  end(signal: NodeJS.Signals): Promise<void>
}

/** @param vips as the file has them */
function startDirector(t: Test, vips: string): Director {
  const folder = mkdtempSync(join(tmpdir(), 'director-'))
  const file = join(folder, 'director.yaml')
  const control = join(folder, 'control.sock')
  writeFileSync(
    file,
    `name: d1
interfaces: { outside: ours }
store: ${folder}/store
control: ${control}
cluster: { listen: 10.0.0.1:7946 }
connections: 1024
vips:
${vips}
`,
  )
  const words = [programFile('node/cli/director'), 'node', '--config', file]
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'ignore', 'inherit'] })
  const end = endsWithTest(t, child, folder, 'SIGKILL')
  return { end, status: async () => (await request(control, 'GET', '/status')) as DirectorStatus }
}

function macOf(name: string, { enter }: Pick<Namespace, 'enter'>): string {
  const [command, ...rest] = [...enter, 'ip', '-json', 'link', 'show', name]
  return JSON.parse(execFileSync(command, rest, { encoding: 'utf8' }))[0].address
}

/** The MAC to which a host sends what is for an address, once it has sent something. */
function neighbourOf({ enter }: Pick<Namespace, 'enter'>, address: string): string | undefined {
  const run = (...words: string[]) => {
    const [command, ...rest] = [...enter, ...words]
    return spawnSync(command, rest, { encoding: 'utf8' }).stdout
  }
  run(...BASH, `echo > /dev/udp/${address}/9`)
  return /lladdr (\S+)/.exec(run('ip', 'neighbor', 'show', address))?.[1]
}

/** Waits until a director has all of its addresses, and both keepalived and its host see it so. */
function directorHolds(director: Director, keepalived?: Keepalived): Promise<DirectorStatus> {
  return eventually('the director holds the addresses', async () => {
    const status = await director.status()
    const { vips } = status
    const isSo = vips.every(({ state }) => state === 'active') && keepalived?.is('BACKUP') !== false
    const addresses = vips.flatMap(({ addresses }) => addresses)
    return isSo && addresses.every((address) => neighbourOf(other, address) === ourMac) ? status : undefined
  })
}

/** Waits until keepalived has all the addresses, and the director and its host see it so. */
function keepalivedHolds(keepalived: Keepalived, director: Director): Promise<DirectorStatus> {
  return eventually('keepalived holds the addresses', async () => {
    const status = await director.status()
    const { vips } = status
    const isSo =
      vips.every(({ state, holder }) => state !== 'active' && holder === '10.0.0.2') && keepalived.is('MASTER')
    const addresses = vips.flatMap(({ addresses }) => addresses)
    return isSo && addresses.every((address) => neighbourOf(here, address) === theirMac) ? status : undefined
  })
}

/** The director holds the addresses and leaves them to the keepalived that runs, the last; none of them has found anything wrong. */
async function endWell(t: Test, director: Director, keepaliveds: readonly Keepalived[], traffic: Capture | undefined) {
  const last = keepaliveds[keepaliveds.length - 1]
  const { refusedAdvertisements } = await directorHolds(director, last)
  t.same(refusedAdvertisements, {}, 'the director finds nothing wrong')
  await director.end('SIGTERM')
  await eventually('keepalived is alone again', async () => last.is('MASTER') || undefined)
  t.same(
    keepaliveds.flatMap((each) => each.complaints()),
    [],
    'keepalived finds nothing wrong',
  )
  if (traffic) t.same(await traffic.complaints(), [])
}

test('version 3 by multicast: a VIP follows the priority as a tracked script fails and is well again', async (t) => {
  const traffic = await capture(t, 'ours', 'ip proto 112')
  const uplink = join(t.testdir({ uplink: '' }), 'uplink')
  const start = () =>
    startKeepalived(t, other, [
      { name: 'web', vrid: 51, version: 3, priority: 100, seconds: 0.5, addresses: ['10.0.0.100'] },
    ])
  const first = start()
  await eventually('keepalived is alone', async () => first.is('MASTER') || undefined)
  const director = startDirector(
    t,
    `  - vrid: 51
    priority: 150
    advertisementIntervalMs: 500
    addresses: [10.0.0.100]
    track:
      scripts:
        - { command: [/usr/bin/test, -e, ${uplink}], intervalMs: 200, timeoutMs: 5000, weight: -60 }`,
  )
  t.match((await directorHolds(director, first)).vips, [{ effectivePriority: 150, tracked: [{ state: 'up' }] }])

  rmSync(uplink)
  t.match((await keepalivedHolds(first, director)).vips, [
    { state: 'backup', effectivePriority: 90, tracked: [{ state: 'down', reason: /1/ }] },
  ])
  await first.end('SIGTERM')
  await directorHolds(director)
  const second = start()
  await keepalivedHolds(second, director)

  writeFileSync(uplink, '')
  await endWell(t, director, [first, second], traffic)
})

test('version 2 by unicast: groups of a sync group move together, for a better rival of one and for the tracked interface of one', async (t) => {
  const traffic = await capture(t, 'ours', 'ip proto 112')
  createVethPair('uplink', 'far')
  t.teardown(() => ip('link delete uplink'))
  const common = 'version: 2, priority: 150, unicastPeers: [10.0.0.2], syncGroup: site'
  const director = startDirector(
    t,
    `  - { vrid: 61, addresses: [10.0.0.101], ${common}, track: { interfaces: [{ name: uplink }] } }
  - { vrid: 62, addresses: [10.0.0.102], ${common} }`,
  )
  const start = (priority: number) => {
    const shared = { version: 2, seconds: 1, unicast: ['10.0.0.2', '10.0.0.1'] } as const
    return startKeepalived(t, other, [
      { name: 'first', vrid: 61, priority, addresses: ['10.0.0.101'], ...shared },
      { name: 'second', vrid: 62, priority: 100, addresses: ['10.0.0.102'], ...shared },
    ])
  }
  await directorHolds(director)

  const better = start(200)
  t.match((await keepalivedHolds(better, director)).vips, [
    { state: 'backup', syncGroup: 'site' },
    { state: 'backup', syncGroup: 'site' },
  ])
  await better.end('SIGTERM')
  await directorHolds(director)
  const worse = start(100)
  await directorHolds(director, worse)

  ip('link set far down')
  t.match((await keepalivedHolds(worse, director)).vips, [
    { state: 'fault', waiting: /^uplink/, tracked: [{ name: 'uplink', state: 'down' }] },
    { state: 'fault', waiting: /^vrid 61 of sync group site: uplink/ },
  ])
  ip('link set far up')
  await endWell(t, director, [better, worse], traffic)
})
