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
 *
 * IPv6 differs (ip6_forward() in net/ipv6/ip6_output.c, ip6_pkt_drop() in net/ipv6/route.c). Whether a packet is sent on, the
 * kernel asks `net.ipv6.conf.all.forwarding`, and from Linux 6.17 on the interface's `force_forwarding`; the interface's own
 * `forwarding` only says whether it is a router to its neighbours, which is harmless. And what it has no route for it answers
 * with "no route" even if it forwards nothing: so there must be a route that covers each address, blackhole being one that is
 * silent.
 */
import { readFile } from 'node:fs/promises'
import { DirectorError } from '../../../protocol/errors.ts'
import { canonicalAddress, isIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { isCovered } from '../../../protocol/packet/prefix.ts'
import { type IpLink, type IpRoute, type RunIp, runIp } from './ip-command.ts'
import { ANY_IPV4, ANY_IPV6, parseDestination } from './network.ts'

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
  /** The main table of IPv6; only if there is an address of it. */
  readonly routes6: readonly IpRoute[]
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
  const found = await lookForInterference(plan, run)
  if (found.length === 0) return
  throw new DirectorError('HOST_INTERFERES', `the host's own network stack would interfere: ${found.join('. ')}`)
}

/** What interferes now, each in words that name the setting and the command that mends it. */
export async function lookForInterference(plan: InterferencePlan, run: RunIp = runIp): Promise<string[]> {
  const found = findInterference(plan, await readHostFacts(plan, run))
  return found.map(({ setting, effect, remedy }) => `${setting}: ${effect}; run "${remedy}"`)
}

export function findInterference(plan: InterferencePlan, facts: HostFacts): Interference[] {
  const addresses6 = plan.addresses.filter(isIPv6Text)
  return [
    ...plan.addresses.flatMap((address) => findAddress(address, facts)),
    ...plan.interfaces.flatMap((name) => [...findMaster(name, facts), ...findEnabled(forwarding4(name), facts)]),
    ...['all', ...plan.interfaces].flatMap((name) => proxies(name).flatMap((setting) => findEnabled(setting, facts))),
    ...(addresses6.length > 0 ? forwarding6(plan).flatMap((setting) => findEnabled(setting, facts)) : []),
    ...(isUp(plan, facts) ? addresses6.flatMap((address) => findNoRoute(address, facts)) : []),
  ]
}

/** One that must be 0. */
interface Setting {
  readonly name: string
  readonly path: string
  /** What it would do otherwise. */
  readonly effect: string
}

const FORWARDING_EFFECT = 'the kernel would forward the same packets as the director, past its connection table'

function forwarding4(name: string): Setting {
  return { name, path: `net/ipv4/conf/${name}/forwarding`, effect: FORWARDING_EFFECT }
}

function forwarding6({ interfaces }: InterferencePlan): Setting[] {
  return [
    { name: 'all', path: 'net/ipv6/conf/all/forwarding', effect: FORWARDING_EFFECT },
    ...interfaces.map((name) => ({ ...forwarding4(name), path: `net/ipv6/conf/${name}/force_forwarding` })),
  ]
}

function proxies(name: string): Setting[] {
  const effect = 'the kernel may answer ARP for an address that another director holds'
  return ['proxy_arp', 'proxy_arp_pvlan'].map((key) => ({ name, path: `net/ipv4/conf/${name}/${key}`, effect }))
}

async function readHostFacts(plan: InterferencePlan, run: RunIp): Promise<HostFacts> {
  const hasIPv6 = plan.addresses.some(isIPv6Text)
  const runFor6 = hasIPv6 ? run : async () => []
  const watched = [
    ...plan.interfaces.map(forwarding4),
    ...['all', ...plan.interfaces].flatMap(proxies),
    ...forwarding6(plan),
  ]
  const settings = new Map<string, string>()
  const [links, localRoutes, localRoutes6, routes6] = await Promise.all([
    run(['-details', 'address', 'show']) as Promise<IpLink[]>,
    run(['-4', 'route', 'show', 'table', 'all', 'type', 'local']) as Promise<IpRoute[]>,
    runFor6(['-6', 'route', 'show', 'table', 'all', 'type', 'local']) as Promise<IpRoute[]>,
    runFor6(['-6', 'route', 'show', 'table', 'main']) as Promise<IpRoute[]>,
    ...watched.map(async ({ path }) => {
      const value = await readFile(`/proc/sys/${path}`, 'utf8').catch(ignoreMissing)
      if (value !== undefined) settings.set(path, value.trim())
    }),
  ])
  return { links, localRoutes: [...localRoutes, ...localRoutes6], routes6, settings }
}

function findAddress(address: string, facts: HostFacts): Interference[] {
  const effect = `the kernel itself would answer for ${address}`
  for (const { ifname, addr_info = [] } of facts.links) {
    const own = addr_info.find(({ local }) => canonicalAddress(local) === address)
    if (!own) continue
    const owned = `${address}/${own.prefixlen}`
    return [{ setting: `${owned} on ${ifname}`, effect, remedy: `ip address del ${owned} dev ${ifname}` }]
  }
  const family = isIPv6Text(address) ? '-6 ' : ''
  for (const { dst, dev, table = 'main' } of facts.localRoutes) {
    const { network, prefixLength } = parseDestination(dst, anyOf(address))
    if (!isCovered(address, `${network}/${prefixLength}`)) continue
    const route = `local ${dst}${dev === undefined ? '' : ` dev ${dev}`} table ${table}`
    return [{ setting: `route ${route}`, effect, remedy: `ip ${family}route del ${route}` }]
  }
  return []
}

/** An interface that is down has taken its routes along, and lets nothing in that could be answered. */
function isUp({ interfaces }: InterferencePlan, { links }: HostFacts): boolean {
  return interfaces.every((name) => links.find(({ ifname }) => ifname === name)?.flags.includes('UP'))
}

/** Kinds of route for which the kernel answers with an error. */
const ANSWERED_ROUTES = ['unreachable', 'prohibit', 'throw']

function findNoRoute(address: string, { routes6 }: HostFacts): Interference[] {
  const [best] = routes6
    .map((route) => ({ route, ...parseDestination(route.dst, anyOf(address)) }))
    .filter(({ network, prefixLength }) => isCovered(address, `${network}/${prefixLength}`))
    .toSorted((a, b) => b.prefixLength - a.prefixLength || (a.route.metric ?? 0) - (b.route.metric ?? 0))
  if (best && !ANSWERED_ROUTES.includes(best.route.type ?? 'unicast')) return []
  return [
    {
      setting: `no route to ${address}`,
      effect: 'the kernel would answer packets to it with "no route", past the director',
      remedy: `ip -6 route add blackhole ${address}`,
    },
  ]
}

function anyOf(address: string): string {
  return isIPv6Text(address) ? ANY_IPV6 : ANY_IPV4
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

function findEnabled({ name, path, effect }: Setting, facts: HostFacts): Interference[] {
  const value = facts.settings.get(path)
  if (value === undefined || value === '0') return []
  // sysctl(8) takes dots or slashes; an interface's own name may hold dots.
  const setting = name.includes('.') ? path : path.replaceAll('/', '.')
  return [{ setting: `${setting} = ${value}`, effect, remedy: `sysctl -w ${setting}=0` }]
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
