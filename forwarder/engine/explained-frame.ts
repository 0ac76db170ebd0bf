/**
 * The frame of a simulated question: the first packet of a connection as the client's router hands it over, and what the
 * forwarding methods make of it. A scratch one, with their own functions.
 */
import { formatIPv4, formatMac, parseIPv4 } from '../../protocol/packet/bytes.ts'
import {
  ETHERNET_HEADER_LENGTH,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  writeEthernet,
} from '../../protocol/packet/ethernet.ts'
import {
  DONT_FRAGMENT,
  IPV4,
  IPV4_HEADER_LENGTH,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  writeIPv4,
} from '../../protocol/packet/ipv4.ts'
import { IPV6, IPV6_HEADER_LENGTH, writeIPv6 } from '../../protocol/packet/ipv6.ts'
import { formatEndpoint, isIPv6Text, parseIPv6, readIPv6Text } from '../../protocol/packet/ipv6-address.ts'
import { SCTP, SCTP_CHUNK } from '../../protocol/packet/sctp.ts'
import { TCP, TCP_SYN } from '../../protocol/packet/tcp.ts'
import { type Frame, HEADROOM, VNET_HEADER_LENGTH } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { decrementHopLimit, rewriteDestination6 } from '../method/ipv6-nat.ts'
import { rewriteDestination } from '../method/nat.ts'
import { isIPv6Packet } from '../method/tunnel-header.ts'
import { METHOD_DR, METHOD_TUN, type RealServer } from '../table/real-server.ts'
import type { Egress } from './egress.ts'
import type { Question } from './explain.ts'
import type { Neighbour } from './neighbours.ts'
import { protocolNumber } from './protocols/registry.ts'

/** A frame as far as forwarding changes it. Undefined MACs: not known, or not yet. */
export interface FrameFacts {
  readonly link: string
  readonly sourceMac?: string
  readonly destinationMac?: string
  /** Of the tunnel; protocol is IP's number. */
  readonly outer?: {
    readonly source: string
    readonly destination: string
    readonly protocol: number
    readonly ttl: number
  }
  /** "ADDRESS:PORT" or "[ADDRESS]:PORT" */
  readonly source: string
  readonly destination: string
  /** Of IPv6 the hop limit. */
  readonly ttl: number
}

/** Linux's own initial TTL and hop limit. */
const CLIENT_TTL = 64
/** Room for the longest transport header that is touched. */
const TRANSPORT_LENGTH = 20

export class ExplainedFrame {
  readonly frame: Frame
  readonly isIPv6: boolean
  readonly protocol: number
  /** Offsets. */
  readonly ip: number
  readonly transport: number

  /** With a SYN, an INIT or a datagram. */
  constructor(question: Question) {
    const { client, clientPort, virtual, virtualPort } = question
    const protocol = protocolNumber(question.protocol)
    const isIPv6 = isIPv6Text(virtual)
    const headerLength = isIPv6 ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH
    const start = HEADROOM + VNET_HEADER_LENGTH
    const length = ETHERNET_HEADER_LENGTH + headerLength + TRANSPORT_LENGTH
    const bytes = new Uint8Array(start + length)
    const view = new DataView(bytes.buffer)
    writeEthernet(bytes, start, new Uint8Array(6), new Uint8Array(6), isIPv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4)
    const ip = start + ETHERNET_HEADER_LENGTH
    if (isIPv6) {
      const [source, destination] = [parseIPv6(client), parseIPv6(virtual)]
      const fields = { trafficClass: 0, payloadLength: TRANSPORT_LENGTH, nextHeader: protocol, hopLimit: CLIENT_TTL }
      writeIPv6(bytes, ip, { ...fields, source, destination })
    } else {
      writeIPv4(bytes, ip, {
        tos: 0,
        totalLength: length - ETHERNET_HEADER_LENGTH,
        identification: 0,
        fragment: DONT_FRAGMENT,
        ttl: CLIENT_TTL,
        protocol,
        source: parseIPv4(client),
        destination: parseIPv4(virtual),
      })
    }
    const transport = ip + headerLength
    view.setUint16(transport, clientPort)
    view.setUint16(transport + 2, virtualPort)
    if (protocol === PROTOCOL_TCP) bytes[transport + TCP.flags] = TCP_SYN
    if (protocol === PROTOCOL_SCTP) bytes[transport + SCTP.firstChunk] = SCTP_CHUNK.INIT
    this.isIPv6 = isIPv6
    this.protocol = protocol
    this.ip = ip
    this.transport = transport
    // No kernel ever sees it.
    this.frame = { memory: { bytes, view, addressHigh: 0, addressLow: 0 }, start, length }
  }

  /** Lets a method do to it what it does on the way to a server. */
  forward(method: number, server: RealServer, port: number, hop: Neighbour, egress: Egress): void {
    const { frame, ip, transport, protocol, isIPv6 } = this
    const { view } = frame.memory
    if (method === METHOD_TUN || method === METHOD_DR) {
      if (isIPv6) decrementHopLimit(view, ip)
      else decrementTtl(view, ip)
    } else if (isIPv6) {
      rewriteDestination6(view, ip, transport, protocol, server.addressWords, 0, port, true)
    } else {
      rewriteDestination(view, ip, transport, server.address, port, true)
    }
    if (method === METHOD_TUN) egress.encapsulate(frame, hop, server, 0)
  }

  /** What endpoints and TTL it has now, and, if something was put in front of it, what. */
  facts(): Pick<FrameFacts, 'outer' | 'source' | 'destination' | 'ttl'> {
    const { ip, transport, isIPv6 } = this
    const { view } = this.frame.memory
    const inner = headerFacts(view, ip, isIPv6)
    const outerIp = this.frame.start + ETHERNET_HEADER_LENGTH
    return {
      ...(outerIp !== ip && { outer: headerFacts(view, outerIp, isIPv6Packet(view, outerIp)) }),
      source: formatEndpoint(inner.source, view.getUint16(transport)),
      destination: formatEndpoint(inner.destination, view.getUint16(transport + 2)),
      ttl: inner.ttl,
    }
  }
}

/** A MAC in the words in which neighbours and return paths keep it. */
export function macText(high: number, low: number): string {
  const bytes = new Uint8Array(6)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, high)
  view.setInt32(2, low)
  return formatMac(bytes)
}

function headerFacts(view: DataView, ip: number, isIPv6: boolean): NonNullable<FrameFacts['outer']> {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
  const address = (at: number) => (isIPv6 ? readIPv6Text(bytes, ip + at) : formatIPv4(view.getInt32(ip + at)))
  const fields = isIPv6 ? IPV6 : IPV4
  return {
    source: address(fields.source),
    destination: address(fields.destination),
    protocol: view.getUint8(ip + (isIPv6 ? IPV6.nextHeader : IPV4.protocol)),
    ttl: view.getUint8(ip + (isIPv6 ? IPV6.hopLimit : IPV4.ttl)),
  }
}
