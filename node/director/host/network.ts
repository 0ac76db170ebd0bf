/**
 * What the forwarder needs to know of the host's network: the used interfaces, and the kernel's routes over them (the main
 * tables, as rtnetlink(7) and ip-route(8) describe them) in the forwarder's form.
 */
import { setTimeout as wait } from 'node:timers/promises'
import type { Route } from '../../../forwarder/commands.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { parseMac } from '../../../protocol/packet/bytes.ts'
import { canonicalAddress, isIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { isCovered } from '../../../protocol/packet/prefix.ts'
import { isLinkLocal } from './host-addresses.ts'
import { type IpAddress, type IpLink, type IpRoute, type RunIp, runIp } from './ip-command.ts'

export interface HostInterface {
  readonly name: string
  readonly index: number
  readonly mac: Uint8Array
  readonly mtu: number
  /** Those to send from, of both families, each family's primary one first. There is one besides link-local ones. */
  readonly addresses: readonly HostAddress[]
  /** One of IPv6 that the kernel is still making sure of is left out of `addresses`. */
  readonly isTentative: boolean
}

export interface HostAddress {
  readonly address: string
  readonly prefixLength: number
}

export interface HostNetwork {
  /** In the order asked for. */
  readonly interfaces: readonly HostInterface[]
  readonly routes: readonly Route[]
}

/** How long the kernel takes at most to make sure of an address: a random second, and one second (RFC 4862 section 5.4). */
const TENTATIVE_LIMIT_MS = 5000
const TENTATIVE_RETRY_MS = 100

/**
 * Reads the facts of the given interfaces from the kernel.
 * @throws DirectorError INTERFACE_MISSING, with what to do
 */
export async function readHostNetwork(names: readonly string[], run: RunIp = runIp): Promise<HostNetwork> {
  const [links, routes, routes6] = await Promise.all([
    run(['address', 'show']) as Promise<IpLink[]>,
    run(['-4', 'route', 'show', 'table', 'main']) as Promise<IpRoute[]>,
    run(['-6', 'route', 'show', 'table', 'main']) as Promise<IpRoute[]>,
  ])
  const interfaces = [...new Set(names)].map((name) => toInterface(name, links))
  return { interfaces, routes: [...toRoutes(routes, interfaces, ANY_IPV4), ...toRoutes(routes6, interfaces, ANY_IPV6)] }
}

/** As readHostNetwork(), once the kernel has made sure of the interfaces' IPv6 addresses. */
export async function readSettledHostNetwork(names: readonly string[], run: RunIp = runIp): Promise<HostNetwork> {
  for (let waitedMs = 0; ; waitedMs += TENTATIVE_RETRY_MS) {
    const network = await readHostNetwork(names, run)
    const isSettled = network.interfaces.every(({ isTentative }) => !isTentative)
    if (isSettled || waitedMs >= TENTATIVE_LIMIT_MS) return network
    await wait(TENTATIVE_RETRY_MS)
  }
}

/** MTUs of the interfaces, by name. */
export function mtusOf({ interfaces }: HostNetwork): Record<string, number> {
  return Object.fromEntries(interfaces.map(({ name, mtu }) => [name, mtu]))
}

/** What all interfaces carry. */
export function smallestMtuOf({ interfaces }: HostNetwork): number {
  return Math.min(...interfaces.map(({ mtu }) => mtu))
}

/** The link-local address that the kernel sends to link-local groups from; undefined when there is none. */
export function linkLocalAddress({ addresses }: HostInterface): string | undefined {
  return addresses.find(({ address }) => isLinkLocal(address))?.address
}

/** The primary IPv6 address that is known beyond the link; undefined when there is none. */
export function globalIPv6Address({ addresses }: HostInterface): string | undefined {
  return addresses.find(({ address }) => isIPv6Text(address) && !isLinkLocal(address))?.address
}

/** The primary IPv4 address; undefined when there is none. */
export function primaryIPv4Address({ addresses }: HostInterface): string | undefined {
  return addresses.find(({ address }) => !isIPv6Text(address))?.address
}

function toInterface(name: string, links: readonly IpLink[]): HostInterface {
  const link = links.find((candidate) => candidate.ifname === name)
  if (!link) {
    const known = links.map((candidate) => candidate.ifname).join(', ')
    throw new DirectorError('INTERFACE_MISSING', `${name}: no such network interface; this host has ${known}`)
  }
  if (link.link_type !== 'ether' || link.address === undefined) {
    throw new DirectorError(
      'INTERFACE_MISSING',
      `${name}: is not an Ethernet interface (${link.link_type}): choose another`,
    )
  }
  const all = link.addr_info ?? []
  const isTentative = all.some(({ tentative, dadfailed }) => tentative && !dadfailed)
  const addresses = all
    .filter(({ tentative, dadfailed }) => !tentative && !dadfailed)
    .toSorted((one, other) => standing(one) - standing(other))
    .map(({ local, prefixlen }) => ({ address: canonicalAddress(local), prefixLength: prefixlen }))
  if (!isTentative && addresses.every(({ address }) => isLinkLocal(address))) {
    throw new DirectorError(
      'INTERFACE_MISSING',
      `${name}: has no address of its own but link-local ones: ip address add ADDRESS/LENGTH dev ${name}`,
    )
  }
  if (!link.flags.includes('UP')) {
    throw new DirectorError('INTERFACE_MISSING', `${name}: is down: ip link set ${name} up`)
  }
  return {
    name,
    index: link.ifindex,
    mac: parseMac(link.address),
    mtu: link.mtu,
    addresses,
    isTentative,
  }
}

/** Lower ones are rather sent from, as the kernel chooses (RFC 6724 section 5); among equals the order is the kernel's. */
function standing({ local, deprecated, temporary }: IpAddress): number {
  return (isLinkLocal(local) ? 4 : 0) + (deprecated ? 2 : 0) + (temporary ? 1 : 0)
}

/** What "default" means. */
export const ANY_IPV4 = '0.0.0.0/0'
export const ANY_IPV6 = '::/0'

/**
 * The kernel's routes over the used interfaces, of one family. Of several to one destination the one that the kernel prefers
 * stays (the lowest metric); of several next hops of one route, the first. No packet for somebody else has a link-local
 * destination, so those routes are left out.
 */
function toRoutes(kernelRoutes: readonly IpRoute[], interfaces: readonly HostInterface[], any: string): Route[] {
  const best = new Map<string, { route: Route; metric: number }>()
  for (const kernelRoute of kernelRoutes) {
    if (kernelRoute.type !== undefined && kernelRoute.type !== 'unicast') continue
    for (const hop of kernelRoute.nexthops ?? [kernelRoute]) {
      const used = interfaces.find(({ name }) => name === hop.dev)
      if (!used || hop.flags.includes('dead')) continue
      const { network, prefixLength } = parseDestination(kernelRoute.dst, any)
      const source = kernelRoute.prefsrc ?? sourceTowards(network, prefixLength, hop.gateway, used)
      if (source === undefined || isLinkLocal(network)) continue
      const metric = kernelRoute.metric ?? 0
      const known = best.get(`${network}/${prefixLength}`)
      if (known && known.metric <= metric) continue
      const gateway = hop.gateway !== undefined && { gateway: hop.gateway }
      const mtu = kernelRoute.metrics?.find((metrics) => metrics.mtu !== undefined)?.mtu
      const way = { ...gateway, link: used.name, source, ...(mtu !== undefined && { mtu }) }
      const route: Route = { destination: network, prefixLength, ...way }
      best.set(`${network}/${prefixLength}`, { route, metric })
    }
  }
  return Array.from(best.values(), ({ route }) => route)
}

/** @param any what "default" means: the whole family */
export function parseDestination(text: string, any: string): { network: string; prefixLength: number } {
  const [network, length = isIPv6Text(network) ? 128 : 32] = (text === 'default' ? any : text).split('/')
  return { network, prefixLength: Number(length) }
}

/**
 * The address that shares a network with the next hop, as the kernel would choose it; else the primary one of the family.
 * Undefined when the interface has none to send from.
 */
function sourceTowards(
  network: string,
  prefixLength: number,
  gateway: string | undefined,
  { addresses }: HostInterface,
): string | undefined {
  const ofFamily = addresses.filter(({ address }) => isIPv6Text(address) === isIPv6Text(network))
  // What comes from a link-local address gets no further than a link-local gateway.
  const isNear =
    gateway === undefined || isLinkLocal(gateway)
      ? ({ address }: HostAddress) => isCovered(address, `${network}/${prefixLength}`)
      : (own: HostAddress) => isCovered(gateway, `${own.address}/${own.prefixLength}`)
  return (ofFamily.find(isNear) ?? ofFamily.at(0))?.address
}
