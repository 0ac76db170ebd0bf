/**
 * The lab's network: namespaces, a switch namespace with bridges, veth pairs whose two ends are born inside namespaces,
 * so that the machine's own namespace never sees an interface of ours. ip-netns(8), ip-link(8), bridge(8).
 *
 * Programs enter with `nsenter --net`, which unlike `ip netns exec` leaves the mount namespace alone: paths, and the
 * namespaces that are made later, stay the same for everybody. (/sys therefore shows the machine's interfaces; /proc/sys/net
 * and netlink show the namespace's.)
 */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readlinkSync, statSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { DirectorError } from '../../protocol/errors.ts'
import { belongsToLab, GATEWAY_ADDRESSES, type LabHost, type LabPlan, VIRTUAL_ADDRESSES } from './lab-plan.ts'

const NAMESPACE_FOLDER = '/run/netns'

/**
 * A new namespace takes these from the machine (net.core.devconf_inherit_init_net), and a machine with containers forwards. With BBR,
 * which may be its congestion control, clients that had lost their first packet twice waited 9 s with the third try (docs/decisions/tooling.md).
 * Every kernel has Reno (RFC 5681).
 */
const SETTINGS = {
  'ipv4/tcp_congestion_control': 'reno',
  'ipv4/ip_forward': 0,
  'ipv4/conf/all/rp_filter': 0,
  'ipv4/conf/default/rp_filter': 0,
  'ipv4/conf/all/proxy_arp': 0,
  'ipv4/conf/default/proxy_arp': 0,
}
/** Nobody asks a router for an address, and nobody waits until it is certain that an address is his alone (DAD, RFC 4862). */
const HOST_SETTINGS = Object.fromEntries(
  ['all', 'default'].flatMap((scope) =>
    Object.entries({ disable_ipv6: 0, forwarding: 0, proxy_ndp: 0, accept_ra: 0, autoconf: 0, accept_dad: 0 }).map(
      ([name, value]) => [`ipv6/conf/${scope}/${name}`, value],
    ),
  ),
)
/** A switch says nothing itself. */
const SWITCH_SETTINGS = { 'ipv6/conf/default/disable_ipv6': 1 }
/**
 * A real server must neither answer for the VIP that it holds nor name it in requests of its own: LVS's "ARP problem".
 * Neighbour discovery needs no such thing: Linux asks and answers on an interface for the addresses of that interface alone.
 */
const SETTINGS_WITH_VIP = { 'ipv4/conf/all/arp_ignore': 1, 'ipv4/conf/all/arp_announce': 2 }

/** @throws DirectorError PRIVILEGE_MISSING, LAB_FAILED */
export async function createNetwork(plan: LabPlan): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw new DirectorError('PRIVILEGE_MISSING', 'a lab makes network namespaces, which only root may: run it as root')
  }
  if (!existsSync('/proc/sys/net/ipv6')) {
    throw new DirectorError(
      'LAB_FAILED',
      'this kernel runs without IPv6, which a lab has too: start it without ipv6.disable',
    )
  }
  const hosts = plan.hosts.map((host) => host.namespace)
  const namespaces = [plan.switchNamespace, ...hosts]
  await ipBatch(
    undefined,
    namespaces.map((namespace) => `netns add ${namespace}`),
  )
  // Before the links exist, so that they are born with it.
  await Promise.all([
    setKernelParameters(plan.switchNamespace, { ...SETTINGS, ...SWITCH_SETTINGS }),
    ...hosts.map((namespace) => setKernelParameters(namespace, { ...SETTINGS, ...HOST_SETTINGS })),
  ])
  await ipBatch(plan.switchNamespace, switchCommands(plan))
  await Promise.all(plan.hosts.map((host) => configureHost(plan, host)))
}

/** Kills what runs in the lab's namespaces, then deletes them. Does nothing about those that are gone already. */
export async function destroyNetwork(lab: string): Promise<void> {
  const namespaces = namespacesOf(lab)
  await killProcesses(namespaces)
  await ipBatch(
    undefined,
    namespaces.map((namespace) => `netns del ${namespace}`),
    ['-force'],
  ).catch((error: unknown) => {
    // Somebody else sweeping the same dead lab is no failure.
    if (namespacesOf(lab).length > 0) throw error
  })
}

/** Cuts a host off, as when its cable is pulled. */
export async function unplug(plan: LabPlan, host: LabHost): Promise<void> {
  await ipBatch(
    plan.switchNamespace,
    host.interfaces.map((port) => `link set ${portName(host, port.name)} down`),
  )
}

/** Ends unplug(). */
export async function plugIn(plan: LabPlan, host: LabHost): Promise<void> {
  await ipBatch(
    plan.switchNamespace,
    host.interfaces.map((port) => `link set ${portName(host, port.name)} up`),
  )
}

/** Lets the switches carry nothing between these hosts, only between each of them and all others; or everything again. */
export async function isolate(plan: LabPlan, hosts: readonly LabHost[], isIsolated: boolean): Promise<void> {
  const ports = hosts.flatMap((host) => host.interfaces.map((port) => portName(host, port.name)))
  await ipBatch(
    plan.switchNamespace,
    ports.map((port) => `link set ${port} type bridge_slave isolated ${isIsolated ? 'on' : 'off'}`),
  )
}

export function namespacesOf(lab: string): string[] {
  return listNamespaces().filter((namespace) => belongsToLab(namespace, lab))
}

/** Ends every process in these namespaces: SIGKILL, since a lab has nothing to save. */
export async function killProcesses(namespaces: readonly string[]): Promise<void> {
  const deadline = performance.now() + 10_000
  for (let waitMs = 2; ; waitMs = Math.min(waitMs * 2, 50)) {
    const pids = processesIn(namespaces)
    if (pids.length === 0) return
    if (performance.now() > deadline) throw new DirectorError('LAB_FAILED', `processes ${pids.join(', ')} do not end`)
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It ended by itself.
      }
    }
    await delay(waitMs)
  }
}

/** The command line that runs `command` in a namespace; the process keeps the id that spawn() returns. */
export function inNamespace(namespace: string, command: readonly string[]): string[] {
  return ['nsenter', `--net=${NAMESPACE_FOLDER}/${namespace}`, '--', ...command]
}

async function setKernelParameters(namespace: string, values: Record<string, number | string>): Promise<void> {
  const script = Object.entries(values).map(
    ([path, value]) => `[ ! -e /proc/sys/net/${path} ] || echo ${value} > /proc/sys/net/${path}`,
  )
  await run(inNamespace(namespace, ['sh', '-ec', script.join('\n')]))
}

function listNamespaces(): string[] {
  try {
    return readdirSync(NAMESPACE_FOLDER)
  } catch {
    return []
  }
}

/** Processes whose network namespace is one of these: what `ip netns pids` finds, in one pass over /proc. */
export function processesIn(namespaces: readonly string[]): number[] {
  const wanted = new Set<string>()
  for (const namespace of namespaces) {
    const inode = quietly(() => statSync(`${NAMESPACE_FOLDER}/${namespace}`).ino)
    if (inode !== undefined) wanted.add(`net:[${inode}]`)
  }
  if (wanted.size === 0) return []
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && wanted.has(quietly(() => readlinkSync(`/proc/${entry}/ns/net`)) ?? ''))
    .map(Number)
}

/** Files of /proc vanish while one reads them. */
function quietly<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

function switchCommands(plan: LabPlan): string[] {
  const commands: string[] = []
  for (const bridge of plan.bridges) {
    commands.push(
      `link add ${bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      `link set ${bridge} up`,
    )
  }
  for (const host of plan.hosts) {
    for (const { name: bridge } of host.interfaces) {
      const port = portName(host, bridge)
      commands.push(`link add ${port} type veth peer name ${bridge} netns ${host.namespace}`)
      commands.push(`link set ${port} master ${bridge} up`)
    }
  }
  return commands
}

async function configureHost(plan: LabPlan, host: LabHost): Promise<void> {
  if (host.role === 'server' && plan.method !== 'nat') {
    await setKernelParameters(host.namespace, SETTINGS_WITH_VIP)
  }
  const commands = ['link set lo up']
  for (const port of host.interfaces) {
    commands.push(
      `address add ${port.address}/24 dev ${port.name}`,
      `address add ${port.ipv6Address}/64 dev ${port.name} nodad`,
      `link set ${port.name} up`,
    )
  }
  if (host.behindGateway) {
    for (const gateway of Object.values(GATEWAY_ADDRESSES)) commands.push(`route add default via ${gateway}`)
  }
  if (host.role === 'server' && plan.method === 'dr') {
    const { ipv4, ipv6 } = VIRTUAL_ADDRESSES
    commands.push(`address add ${ipv4}/32 dev lo`, `address add ${ipv6}/128 dev lo nodad`)
  }
  await ipBatch(host.namespace, commands)
}

/** Name of the host's port on the switch. */
export function portName(host: LabHost, bridge: string): string {
  return `${host.name}-${bridge}`
}

async function ipBatch(
  namespace: string | undefined,
  commands: readonly string[],
  flags: string[] = [],
): Promise<void> {
  if (commands.length === 0) return
  const where = namespace ? ['-netns', namespace] : []
  await run(['ip', ...where, ...flags, '-batch', '-'], `${commands.join('\n')}\n`)
}

/** Runs a command to its end. @throws DirectorError PRIVILEGE_MISSING, LAB_FAILED with what the command said */
async function run(command: readonly string[], input = ''): Promise<void> {
  const [program, ...rest] = command
  // Out of the terminal's process group: Ctrl-C must not cut short what builds or takes down.
  const child = spawn(program, rest, { stdio: ['pipe', 'ignore', 'pipe'], detached: true })
  let complaint = ''
  child.stderr.on('data', (chunk) => {
    complaint = (complaint + chunk).slice(-2000)
  })
  // A program that ends before it has read everything is reported by its exit code.
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve)
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new DirectorError(
          'LAB_FAILED',
          error.code === 'ENOENT'
            ? `${program} is missing: install it with \`apt install iproute2 util-linux\``
            : `${program}: ${error.message}`,
        ),
      ),
    )
  })
  if (code === 0) return
  const message = `${command.slice(0, 4).join(' ')}: ${complaint.trim().split('\n')[0] || `exit code ${code}`}`
  if (/not permitted|permission denied/i.test(complaint)) {
    throw new DirectorError('PRIVILEGE_MISSING', `${message}; a lab needs CAP_NET_ADMIN and CAP_SYS_ADMIN`)
  }
  throw new DirectorError('LAB_FAILED', message)
}
