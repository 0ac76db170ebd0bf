/**
 * Which kinds of packets must have been among those that directors emit, as display filters of tshark: so that none is judged
 * by not having been there.
 */
import type { TunnelSpec } from '../../forwarder/service.ts'
import {
  GATEWAY_ADDRESSES,
  GUE_PORT,
  type LabMethod,
  SESSION_PORT,
  VIRTUAL_ADDRESSES,
  WEB_PORT,
  WEB_PORT_INSIDE,
} from '../../node/drill/lab-plan.ts'
import { SINK_PORT } from './lab-traffic.ts'
import { REFUSED_PORT, SERVERLESS_PORT } from './odd-packets.ts'

type Kinds = Record<string, string>

const TO_SERVERS_BY_TCP = `(tcp.dstport == ${WEB_PORT} || tcp.dstport == ${WEB_PORT_INSIDE} || tcp.dstport == ${SINK_PORT})`
const TO_CLIENTS_BY_TCP = `(tcp.srcport == ${WEB_PORT} || tcp.srcport == ${SINK_PORT})`
const UNREACHABLE_PORT = 'icmp.type == 3 && icmp.code == 3'
const UNREACHABLE_PORT_6 = 'icmpv6.type == 1 && icmpv6.code == 4'
const { ipv4: VIP, ipv6: VIP_6 } = VIRTUAL_ADDRESSES
const { ipv4: GATEWAY, ipv6: GATEWAY_6 } = GATEWAY_ADDRESSES
/** Unsolicited, RFC 4861 section 7.2.6. */
const ANNOUNCES_NEIGHBOUR = 'icmpv6.type == 136 && icmpv6.nd.na.flag.s == 0'

const KINDS: Kinds = {
  'TCP segments to servers': `ip && ${TO_SERVERS_BY_TCP}`,
  'UDP datagrams to servers': `ip && udp.dstport == ${SINK_PORT} && !icmp`,
  'echo replies': `icmp.type == 0 && ip.src == ${VIP}`,
  'port unreachable for a port without a service': `${UNREACHABLE_PORT} && tcp.dstport == ${REFUSED_PORT}`,
  'port unreachable for a service without a server': `${UNREACHABLE_PORT} && tcp.dstport == ${SERVERLESS_PORT}`,
  'time exceeded': 'icmp.type == 11',
  "a client's ICMP error on its way to a server": `icmp.type == 3 && ip.src == 10.1.0.201 && udp.srcport == ${SINK_PORT}`,
  'first fragments': 'ip.flags.mf == 1 && ip.frag_offset == 0',
  'later fragments': 'ip.flags.mf == 1 && ip.frag_offset > 0',
  'last fragments': 'ip.flags.mf == 0 && ip.frag_offset > 0',
  'ARP requests': 'arp.opcode == 1 && !arp.isgratuitous',
  'ARP replies': 'arp.opcode == 2 && !arp.isgratuitous',
  'gratuitous ARP of the new holder': `arp.isgratuitous && arp.src.proto_ipv4 == ${VIP}`,
  'VRRP advertisements': 'vrrp && ip',
  'VRRP resignation': 'vrrp.prio == 0 && ip',

  'IPv6: TCP segments to servers': `ipv6 && ${TO_SERVERS_BY_TCP}`,
  'IPv6: UDP datagrams to servers': `ipv6 && udp.dstport == ${SINK_PORT} && !icmpv6`,
  'IPv6: echo replies': `icmpv6.type == 129 && ipv6.src == ${VIP_6}`,
  'IPv6: port unreachable for a port without a service': `${UNREACHABLE_PORT_6} && tcp.dstport == ${REFUSED_PORT}`,
  'IPv6: port unreachable for a service without a server': `${UNREACHABLE_PORT_6} && tcp.dstport == ${SERVERLESS_PORT}`,
  'IPv6: time exceeded': 'icmpv6.type == 3',
  "IPv6: a client's ICMP error on its way to a server": `icmpv6.type == 1 && ipv6.src == fd00:1::201 && udp.srcport == ${SINK_PORT}`,
  'IPv6: first fragments': 'ipv6.fraghdr.more == 1 && ipv6.fraghdr.offset == 0',
  'IPv6: later fragments': 'ipv6.fraghdr.more == 1 && ipv6.fraghdr.offset > 0',
  'IPv6: last fragments': 'ipv6.fraghdr.more == 0 && ipv6.fraghdr.offset > 0',
  'neighbour solicitations': 'icmpv6.type == 135',
  'neighbour advertisements for the virtual address': `icmpv6.type == 136 && icmpv6.nd.na.flag.s == 1 && icmpv6.nd.na.target_address == ${VIP_6}`,
  'neighbour advertisements of the new holder': `${ANNOUNCES_NEIGHBOUR} && icmpv6.nd.na.target_address == ${VIP_6}`,
  'IPv6: VRRP advertisements': 'vrrp && ipv6',
  'IPv6: VRRP resignation': 'vrrp.prio == 0 && ipv6',
}

/** And besides, for one. */
const KINDS_OF: Record<LabMethod, Kinds> = {
  nat: {
    'TCP segments to clients': `${TO_CLIENTS_BY_TCP} && ip.src == ${VIP}`,
    'UDP datagrams to clients': `udp.srcport == ${SINK_PORT} && ip.src == ${VIP}`,
    "a server's ICMP error on its way to a client": `${UNREACHABLE_PORT} && udp.dstport == ${SESSION_PORT}`,
    'gratuitous ARP for the gateway': `arp.isgratuitous && arp.src.proto_ipv4 == ${GATEWAY}`,
    'IPv6: TCP segments to clients': `${TO_CLIENTS_BY_TCP} && ipv6.src == ${VIP_6}`,
    'IPv6: UDP datagrams to clients': `udp.srcport == ${SINK_PORT} && ipv6.src == ${VIP_6}`,
    "IPv6: a server's ICMP error on its way to a client": `${UNREACHABLE_PORT_6} && udp.dstport == ${SESSION_PORT}`,
    'neighbour advertisements for the gateway': `${ANNOUNCES_NEIGHBOUR} && icmpv6.nd.na.target_address == ${GATEWAY_6}`,
  },
  tun: { 'fragmentation needed': 'icmp.type == 3 && icmp.code == 4', 'packet too big': 'icmpv6.type == 2' },
  dr: {},
}

/** tshark looks into IPIP and GRE; GUE is data to it, in a datagram whose checksum covers all. */
const KINDS_OF_TUNNEL: Record<TunnelSpec['type'], Kinds> = {
  ipip: {
    'IPv4 in IPv4': 'ip.proto == 4',
    'IPv6 in IPv4': 'ip.proto == 41',
    'IPv4 in IPv6': 'ipv6.nxt == 4',
    'IPv6 in IPv6': 'ipv6.nxt == 41',
  },
  gre: {
    'IPv4 in GRE with a good checksum': 'gre.proto == 0x0800 && gre.checksum.status == 1 && ip.proto == 47',
    'IPv6 in GRE with a good checksum': 'gre.proto == 0x86dd && gre.checksum.status == 1 && ip.proto == 47',
    'IPv6: IPv4 in GRE with a good checksum': 'gre.proto == 0x0800 && gre.checksum.status == 1 && ipv6.nxt == 47',
    'IPv6: IPv6 in GRE with a good checksum': 'gre.proto == 0x86dd && gre.checksum.status == 1 && ipv6.nxt == 47',
  },
  gue: {
    'GUE with a good checksum': `ip && udp.dstport == ${GUE_PORT} && udp.checksum.status == 1`,
    'IPv6: GUE with a good checksum': `ipv6 && udp.dstport == ${GUE_PORT} && udp.checksum.status == 1`,
  },
}
const INSIDE_A_TUNNEL = [
  'first fragments',
  'later fragments',
  'last fragments',
  'TCP segments to servers',
  'UDP datagrams to servers',
  "a client's ICMP error on its way to a server",
].flatMap((kind) => [kind, `IPv6: ${kind}`])

export function kindsFor(method: LabMethod, tunnel: TunnelSpec['type'] | undefined): Kinds {
  const kinds = { ...KINDS, ...KINDS_OF[method], ...(tunnel && KINDS_OF_TUNNEL[tunnel]) }
  if (tunnel === 'gue') for (const kind of INSIDE_A_TUNNEL) delete kinds[kind]
  return kinds
}
