/**
 * Virtual services and real servers as the forwarder is told of them: plain data that crosses threads.
 *
 * The pool's configuration, the health checks and the agents' reports are folded into these before they come here.
 */

import { formatEndpoint } from '../protocol/packet/ipv6-address.ts'

/** 'fwm': packets that carry a firewall mark, whatever their protocol, address and port. */
export type ServiceProtocol = 'tcp' | 'udp' | 'sctp' | 'fwm'
/** How a frame reaches a real server: ipvsadm's -m, -i, -g; local: the director itself serves. */
export type ForwardingMethod = 'nat' | 'tun' | 'dr' | 'local'

export interface ServiceAddress {
  readonly protocol: ServiceProtocol
  /** IPv4 or IPv6 address, in the text form of RFC 5952. Of a firewall mark: the family's unspecified address. */
  readonly address: string
  /** 1 to 65535; 0 is every port (persistent services alone), and what a firewall mark's service has. */
  readonly port: number
  /** Of protocol 'fwm' alone: 1 to 2^32 - 1. */
  readonly mark?: number
}

/** What --tun-type, --tun-port, --tun-csum and --tun-remcsum say. ipip unless given. */
export interface TunnelSpec {
  readonly type: 'ipip' | 'gue' | 'gre'
  /** Destination port, of gue alone. */
  readonly port: number
  readonly checksum: 'none' | 'plain' | 'remote'
}

/** Connections of one client go to one server. Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_sched_persist(). */
export interface PersistenceSpec {
  readonly timeoutS: number
  /** Clients that are one: IPv4 mask in dotted form (IPVS takes any bits), IPv6 prefix length as decimal text. */
  readonly netmask: string
  /** Persistence engine: clients are told apart by what it reads from the packet. */
  readonly engine?: 'sip'
}

export interface RealServerSpec {
  readonly address: string
  /** 0: the port that the client asked for. */
  readonly port: number
  readonly method: ForwardingMethod
  /** An integer >= 0, after load. Of a server that is down as it is configured: a hash keeps its place for it. */
  readonly weight: number
  /** Of one with weight 0: the last weight before that was not 0. */
  readonly lastWeight?: number
  /** Its health checks fail: it counts as one of weight 0, and not even a persistence template leads there. */
  readonly down?: boolean
  /** Connections from which on no new one is given, and below which again; 0 or absent: no limit. */
  readonly upperThreshold?: number
  readonly lowerThreshold?: number
  readonly tunnel?: TunnelSpec
  /** How often an operator has edited it: an edit that changes nothing else begins some schedulers' round again. */
  readonly edits?: number
}

export interface ServiceSpec extends ServiceAddress {
  /** A name in the scheduler registry. */
  readonly scheduler: string
  /** By ipvsadm's names (sh-fallback, sh-port, mh-fallback, mh-port, flag-1 to flag-3), each once. */
  readonly schedulerFlags?: readonly string[]
  readonly persistence?: PersistenceSpec
  /** Each datagram is scheduled for itself (UDP). */
  readonly onePacket?: boolean
  /** Lower a SYN's maximum segment size to what the way to the server can carry. */
  readonly mss?: 'clamp'
  /**
   * A connection's first packet waits until a standby has confirmed its record. If none does: 'confirmed' serves it anyway,
   * 'confirmed-only' refuses it. Absent: the peers are told when the connection is established, and nothing waits.
   */
  readonly sync?: 'confirmed' | 'confirmed-only'
  /** In the order in which they were added, oldest first. */
  readonly servers: readonly RealServerSpec[]
}

/** Packets that get a firewall mark: those that have all of what is given. */
export interface MarkRule {
  /** 1 to 2^32 - 1. */
  readonly mark: number
  readonly protocol?: 'tcp' | 'udp' | 'sctp'
  /** "10.3.0.0/24" or "2001:db8::/32", the destination's of the same family; without them packets of both. */
  readonly source?: string
  readonly destination?: string
  /** Of the destination, the last one included; one port when there is no last one. */
  readonly firstPort?: number
  readonly lastPort?: number
  /** The link it comes in on, by its name. */
  readonly link?: string
}

/** "tcp 10.0.0.100:80", "fwm 7 of 0.0.0.0:0": identifies a service in maps, messages and logs. */
export function serviceKey({ protocol, address, port, mark }: ServiceAddress): string {
  return `${protocol} ${mark === undefined ? '' : `${mark} of `}${formatEndpoint(address, port)}`
}

/** "10.0.0.1:80" or "[2001:db8::1]:80": identifies a real server within its service. */
export function serverKey(server: { readonly address: string; readonly port: number }): string {
  return formatEndpoint(server.address, server.port)
}
