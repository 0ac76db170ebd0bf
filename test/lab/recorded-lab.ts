/**
 * The network of test/reference/traffic.jsonl: a client with many addresses, a director between two networks, and three real servers
 * on the inner one that hold the VIP as well and answer for it without the director (LVS-DR, LVS-TUN).
 *
 *     outside 10.1.0.0/24   VIP .100, director .11, client .2 and .101 to .140, servers .51 to .53 for their replies
 *     inside  10.2.0.0/24   gateway .1, director .251, servers .11 to .13
 *
 * and of IPv6 the same in fd00:1::/64 and fd00:2::/64, but the client is ::2 and ::1:101 to ::1:140 there, and takes the last by itself.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DirectorStatus } from '../../node/director/control/answers.ts'
import { untilInterrupted } from '../../node/drill/interruption.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { createNetwork, destroyNetwork, inNamespace } from '../../node/drill/lab-network.ts'
import { FAMILIES, type Family, GATEWAY_ADDRESSES, planLab, VIRTUAL_ADDRESSES } from '../../node/drill/lab-plan.ts'
import { controlSocketOf, logsOf } from '../../node/drill/lab-programs.ts'
import { claimLab, releaseLab } from '../../node/drill/lab-state.ts'
import { ask, endProcess, eventually, startDirector } from './lab-directors.ts'
import { runOn, startOnHost } from './lab-traffic.ts'
import { startNamedServer } from './named-programs.ts'
import { startCommand } from './run-director.ts'
import { unlessAborted } from './test-lab.ts'

export const CLIENT_ADDRESSES: Readonly<Record<Family, string>> = { ipv4: '10.1.0.2', ipv6: 'fd00:1::1:140' }
/** For what is about IPv4 alone. */
export const CLIENT_ADDRESS = CLIENT_ADDRESSES.ipv4
export const TCP_PORT = 8000
export const UDP_PORT = 5353
export const SINK_PORT = 8090
/** The recorded real server did not answer a client's port. */
export const SHUNNED_PORT = 42010
/** Ports that the client's kernel chooses: none that is in the recordings by intention. */
const CHOSEN_PORTS = '50000 60999'
/** TCP sends nothing again because of a busy machine, so that bytes are as recorded; kernels before 6.11 lack the first. */
const PATIENT_TCP = ['net.ipv4.tcp_rto_min_us=5000000', 'net.ipv4.tcp_early_retrans=0']
/** Of replies from the VIP. */
const TABLE = 100
/** On a machine that has much else to do. */
const START_WITHIN_MS = 45_000
const NUMBERS = [1, 2, 3]
const OUTSIDE_PREFIXES = { ipv4: '10.1.0.0/24', ipv6: 'fd00:1::/64' } as const

export async function withRecordedLab(name: string, work: (lab: Lab) => Promise<void>): Promise<void> {
  const plan = planLab({ name, directors: 1, servers: NUMBERS.length, clients: 1, method: 'nat' })
  const lab: Lab = { plan, folder: claimLab(plan), bulkFiles: [], processes: [], startDirector: () => {} }
  await untilInterrupted(async (signal) => {
    try {
      await createNetwork(plan)
      await unlessAborted(signal, async () => {
        await addHosts(lab)
        await work(lab)
      })
    } finally {
      await destroyNetwork(name)
      releaseLab(name)
    }
  })
}

/** Runs `work` with a director that knows nothing yet, and ends it. */
export async function withFreshDirector(lab: Lab, store: string, work: () => Promise<void>): Promise<void> {
  const file = join(lab.folder, 'd1', 'director.yaml')
  const configuration = {
    name: 'd1',
    interfaces: { outside: 'outside', inside: 'inside' },
    store: join(lab.folder, 'd1', store),
    control: controlSocketOf(lab.folder, 'd1'),
    cluster: { listen: '10.1.0.11:7946' },
    vips: FAMILIES.map((family) => ({
      vrid: 51,
      addresses: [VIRTUAL_ADDRESSES[family]],
      gateway: GATEWAY_ADDRESSES[family],
    })),
    // The recorded director did not look after its servers.
    health: { intervalMs: 3_600_000 },
    connections: 1024,
  }
  writeFileSync(file, JSON.stringify(configuration))
  const { child, outcome } = startDirector(lab, 'd1', file)
  const ended = outcome.then(({ code, stderr }) => Promise.reject(new Error(`the director ended: ${code} ${stderr}`)))
  ended.catch(() => {})
  const isActive = async () => {
    const { vips } = await ask<DirectorStatus>(lab, 'd1', '/status')
    return vips.every(({ state }) => state === 'active') || undefined
  }
  try {
    await Promise.race([eventually('the director is active', isActive, START_WITHIN_MS), ended])
    await work()
  } finally {
    await endProcess(child, 'SIGKILL')
  }
}

async function addHosts(lab: Lab): Promise<void> {
  mkdirSync(logsOf(lab.folder))
  for (const host of lab.plan.hosts) mkdirSync(join(lab.folder, host.name))
  await Promise.all([addClient(lab), ...NUMBERS.map((number) => addServer(lab, number))])
}

async function addClient(lab: Lab): Promise<void> {
  const commands = [`address add ${CLIENT_ADDRESS}/32 dev outside`, 'address add fd00:1::2/128 dev outside nodad']
  for (let host = 101; host <= 140; host++) {
    commands.push(`address add 10.1.0.${host}/32 dev outside`, `address add fd00:1::1:${host}/128 dev outside nodad`)
  }
  // In the place of the kernel's own routes, of which IPv6's has this metric.
  commands.push(`route replace ${OUTSIDE_PREFIXES.ipv4} dev outside src ${CLIENT_ADDRESSES.ipv4}`)
  commands.push(`route replace ${OUTSIDE_PREFIXES.ipv6} dev outside src ${CLIENT_ADDRESSES.ipv6} metric 256`)
  await runOn(lab, 'c1', ['ip', '-batch', '-'], commands.join('\n'))
  // Ports of one case are free for the next.
  const settings = ['net.ipv4.tcp_max_tw_buckets=0', `net.ipv4.ip_local_port_range=${CHOSEN_PORTS}`]
  await runOn(lab, 'c1', ['sysctl', '-q', '-e', ...settings, ...PATIENT_TCP])
}

async function addServer(lab: Lab, number: number): Promise<void> {
  const host = `s${number}`
  const namespace = lab.plan.hosts.find(({ name }) => name === host)!.namespace
  await runIn(lab, [
    `link add ${host}-outside type veth peer name outside netns ${namespace}`,
    `link set ${host}-outside master outside up`,
  ])
  const settings = ['net.ipv4.conf.all.arp_ignore=1', 'net.ipv4.conf.all.arp_announce=2', ...PATIENT_TCP]
  await runOn(lab, host, ['sysctl', '-q', '-e', ...settings])
  const commands = [
    `address add ${VIRTUAL_ADDRESSES.ipv4}/32 dev lo`,
    `address add ${VIRTUAL_ADDRESSES.ipv6}/128 dev lo nodad`,
    // No way to the clients of its own: replies of NAT go by the gateway.
    `address add 10.1.0.${50 + number}/32 dev outside`,
    `address add fd00:1::${50 + number}/128 dev outside nodad`,
    'link set outside up',
    ...Object.values(OUTSIDE_PREFIXES).map((prefix) => `route add ${prefix} dev outside table ${TABLE}`),
    `rule add pref 1 ipproto tcp dport ${SHUNNED_PORT} blackhole`,
  ]
  await runOn(lab, host, ['ip', '-batch', '-'], commands.join('\n'))
  for (const [family, address] of Object.entries(VIRTUAL_ADDRESSES)) {
    const words = ['rule', 'add', 'pref', '2', 'from', address, 'lookup', String(TABLE)]
    await runOn(lab, host, ['ip', '-family', family === 'ipv6' ? 'inet6' : 'inet', ...words])
  }
  await startTunnelEnd(lab, host)
  await startNamedServer(lab, host, {
    name: `rs${number}`,
    udpPort: UDP_PORT,
    tcpPort: TCP_PORT,
    webPort: 80,
    sinkPort: SINK_PORT,
    addresses: [`10.2.0.${10 + number}`, `fd00:2::${10 + number}`, ...Object.values(VIRTUAL_ADDRESSES)],
  })
}

/** An agent that ends the tunnel and whose reports nobody hears. */
async function startTunnelEnd(lab: Lab, host: string): Promise<void> {
  const keyFile = join(lab.folder, host, 'agent.key')
  writeFileSync(keyFile, `${'0'.repeat(64)}\n`, { mode: 0o600 })
  const program = join(import.meta.dirname, '../../node/cli/director.ts')
  const silent = ['--director', '127.0.0.1:9', '--interval', '60000', '--key-file', keyFile]
  const command = [process.execPath, program, 'agent', ...silent]
  for (const address of Object.values(VIRTUAL_ADDRESSES)) command.push('--decapsulate', address)
  startOnHost(lab, host, 'agent', command)
  await eventually(`${host} ends tunnels`, async () => {
    const addresses = await runOn(lab, host, ['ip', 'address', 'show', 'dev', 'director0'])
    return Object.values(VIRTUAL_ADDRESSES).every((address) => addresses.includes(address)) || undefined
  })
}

/** Runs commands of ip(8) in the switch's namespace. */
async function runIn({ plan }: Lab, commands: readonly string[]): Promise<void> {
  for (const command of commands) {
    const { code, stderr } = await startCommand(inNamespace(plan.switchNamespace, ['ip', ...command.split(' ')]))
      .outcome
    if (code !== 0) throw new Error(`ip ${command}: ${stderr}`)
  }
}
