/** UDP: one state, and a timer that every packet winds up. Source: Linux net/netfilter/ipvs/ip_vs_proto_udp.c. */
import { PROTOCOL_UDP } from '../../../protocol/packet/ipv4.ts'
import { UDP_HEADER_LENGTH } from '../../../protocol/packet/udp.ts'
import type { Protocol } from './protocol.ts'

export const udpProtocol: Protocol = {
  number: PROTOCOL_UDP,
  name: 'udp',
  states: [{ name: 'UDP', timeoutS: 300 }],
  headerLength: UDP_HEADER_LENGTH,
}
