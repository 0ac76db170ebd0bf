/** As frames.ts, for IPv6: whole Ethernet frames for tests, with finished checksums. */
import { parseMac, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum } from '../../protocol/packet/checksum.ts'
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV6, writeEthernet } from '../../protocol/packet/ethernet.ts'
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import {
  IPV6_HEADER_LENGTH,
  PROTOCOL_FRAGMENT,
  PROTOCOL_ICMPV6,
  pseudoHeaderSumIPv6,
  writeIPv6,
} from '../../protocol/packet/ipv6.ts'
import { parseIPv6 } from '../../protocol/packet/ipv6-address.ts'
import { TCP, TCP_HEADER_LENGTH } from '../../protocol/packet/tcp.ts'
import { UDP, UDP_HEADER_LENGTH } from '../../protocol/packet/udp.ts'

/** An extension header: its protocol number and its bytes, whose first one will be set to what follows. */
export type Extension = readonly [protocol: number, bytes: Uint8Array]

export interface FrameFields6 {
  sourceMac?: string
  destinationMac?: string
  /** "[ADDRESS]:PORT", or an address alone. */
  from: string
  to: string
  hopLimit?: number
  trafficClass?: number
  flowLabel?: number
  extensions?: readonly Extension[]
  payload?: string | Uint8Array
}

export interface TcpFields6 extends FrameFields6 {
  /** Flag bits; ACK unless given. */
  flags?: number
  sequence?: number
  acknowledgement?: number
}

export function tcpFrame6(fields: TcpFields6): Uint8Array {
  const payload = toBytes(fields.payload)
  const tcp = new Uint8Array(TCP_HEADER_LENGTH + payload.length)
  writeUint16(tcp, TCP.sourcePort, portOf(fields.from))
  writeUint16(tcp, TCP.destinationPort, portOf(fields.to))
  writeInt32(tcp, TCP.sequence, fields.sequence ?? 1)
  writeInt32(tcp, TCP.acknowledgement, fields.acknowledgement ?? 0)
  tcp[TCP.dataOffset] = 5 << 4
  tcp[TCP.flags] = fields.flags ?? 0x10
  writeUint16(tcp, TCP.window, 64240)
  tcp.set(payload, TCP_HEADER_LENGTH)
  return ipv6Frame(fields, PROTOCOL_TCP, tcp, TCP.checksum)
}

/** `checksum: false` leaves the UDP checksum out. */
export function udpFrame6(fields: FrameFields6 & { checksum?: boolean }): Uint8Array {
  const payload = toBytes(fields.payload)
  const udp = new Uint8Array(UDP_HEADER_LENGTH + payload.length)
  writeUint16(udp, UDP.sourcePort, portOf(fields.from))
  writeUint16(udp, UDP.destinationPort, portOf(fields.to))
  writeUint16(udp, UDP.length, udp.length)
  udp.set(payload, UDP_HEADER_LENGTH)
  return ipv6Frame(fields, PROTOCOL_UDP, udp, fields.checksum === false ? undefined : UDP.checksum)
}

export interface IcmpFields6 extends FrameFields6 {
  type: number
  code?: number
  /** The header's second word. */
  rest?: number
}

/** Ports in `from` and `to` are not needed. */
export function icmpFrame6(fields: IcmpFields6): Uint8Array {
  const payload = toBytes(fields.payload)
  const icmp = new Uint8Array(8 + payload.length)
  icmp[0] = fields.type
  icmp[1] = fields.code ?? 0
  writeInt32(icmp, 4, fields.rest ?? 0)
  icmp.set(payload, 8)
  return ipv6Frame(fields, PROTOCOL_ICMPV6, icmp, 2)
}

/**
 * A packet of any protocol.
 * @param checksumAt where its checksum is to be written; undefined: it has none
 */
export function ipv6Frame(
  fields: FrameFields6,
  protocol: number,
  message: Uint8Array,
  checksumAt: number | undefined,
): Uint8Array {
  const extensions = fields.extensions ?? []
  const protocols = [...extensions.map(([number]) => number), protocol]
  const chain = extensions.flatMap(([, bytes], index) => [protocols[index + 1], ...bytes.subarray(1)])
  const frame = new Uint8Array(ETHERNET_HEADER_LENGTH + IPV6_HEADER_LENGTH + chain.length + message.length)
  const destination = parseMac(fields.destinationMac ?? '02:00:00:00:00:00')
  const source = parseMac(fields.sourceMac ?? '02:00:00:00:00:00')
  writeEthernet(frame, 0, destination, source, ETHERTYPE_IPV6)
  const ip = ETHERNET_HEADER_LENGTH
  writeIPv6(frame, ip, {
    trafficClass: fields.trafficClass,
    flowLabel: fields.flowLabel,
    payloadLength: chain.length + message.length,
    nextHeader: protocols[0],
    hopLimit: fields.hopLimit ?? 64,
    source: parseIPv6(addressOf(fields.from)),
    destination: parseIPv6(addressOf(fields.to)),
  })
  const transport = ip + IPV6_HEADER_LENGTH + chain.length
  frame.set(chain, ip + IPV6_HEADER_LENGTH)
  frame.set(message, transport)
  if (checksumAt !== undefined) {
    const initial = pseudoHeaderSumIPv6(frame, ip, protocol, message.length)
    const sum = checksum(frame, transport, message.length, initial)
    writeUint16(frame, transport + checksumAt, protocol === PROTOCOL_UDP ? sum || 0xffff : sum)
  }
  return frame
}

const HEADERS = ETHERNET_HEADER_LENGTH + IPV6_HEADER_LENGTH

/**
 * The fragments that a host with this MTU makes of a frame (RFC 8200 section 4.5).
 * @param unfragmentable bytes of extension headers in front of the fragment header
 */
export function fragmentsOf6(frame: Uint8Array, mtu: number, identification = 7, unfragmentable = 0): Uint8Array[] {
  const from = HEADERS + unfragmentable
  const size = (mtu - IPV6_HEADER_LENGTH - unfragmentable - 8) & ~7
  const lastNextHeader = unfragmentable === 0 ? 20 : from - unfragmentable
  const fragments: Uint8Array[] = []
  for (let at = from; at < frame.length; at += size) {
    const data = frame.subarray(at, at + size)
    const made = Uint8Array.of(...frame.subarray(0, from), ...new Uint8Array(8), ...data)
    made[from] = frame[lastNextHeader]
    made[lastNextHeader] = PROTOCOL_FRAGMENT
    writeUint16(made, from + 2, (at - from) | (at + size < frame.length ? 1 : 0))
    writeInt32(made, from + 4, identification)
    writeUint16(made, 18, made.length - HEADERS)
    fragments.push(made)
  }
  return fragments
}

/** The frame that was cut into these, in any order, whose fragment header is the first. Throws when something is missing or there twice. */
export function wholeOf6(fragments: readonly Uint8Array[]): Uint8Array {
  const offsetOf = (frame: Uint8Array) => ((frame[HEADERS + 2] << 8) | frame[HEADERS + 3]) & 0xfff8
  const inOrder = fragments.toSorted((one, other) => offsetOf(one) - offsetOf(other))
  let length = 0
  for (const [index, frame] of inOrder.entries()) {
    const isLast = index === inOrder.length - 1
    if (frame[20] !== PROTOCOL_FRAGMENT) throw new Error(`fragment ${index} is none`)
    if (offsetOf(frame) !== length) throw new Error(`a fragment at ${offsetOf(frame)} where ${length} bytes have come`)
    if (((frame[HEADERS + 3] & 1) === 0) !== isLast) throw new Error(`fragment ${index} is wrong about being the last`)
    if (frame[18] * 256 + frame[19] !== frame.length - HEADERS) throw new Error(`fragment ${index} has a wrong length`)
    length += frame.length - HEADERS - 8
  }
  const [first] = inOrder
  const data = Buffer.concat(inOrder.map((frame) => frame.subarray(HEADERS + 8)))
  const whole = Uint8Array.of(...first.subarray(0, HEADERS), ...data)
  whole[20] = first[HEADERS]
  writeUint16(whole, 18, data.length)
  return whole
}

function addressOf(endpoint: string): string {
  return endpoint.startsWith('[') ? endpoint.slice(1, endpoint.indexOf(']')) : endpoint
}

function portOf(endpoint: string): number {
  return Number(endpoint.slice(endpoint.indexOf(']:') + 2))
}

function toBytes(payload: string | Uint8Array | undefined): Uint8Array {
  return typeof payload === 'string' ? new TextEncoder().encode(payload) : (payload ?? new Uint8Array(0))
}
