/**
 * The network that the director is measured in: a client, a director and a real server, each in a network namespace without a
 * name, joined by veth pairs. A third pair joins client and server directly: what traffic costs without a director.
 *
 *     client 10.1.0.201 ---- 10.1.0.11 director 10.2.0.254 ---- 10.2.0.11 server
 *            10.3.0.1   --------------------------------------- 10.3.0.2
 *
 * Nothing has to be cleaned up: the namespaces end with this process, however it ends, and the interfaces with them.
 */
import { execFileSync } from 'node:child_process'
import { createNamespace, ip, type Namespace } from '../../forwarder/namespace.ts'

export const VIP = '10.1.0.100'
export const SERVER = '10.2.0.11'
export const DIRECT_SERVER = '10.3.0.2'
/** Datagrams: what is asked for, and where the real server listens. */
export const VIRTUAL_UDP_PORT = 9000
export const SERVER_UDP_PORT = 9001
/** iperf3's own. */
export const BULK_PORT = 5201

export const OUTSIDE = 'outside'
export const INSIDE = 'inside'
/** The client's interface to the director, and the one to the server. */
export const CLIENT_LINK = 'client'
export const DIRECT_LINK = 'direct'
const SERVER_LINK = 'server'
export const OUTSIDE_MAC = '02:00:00:00:01:01'
export const DIRECT_SERVER_MAC = '02:00:00:00:03:02'

const QUIET = {
  'ipv4/ip_forward': 0,
  'ipv4/conf/all/rp_filter': 0,
  'ipv4/conf/default/rp_filter': 0,
  'ipv6/conf/default/disable_ipv6': 1,
}

export interface Topology {
  readonly client: Namespace
  readonly director: Namespace
  readonly server: Namespace
}

export async function createTopology(): Promise<Topology> {
  const [client, director, server] = await Promise.all([createNamespace(), createNamespace(), createNamespace()])
  for (const namespace of [client, director, server]) setKernelParameters(namespace, QUIET)
  ip(
    `link add ${CLIENT_LINK} type veth peer name ${OUTSIDE} address ${OUTSIDE_MAC} netns ${director.pid}
     link add ${DIRECT_LINK} type veth peer name ${DIRECT_LINK} address ${DIRECT_SERVER_MAC} netns ${server.pid}
     address add 10.1.0.201/24 dev ${CLIENT_LINK}
     address add 10.3.0.1/24 dev ${DIRECT_LINK}
     link set lo up
     link set ${CLIENT_LINK} up
     link set ${DIRECT_LINK} up`,
    client,
  )
  ip(
    `link add ${INSIDE} type veth peer name ${SERVER_LINK} netns ${server.pid}
     address add 10.1.0.11/24 dev ${OUTSIDE}
     address add 10.2.0.254/24 dev ${INSIDE}
     link set ${OUTSIDE} up
     link set ${INSIDE} up`,
    director,
  )
  ip(
    `address add ${SERVER}/24 dev ${SERVER_LINK}
     address add ${DIRECT_SERVER}/24 dev ${DIRECT_LINK}
     link set lo up
     link set ${SERVER_LINK} up
     link set ${DIRECT_LINK} up
     route add default via 10.2.0.254`,
    server,
  )
  return { client, director, server }
}

export function closeTopology({ client, director, server }: Topology): void {
  for (const namespace of [client, director, server]) namespace.close()
}

/** Lets the director's kernel do the same as our forwarder: DNAT by nftables, and the VIP on its interface. */
export function startNftables({ director }: Topology): void {
  ip(`address add ${VIP}/32 dev ${OUTSIDE}`, director)
  nft(
    director,
    `table ip bench {
       chain prerouting {
         type nat hook prerouting priority dstnat
         ip daddr ${VIP} udp dport ${VIRTUAL_UDP_PORT} dnat to ${SERVER}:${SERVER_UDP_PORT}
         ip daddr ${VIP} tcp dport ${BULK_PORT} dnat to ${SERVER}:${BULK_PORT}
       }
     }`,
  )
  setKernelParameters(director, { 'ipv4/ip_forward': 1 })
}

export function stopNftables({ director }: Topology): void {
  setKernelParameters(director, { 'ipv4/ip_forward': 0 })
  nft(director, 'delete table ip bench')
  ip(`address del ${VIP}/32 dev ${OUTSIDE}`, director)
}

function nft(namespace: Namespace, commands: string): void {
  run(namespace, ['nft', '-f', '-'], commands)
}

function setKernelParameters(namespace: Namespace, values: Record<string, number>): void {
  const lines = Object.entries(values).map(
    ([path, value]) => `[ ! -e /proc/sys/net/${path} ] || echo ${value} > /proc/sys/net/${path}`,
  )
  run(namespace, ['sh', '-e'], lines.join('\n'))
}

function run(namespace: Namespace, words: readonly string[], input: string): void {
  const [command, ...rest] = [...namespace.enter, ...words]
  execFileSync(command, rest, { input, stdio: ['pipe', 'ignore', 'pipe'] })
}
