/** The director that the fuzzer plays with: all three methods, every protocol, addresses in every state, a small table. */
import type { Route, VirtualAddress } from '../../forwarder/commands.ts'
import type {
  ForwardingMethod,
  MarkRule,
  PersistenceSpec,
  ServiceProtocol,
  ServiceSpec,
  TunnelSpec,
} from '../../forwarder/service.ts'
import { isIPv6Text } from '../../protocol/packet/ipv6-address.ts'
import { virtualRouterMac } from '../../protocol/packet/virtual-router-mac.ts'
import type { Random } from '../random.ts'
import { DirectorBench } from '../support/director-bench.ts'
import { GUE_PORT } from './judge.ts'

export const OUTSIDE = 'outside'
export const INSIDE = 'inside'
export const MACS = { [OUTSIDE]: '02:00:00:00:00:01', [INSIDE]: '02:00:00:00:00:02' }
/** Of groups of either family; the last one is another router's. */
export const VIRTUAL_MACS = [virtualRouterMac(51, false), virtualRouterMac(51, true), virtualRouterMac(52, false)]
export const ROUTER = { address: '198.51.100.254', mac: '02:00:00:00:01:01' }
export const VIPS = ['198.51.100.10', '198.51.100.11', '198.51.100.12']
export const VIPS6 = ['2001:db8:1::10', '2001:db8:1::11']
export const CLIENTS6 = ['2001:db8:c::7', '2001:db8:c::8', '2001:db8:1::77', '2001:db8:2::50']
export const SERVERS6 = ['2001:db8:2::1', '2001:db8:2::2', '2001:db8:3::3'] // the last one behind a router
export const ROUTER6 = { address: 'fe80::1', mac: '02:00:00:00:01:01' }
export const INSIDE_SOURCE6 = '2001:db8:2::fe'
export const CLIENTS = ['203.0.113.7', '203.0.113.8', '198.51.100.77', '10.1.0.50']
export const SERVERS = ['10.1.0.1', '10.1.0.2', '10.2.0.3'] // the last one behind a router
export const SERVERS_ROUTER = { address: '10.1.0.99', mac: '02:00:00:00:02:99' }
export const INSIDE_SOURCE = '10.1.0.254'
export const SERVICES: readonly { protocol: ServiceProtocol; port: number; method: ForwardingMethod }[] = [
  { protocol: 'tcp', port: 80, method: 'nat' },
  { protocol: 'tcp', port: 81, method: 'tun' },
  { protocol: 'tcp', port: 82, method: 'dr' },
  { protocol: 'udp', port: 53, method: 'nat' },
  { protocol: 'udp', port: 54, method: 'tun' },
  { protocol: 'udp', port: 55, method: 'dr' },
  { protocol: 'tcp', port: 21, method: 'nat' },
  { protocol: 'udp', port: 500, method: 'nat' },
  { protocol: 'sctp', port: 90, method: 'nat' },
  { protocol: 'sctp', port: 91, method: 'tun' },
  { protocol: 'sctp', port: 92, method: 'dr' },
]
const TUNNELS: readonly (TunnelSpec | undefined)[] = [
  undefined,
  { type: 'gre', port: 0, checksum: 'none' },
  { type: 'gre', port: 0, checksum: 'plain' },
  { type: 'gue', port: GUE_PORT, checksum: 'none' },
  { type: 'gue', port: GUE_PORT, checksum: 'plain' },
  { type: 'gue', port: GUE_PORT, checksum: 'remote' },
]
export const NAT_SERVER_PORT = 8000
const MARK = 9

export function serverMac(address: string): string {
  return `02:00:00:00:02:0${address.at(-1)}`
}

/** A service with a random choice of the servers, at random weights. */
export function randomService(random: Random, address: string, index: number): ServiceSpec {
  const { protocol, port, method } = SERVICES[index]
  // A tunnel joins the families.
  const isMixed = method === 'tun' && random.oneIn(2)
  const servers = isIPv6Text(address) !== isMixed ? SERVERS6 : SERVERS
  return {
    protocol,
    address,
    port,
    mss: random.oneIn(2) ? 'clamp' : undefined,
    sync: random.oneIn(2) ? undefined : random.oneIn(2) ? 'confirmed' : 'confirmed-only',
    scheduler: ['rr', 'wrr', 'lc', 'wlc', 'sh', 'lblc'][random.below(6)],
    persistence: random.oneIn(4) ? randomPersistence(random, isIPv6Text(address), protocol) : undefined,
    onePacket: protocol === 'udp' && random.oneIn(4),
    servers: servers
      .filter(() => !random.oneIn(4))
      .map((server) => ({
        address: server,
        port: method === 'nat' ? NAT_SERVER_PORT : port,
        method,
        weight: random.below(4),
        tunnel: TUNNELS[random.below(TUNNELS.length)],
      })),
  }
}

function randomPersistence(random: Random, isIPv6: boolean, protocol: ServiceProtocol): PersistenceSpec {
  const netmasks = isIPv6 ? ['128', '64', '1'] : ['255.255.255.255', '255.255.255.0', '0.0.0.1']
  const netmask = netmasks[random.below(netmasks.length)]
  const engine = random.oneIn(protocol === 'udp' ? 2 : 16) ? 'sip' : undefined
  return { timeoutS: 1 + random.below(100), netmask, engine }
}

/** The service of a firewall mark, in either family. */
export function randomMarkService(random: Random): ServiceSpec {
  const address = random.oneIn(2) ? '::' : '0.0.0.0'
  return { ...randomService(random, address, 0), protocol: 'fwm', port: 0, mark: MARK }
}

/** Rules for VIPs and for addresses that are none. */
export function randomMarkRules(random: Random): MarkRule[] {
  const rules: MarkRule[] = [
    { mark: MARK, protocol: 'tcp', firstPort: 82, lastPort: 83 },
    { mark: MARK, source: `${CLIENTS[0]}/31` },
    { mark: MARK, source: `${CLIENTS6[0]}/127`, link: OUTSIDE },
    { mark: MARK, destination: `${VIPS[1]}/31` },
    { mark: MARK, destination: '2001:db8:1::/64', protocol: 'udp' },
  ]
  return rules.filter(() => random.oneIn(4))
}

const STATES: readonly VirtualAddress['state'][] = ['active', 'active', 'active', 'lingering', 'standby']

export function randomAddresses(random: Random): VirtualAddress[] {
  return [...VIPS, ...VIPS6]
    .filter(() => !random.oneIn(16))
    .map((address) => ({
      address,
      link: random.oneIn(8) ? INSIDE : OUTSIDE,
      state: STATES[random.below(STATES.length)],
      mac: random.oneIn(2) ? VIRTUAL_MACS[isIPv6Text(address) ? 1 : 0] : undefined,
    }))
}

/** Now and then by a router that does not answer, or not at all. */
export function randomRoutes(random: Random): Route[] {
  const silent = '10.1.0.98'
  const outside = { link: OUTSIDE, source: '198.51.100.1' }
  const inside = { link: INSIDE, source: INSIDE_SOURCE }
  const routes: Route[] = [
    { ...outside, destination: '0.0.0.0', prefixLength: 0, gateway: ROUTER.address },
    { ...outside, destination: '198.51.100.0', prefixLength: 24 },
    { ...inside, destination: '10.1.0.0', prefixLength: 24, gateway: random.oneIn(4) ? silent : undefined },
    { ...inside, destination: '10.2.0.0', prefixLength: 24, gateway: SERVERS_ROUTER.address },
  ]
  const outside6 = { link: OUTSIDE, source: '2001:db8:1::1' }
  const inside6 = { link: INSIDE, source: INSIDE_SOURCE6 }
  routes.push(
    { ...outside6, destination: '::', prefixLength: 0, gateway: ROUTER6.address },
    { ...outside6, destination: '2001:db8:1::', prefixLength: 64 },
    { ...inside6, destination: '2001:db8:2::', prefixLength: 64, gateway: random.oneIn(4) ? 'fe80::98' : undefined },
    { ...inside6, destination: '2001:db8:3::', prefixLength: 64, gateway: 'fe80::99' },
  )
  return routes.filter(() => !random.oneIn(8))
}

export function createWorld(random: Random): DirectorBench {
  return new DirectorBench({
    links: [
      { name: OUTSIDE, mac: MACS[OUTSIDE], mtu: 1500 },
      { name: INSIDE, mac: MACS[INSIDE], mtu: 1450 },
    ],
    addresses: randomAddresses(random),
    routes: randomRoutes(random),
    services: [...VIPS, ...VIPS6].flatMap((address) =>
      SERVICES.map((_, index) => randomService(random, address, index)),
    ),
    connections: 512,
    ringSlots: 256,
  })
}
