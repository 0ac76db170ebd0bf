/**
 * Which addresses are this host's own, and which can be a real server's, as the kernel decides both for IPVS.
 *
 * Source: Linux net/ipv4/fib_frontend.c inet_addr_type(), net/ipv6/addrconf_core.c __ipv6_addr_type().
 */
import { BlockList, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { isCovered } from '../../../protocol/packet/prefix.ts'

/** One address of an interface, as os.networkInterfaces() names its parts. */
export interface InterfaceAddress {
  readonly address: string
  readonly netmask: string
  readonly family: 'IPv4' | 'IPv6'
}

export interface HostAddresses {
  isLocal(address: string): boolean
  /** Local, or another host's: not unspecified, a group's, a broadcast address, link-local, or IPv4 in disguise. */
  isUnicast(address: string): boolean
}

const noHost = new BlockList()
noHost.addAddress('0.0.0.0')
noHost.addAddress('255.255.255.255')
noHost.addAddress('127.255.255.255')
noHost.addSubnet('224.0.0.0', 4)
noHost.addAddress('::', 'ipv6')
noHost.addSubnet('ff00::', 8, 'ipv6')

/** Whether no single host can have the address: it is unspecified, a group's or a broadcast address, on whatever network. */
export function isNoHosts(address: string): boolean {
  return noHost.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** Of IPv6: known on one link only. */
export function isLinkLocal(address: string): boolean {
  return isCovered(address, 'fe80::/10')
}

const IPV4_IN_IPV6 = /^::ffff:/i

export function hostAddresses(addresses: readonly InterfaceAddress[]): HostAddresses {
  const local = new Set(addresses.map(({ address }) => address))
  const broadcast = new Set(addresses.flatMap(broadcastOf))
  const isLocal = (address: string) => local.has(address) || (address.startsWith('127.') && !isNoHosts(address))
  return {
    isLocal,
    isUnicast(address) {
      if (isLocal(address)) return true
      if (isNoHosts(address) || broadcast.has(address)) return false
      return !isIPv6(address) || !(IPV4_IN_IPV6.test(address) || isLinkLocal(address))
    },
  }
}

/** Of every interface that is up. */
export function readHostAddresses(): HostAddresses {
  return hostAddresses(Object.values(networkInterfaces()).flatMap((addresses = []) => addresses))
}

/** The last address of an IPv4 network; networks of one or two addresses have none. */
function broadcastOf({ address, netmask, family }: InterfaceAddress): string[] {
  const mask = netmask.split('.').map(Number)
  if (family !== 'IPv4' || mask[3] >= 254) return []
  return [
    address
      .split('.')
      .map((part, index) => Number(part) | (~mask[index] & 255))
      .join('.'),
  ]
}
