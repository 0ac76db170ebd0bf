/**
 * What the forwarder needs to know of the host's network: the used interfaces, and the kernel's IPv4 routes over them
 * (the main table, as rtnetlink(7) and ip-route(8) describe it) in the forwarder's form.
 */
import type { Route } from '../../../forwarder/commands.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { parseIPv4, parseMac } from '../../../protocol/packet/bytes.ts'
import { type IpLink, type IpRoute, type RunIp, runIp } from './ip-command.ts'

export interface HostInterface {
  readonly name: string
  readonly index: number
  readonly mac: Uint8Array
  readonly mtu: number
  readonly up: boolean
  /** IPv4, the primary one first; at least one. */
  readonly addresses: readonly { readonly address: string; readonly prefixLength: number }[]
}

export interface HostNetwork {
  /** In the order asked for. */
  readonly interfaces: readonly HostInterface[]
  readonly routes: readonly Route[]
}

/**
 * Reads the facts of the given interfaces from the kernel.
 * @throws DirectorError INTERFACE_MISSING, with what to do
 */
export async function readHostNetwork(names: readonly string[], run: RunIp = runIp): Promise<HostNetwork> {
  const [links, routes] = await Promise.all([
    run(['address', 'show']) as Promise<IpLink[]>,
    run(['-4', 'route', 'show', 'table', 'main']) as Promise<IpRoute[]>,
  ])
  const interfaces = [...new Set(names)].map((name) => toInterface(name, links))
  return { interfaces, routes: toRoutes(routes, interfaces) }
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
  const addresses = (link.addr_info ?? [])
    .filter(({ family }) => family === 'inet')
    .map(({ local, prefixlen }) => ({ address: local, prefixLength: prefixlen }))
  if (addresses.length === 0) {
    throw new DirectorError(
      'INTERFACE_MISSING',
      `${name}: has no IPv4 address of its own: ip address add ADDRESS/LENGTH dev ${name}`,
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
    up: link.flags.includes('LOWER_UP'),
    addresses,
  }
}

/**
 * The kernel's routes over the used interfaces. Of several to one destination the one that the kernel prefers stays (the
 * lowest metric); of several next hops of one route, the first.
 */
export function toRoutes(kernelRoutes: readonly IpRoute[], interfaces: readonly HostInterface[]): Route[] {
  const best = new Map<string, { route: Route; metric: number }>()
  for (const kernelRoute of kernelRoutes) {
    if (kernelRoute.type !== undefined && kernelRoute.type !== 'unicast') continue
    for (const hop of kernelRoute.nexthops ?? [kernelRoute]) {
      const used = interfaces.find(({ name }) => name === hop.dev)
      if (!used || hop.flags.includes('dead')) continue
      const [destination, length] = kernelRoute.dst === 'default' ? ['0.0.0.0', '0'] : kernelRoute.dst.split('/')
      const metric = kernelRoute.metric ?? 0
      const known = best.get(`${destination}/${length}`)
      if (known && known.metric <= metric) continue
      const route: Route = {
        destination,
        prefixLength: length === undefined ? 32 : Number(length),
        ...(hop.gateway !== undefined && { gateway: hop.gateway }),
        link: used.name,
        source: kernelRoute.prefsrc ?? sourceTowards(hop.gateway, used),
      }
      best.set(`${destination}/${length}`, { route, metric })
    }
  }
  return Array.from(best.values(), ({ route }) => route)
}

/** The address that shares a network with the gateway, as the kernel would choose it; else the primary one. */
function sourceTowards(gateway: string | undefined, { addresses }: HostInterface): string {
  const near = addresses.find(
    ({ address, prefixLength }) => gateway !== undefined && isCovered(gateway, address, prefixLength),
  )
  return (near ?? addresses[0]).address
}

/** Whether `address` is in the network of `network`/`prefixLength`. */
export function isCovered(address: string, network: string, prefixLength: number): boolean {
  // A shift by 32 bits would be a shift by none.
  return prefixLength === 0 || (parseIPv4(address) ^ parseIPv4(network)) >>> (32 - prefixLength) === 0
}
