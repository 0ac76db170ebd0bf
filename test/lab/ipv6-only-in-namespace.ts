/** Started by ipv6-only.test.ts inside a network namespace of its own. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import tap, { type Test, test } from 'tap'
import type { DirectorStatus } from '../../node/director/control/answers.ts'
import { request } from '../../node/director/control/client.ts'
import { createNamespace, createVethPair, ip, type Namespace, waitUntilUp } from '../forwarder/namespace.ts'
import { capture } from '../interop/capture.ts'
import { BASH } from '../support/bash.ts'
import { eventually } from './lab-directors.ts'

const COMMAND = join(import.meta.dirname, '../../node/cli/director.ts')
const VSADM = join(import.meta.dirname, '../../node/cli/vsadm.ts')
const VIP = '2001:db8:1::100'
const GATEWAY = 'fe80::1'

const client = await createNamespace()
const server = await createNamespace()
tap.teardown(() => {
  client.close()
  server.close()
})
createVethPair('outside', 'client0')
createVethPair('inside', 'server0')
ip(`link set client0 netns ${client.pid}\nlink set server0 netns ${server.pid}\nlink set lo up`)
ip('address add 2001:db8:1::9/64 dev client0 nodad\nlink set client0 up', client)
ip(
  'address add 2001:db8:2::9/64 dev server0 nodad\naddress add fe80::9/64 dev server0 nodad\nlink set server0 up',
  server,
)
waitUntilUp('outside')
waitUntilUp('inside')

const folder = tap.testdir()

function startDirector(changes: object = {}): ChildProcess {
  const configuration = {
    name: 'd1',
    interfaces: { outside: 'outside', inside: 'inside' },
    store: join(folder, 'store'),
    control: join(folder, 'c.sock'),
    cluster: { listen: '[2001:db8:1::2]:7946' },
    vips: [{ vrid: 51, addresses: ['2001:db8:1:0::100'], gateway: GATEWAY }],
    health: { intervalMs: 100 },
    connections: 1024,
    logLevel: 'warn',
    ...changes,
  }
  const file = join(folder, 'director.yaml')
  writeFileSync(file, JSON.stringify(configuration))
  return spawn(process.execPath, [COMMAND, 'node', '--config', file], { stdio: ['ignore', 'inherit', 'pipe'] })
}

async function refusal(changes: object = {}): Promise<string> {
  const child = startDirector(changes)
  const [said] = await Promise.all([text(child.stderr!), once(child, 'close')])
  return said
}

function inNamespace({ enter }: { enter: readonly string[] }, ...command: string[]): string {
  const [program, ...rest] = [...enter, ...command]
  return spawnSync(program, rest, { encoding: 'utf8' }).stdout
}

/** A web server whose default gateway is the director's, by its link-local address. */
function startServer(t: Test): void {
  ip(`-6 route add default via ${GATEWAY} dev server0`, server)
  const script = `require('http').createServer(({ socket }, answer) => answer.end('asked by ' + socket.remoteAddress)).listen(8080, '::')`
  const [program, ...rest] = [...server.enter, process.execPath, '-e', script]
  const child = spawn(program, rest, { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
}

/** @throws Error unless it ends well */
function vsadm(...words: string[]): string {
  const env = { ...process.env, DIRECTOR_SOCKET: join(folder, 'c.sock') }
  return execFileSync(process.execPath, [VSADM, ...words], { encoding: 'utf8', env })
}

/** What the kernel of a namespace learns when it asks for an address. */
function neighbourOf(namespace: Namespace, address: string, zone = ''): Promise<string> {
  return eventually(`${address} answers`, async () => {
    inNamespace(namespace, ...BASH, `echo > /dev/udp/${address}${zone}/9`)
    const known = inNamespace(namespace, 'ip', '-6', 'neighbor', 'show', address)
    return known.includes('lladdr') ? known : undefined
  })
}

test('an interface without what IPv6 needs is named, with the command that mends it', async (t) => {
  t.match(
    await refusal(),
    /^director: outside: has no address of its own but link-local ones: ip address add .*\(INTERFACE_MISSING\)/m,
  )
  ip('address add 2001:db8:1::2/64 dev outside nodad\naddress add 2001:db8:2::2/64 dev inside nodad')
  t.match(
    await refusal(),
    /^director: outside: has no usable link-local IPv6 address, from which VRRP would speak for 2001:db8:1::100: ip address add fe80::1\/64 dev outside/m,
  )
  t.match(
    await refusal({ vips: [{ vrid: 51, addresses: ['10.0.0.100'] }] }),
    /^director: outside: has no IPv4 address, from which VRRP would speak for 10\.0\.0\.100: ip address add/m,
  )
})

test('a director takes its VIP, answers neighbours, serves by NAT, and leaves when told to', async (t) => {
  // Without "nodad": the kernel still makes sure of them while the director starts.
  ip('address add fe80::2/64 dev outside\naddress add fe80::2/64 dev inside')
  const announced = await capture(t, 'outside', 'icmp6 and ip6[40] == 136')
  const director = startDirector()
  const ended = once(director, 'exit')
  const said = text(director.stderr!)
  t.teardown(() => director.kill('SIGKILL'))
  const status = async () => (await request(join(folder, 'c.sock'), 'GET', '/status')) as DirectorStatus
  const vips = await eventually('the VIP is held', async () => {
    const { vips } = await status()
    return vips[0].state === 'active' ? vips : undefined
  })
  t.match(vips, [{ addresses: [VIP], gateway: GATEWAY, holder: 'fe80::2' }])

  const [mac] = /([0-9a-f]{2}:){5}[0-9a-f]{2}/.exec(inNamespace({ enter: [] }, 'ip', 'link', 'show', 'outside'))!
  t.match(await neighbourOf(client, VIP), `lladdr ${mac} router`)
  t.match(await neighbourOf(server, GATEWAY, '%server0'), /lladdr .* router/, 'the inside gateway answers too')

  startServer(t)
  vsadm('-A', '-t', `[2001:DB8:1:0::100]:80`, '-s', 'rr')
  vsadm('-a', '-t', `[${VIP}]:80`, '-r', '[2001:db8:2:0::9]:8080', '-m')
  await eventually('the server is found healthy', async () => {
    const [{ address, health }] = (await status()).services[0].servers
    return address === '2001:db8:2::9' && health === 'up' ? true : undefined
  })
  const ask = `exec 3<>/dev/tcp/${VIP}/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`
  t.match(inNamespace(client, ...BASH, ask), /asked by 2001:db8:1::9$/)
  t.match(vsadm('-Ln', '-t', `[${VIP}]:80`), /-> \[2001:db8:2::9\]:8080 +Masq +1 +\d+ +\d+/)
  t.match(vsadm('-Lnc'), /\[2001:db8:1::9\]:\d+ +\[2001:db8:1::100\]:80 +\[2001:db8:2::9\]:8080/)
  vsadm('-D', '-t', '[2001:0db8:1::100]:80')
  t.same((await status()).services, [])

  director.kill('SIGTERM')
  t.same(await ended, [0, null], await said)
  if (!announced) return
  const advertisements = await announced.read(['ipv6.dst', 'icmpv6.nd.na.target_address', 'icmpv6.nd.na.flag.o'])
  t.ok(
    advertisements.some(([to, target, override]) => to === 'ff02::1' && target === VIP && /1|True/.test(override)),
    'the takeover was announced',
  )
  t.same(await announced.complaints(), [])
})
