/**
 * Whether the host's own stack stays out of the director's traffic.
 *
 * The forwarder sees copies of frames (packet(7)); the kernel gets them too. It drops them silently as long as the address
 * is not its own and the interface does not forward: ip_route_input finds no local route, and ip_error() in the kernel's
 * net/ipv4/route.c answers nothing when the device's `forwarding` is 0. So what interferes is:
 *
 * - an address of ours on any of its interfaces, or covered by a route of type local in any table: it would answer ARP,
 *   and answer TCP with resets and UDP with port unreachable;
 * - `forwarding` on a used interface: it would send clients' packets on by itself, servers' replies untranslated, and
 *   redirects. The kernel asks the interface alone, so forwarding between other interfaces (containers, say) is harmless;
 * - `proxy_arp` and `proxy_arp_pvlan`: silent while forwarding is off, but the moment it is switched on the kernel would
 *   answer ARP for addresses that another director holds;
 * - a used interface that is a port of a bridge, bond or team: its master takes the packets, VRRP would hear nothing.
 *
 * Harmless, and left alone: rp_filter, accept_local, arp_ignore, arp_announce, send_redirects and the like, which act only on
 * packets that the kernel delivers or forwards; packet filters, which run after the copy was made.
 */
import { readFile } from 'node:fs/promises'
import { DirectorError } from '../../../protocol/errors.ts'
import { type IpLink, type IpRoute, type RunIp, runIp } from './ip-command.ts'
import { isCovered } from './network.ts'

export interface InterferencePlan {
  /** Interfaces that the director uses. */
  readonly interfaces: readonly string[]
  /** Every VIP and gateway. */
  readonly addresses: readonly string[]
}

export interface HostFacts {
  readonly links: readonly IpLink[]
  /** Routes of type local, of all tables. */
  readonly localRoutes: readonly IpRoute[]
  /** By path below /proc/sys, such as "net/ipv4/conf/eth0/forwarding"; those that the kernel does not have are missing. */
  readonly settings: ReadonlyMap<string, string>
}

export interface Interference {
  /** What is set, where. */
  readonly setting: string
  /** What it would do. */
  readonly effect: string
  /** The command that mends it. */
  readonly remedy: string
}

/** Kinds of master that take a port's packets away. */
const MASTERS_THAT_TAKE = ['bridge', 'bond', 'team', 'openvswitch']

/**
 * @throws DirectorError HOST_INTERFERES, which names every setting and the command that mends it
 */
export async function refuseInterference(plan: InterferencePlan, run: RunIp = runIp): Promise<void> {
  const found = findInterference(plan, await readHostFacts(plan, run))
  if (found.length === 0) return
  const text = found.map(({ setting, effect, remedy }) => `${setting}: ${effect}; run "${remedy}"`)
  throw new DirectorError('HOST_INTERFERES', `the host's own network stack would interfere: ${text.join('. ')}`)
}

export function findInterference(plan: InterferencePlan, facts: HostFacts): Interference[] {
  return [
    ...plan.addresses.flatMap((address) => findAddress(address, facts)),
    ...plan.interfaces.flatMap((name) => [...findMaster(name, facts), ...findForwarding(name, facts)]),
    ...['all', ...plan.interfaces].flatMap((name) => findProxy(name, facts)),
  ]
}

async function readHostFacts(plan: InterferencePlan, run: RunIp): Promise<HostFacts> {
  const paths = [
    ...plan.interfaces.map((name) => settingPath(name, 'forwarding')),
    ...['all', ...plan.interfaces].flatMap((name) => PROXY_SETTINGS.map((key) => settingPath(name, key))),
  ]
  const settings = new Map<string, string>()
  const [links, localRoutes] = await Promise.all([
    run(['-details', 'address', 'show']) as Promise<IpLink[]>,
    run(['-4', 'route', 'show', 'table', 'all', 'type', 'local']) as Promise<IpRoute[]>,
    ...paths.map(async (path) => {
      const value = await readFile(`/proc/sys/${path}`, 'utf8').catch(ignoreMissing)
      if (value !== undefined) settings.set(path, value.trim())
    }),
  ])
  return { links, localRoutes, settings }
}

function findAddress(address: string, facts: HostFacts): Interference[] {
  const effect = `the kernel itself would answer for ${address}`
  for (const { ifname, addr_info = [] } of facts.links) {
    const own = addr_info.find(({ local }) => local === address)
    if (!own) continue
    const owned = `${address}/${own.prefixlen}`
    return [{ setting: `${owned} on ${ifname}`, effect, remedy: `ip address del ${owned} dev ${ifname}` }]
  }
  for (const { dst, dev, table = 'main' } of facts.localRoutes) {
    const [network, length = '32'] = dst === 'default' ? ['0.0.0.0', '0'] : dst.split('/')
    if (!isCovered(address, network, Number(length))) continue
    const route = `local ${dst}${dev === undefined ? '' : ` dev ${dev}`} table ${table}`
    return [{ setting: `route ${route}`, effect, remedy: `ip route del ${route}` }]
  }
  return []
}

function findMaster(name: string, facts: HostFacts): Interference[] {
  const link = facts.links.find(({ ifname }) => ifname === name)
  const kind = link?.linkinfo?.info_slave_kind
  if (!link?.master || !kind || !MASTERS_THAT_TAKE.includes(kind)) return []
  return [
    {
      setting: `${name} is a port of the ${kind} ${link.master}`,
      effect: `VRRP would hear nothing on it; name ${link.master} in the configuration instead, or take it out`,
      remedy: `ip link set ${name} nomaster`,
    },
  ]
}

function findForwarding(name: string, facts: HostFacts): Interference[] {
  const effect = 'the kernel would forward the same packets as the director, past its connection table'
  return findEnabled(name, 'forwarding', effect, facts)
}

const PROXY_SETTINGS = ['proxy_arp', 'proxy_arp_pvlan'] as const

function findProxy(name: string, facts: HostFacts): Interference[] {
  const effect = 'the kernel may answer ARP for an address that another director holds'
  return PROXY_SETTINGS.flatMap((key) => findEnabled(name, key, effect, facts))
}

function findEnabled(name: string, key: string, effect: string, facts: HostFacts): Interference[] {
  const path = settingPath(name, key)
  const value = facts.settings.get(path)
  if (value === undefined || value === '0') return []
  // sysctl(8) takes dots or slashes; an interface's own name may hold dots.
  const setting = name.includes('.') ? path : path.replaceAll('/', '.')
  return [{ setting: `${setting} = ${value}`, effect, remedy: `sysctl -w ${setting}=0` }]
}

function settingPath(name: string, key: string): string {
  return `net/ipv4/conf/${name}/${key}`
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
