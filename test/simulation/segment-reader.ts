/** The few fields of a TCP segment or an ICMP error in its Ethernet frame that simulated hosts look at. */
import { readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { IPV4, IPV4_HEADER_LENGTH, PROTOCOL_ICMP, PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { TCP } from '../../protocol/packet/tcp.ts'

const IP = ETHERNET_HEADER_LENGTH
const TRANSPORT = IP + IPV4_HEADER_LENGTH
const ICMP_UNREACHABLE = 3
/** The packet that an ICMP error is about begins here. */
const INNER_IP = TRANSPORT + 8
const INNER_TCP = INNER_IP + IPV4_HEADER_LENGTH

export interface Segment {
  readonly source: number
  readonly destination: number
  readonly flags: number
  readonly sequence: number
  readonly acknowledgement: number
}

export function isTcp(frame: Uint8Array): boolean {
  return frame[IP + IPV4.protocol] === PROTOCOL_TCP
}

/** Source and destination as endpoint() makes them. */
export function readSegment(frame: Uint8Array): Segment {
  return {
    source: endpointAt(frame, IP + IPV4.source, TRANSPORT + TCP.sourcePort),
    destination: endpointAt(frame, IP + IPV4.destination, TRANSPORT + TCP.destinationPort),
    flags: frame[TRANSPORT + TCP.flags],
    sequence: readInt32(frame, TRANSPORT + TCP.sequence),
    acknowledgement: readInt32(frame, TRANSPORT + TCP.acknowledgement),
  }
}

/** Whose segment an ICMP error says could not be delivered, and which; undefined: it is none. */
export function readUnreachable(frame: Uint8Array): Pick<Segment, 'source' | 'sequence'> | undefined {
  if (frame[IP + IPV4.protocol] !== PROTOCOL_ICMP || frame[TRANSPORT] !== ICMP_UNREACHABLE) return undefined
  return {
    source: endpointAt(frame, INNER_IP + IPV4.source, INNER_TCP + TCP.sourcePort),
    sequence: readInt32(frame, INNER_TCP + TCP.sequence),
  }
}

function endpointAt(frame: Uint8Array, address: number, port: number): number {
  return (readInt32(frame, address) >>> 0) * 65536 + readUint16(frame, port)
}
