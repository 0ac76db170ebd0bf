/** Builds whole Ethernet frames for tests, with finished checksums, from the few fields that a test cares about. */
import { parseIPv4, parseMac, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum, pseudoHeaderSum } from '../../protocol/packet/checksum.ts'
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, writeEthernet } from '../../protocol/packet/ethernet.ts'
import {
  DONT_FRAGMENT,
  IPV4,
  IPV4_HEADER_LENGTH,
  MORE_FRAGMENTS,
  PROTOCOL_ICMP,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  refreshIPv4Checksum,
  writeIPv4,
} from '../../protocol/packet/ipv4.ts'
import { TCP, TCP_HEADER_LENGTH } from '../../protocol/packet/tcp.ts'
import { UDP, UDP_HEADER_LENGTH } from '../../protocol/packet/udp.ts'

export interface FrameFields {
  sourceMac?: string
  destinationMac?: string
  /** "ADDRESS:PORT" */
  from: string
  to: string
  ttl?: number
  tos?: number
  identification?: number
  /** Flags and offset word; DF unless given. */
  fragment?: number
  payload?: string | Uint8Array
}

export interface TcpFields extends FrameFields {
  /** Flag bits; ACK unless given. */
  flags?: number
  sequence?: number
  acknowledgement?: number
}

export function tcpFrame(fields: TcpFields): Uint8Array {
  const payload = toBytes(fields.payload)
  const frame = ipFrame(fields, PROTOCOL_TCP, TCP_HEADER_LENGTH + payload.length)
  const tcp = ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH
  writeUint16(frame, tcp + TCP.sourcePort, portOf(fields.from))
  writeUint16(frame, tcp + TCP.destinationPort, portOf(fields.to))
  writeInt32(frame, tcp + TCP.sequence, fields.sequence ?? 1)
  writeInt32(frame, tcp + TCP.acknowledgement, fields.acknowledgement ?? 0)
  frame[tcp + TCP.dataOffset] = 5 << 4
  frame[tcp + TCP.flags] = fields.flags ?? 0x10
  writeUint16(frame, tcp + TCP.window, 64240)
  frame.set(payload, tcp + TCP_HEADER_LENGTH)
  writeUint16(frame, tcp + TCP.checksum, transportChecksum(frame, PROTOCOL_TCP))
  return frame
}

/** `checksum: false` leaves the UDP checksum out. */
export function udpFrame(fields: FrameFields & { checksum?: boolean }): Uint8Array {
  const payload = toBytes(fields.payload)
  const frame = ipFrame(fields, PROTOCOL_UDP, UDP_HEADER_LENGTH + payload.length)
  const udp = ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH
  writeUint16(frame, udp + UDP.sourcePort, portOf(fields.from))
  writeUint16(frame, udp + UDP.destinationPort, portOf(fields.to))
  writeUint16(frame, udp + UDP.length, UDP_HEADER_LENGTH + payload.length)
  frame.set(payload, udp + UDP_HEADER_LENGTH)
  if (fields.checksum !== false) {
    writeUint16(frame, udp + UDP.checksum, transportChecksum(frame, PROTOCOL_UDP) || 0xffff)
  }
  return frame
}

/** One chunk after the other, each as its type, flags and value. */
export interface SctpFields extends Omit<FrameFields, 'payload'> {
  verificationTag?: number
  chunks: readonly { type: number; flags?: number; value?: Uint8Array }[]
}

export function sctpFrame(fields: SctpFields): Uint8Array {
  const chunks = Buffer.concat(
    fields.chunks.map(({ type, flags, value = new Uint8Array(0) }) => {
      const chunk = Buffer.alloc((4 + value.length + 3) & ~3)
      chunk[0] = type
      chunk[1] = flags ?? 0
      chunk.writeUInt16BE(4 + value.length, 2)
      chunk.set(value, 4)
      return chunk
    }),
  )
  const frame = ipFrame(fields, PROTOCOL_SCTP, 12 + chunks.length)
  const sctp = ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH
  writeUint16(frame, sctp, portOf(fields.from))
  writeUint16(frame, sctp + 2, portOf(fields.to))
  writeInt32(frame, sctp + 4, fields.verificationTag ?? 0x1234_5678)
  frame.set(chunks, sctp + 12)
  new DataView(frame.buffer).setUint32(sctp + 8, crc32cBitByBit(frame.subarray(sctp)), true)
  return frame
}

/** CRC32c by its definition (RFC 9260 appendix A), a bit at a time: the model that the forwarder's is held against. */
export function crc32cBitByBit(bytes: Uint8Array): number {
  let register = 0xffff_ffff
  for (const byte of bytes) {
    register ^= byte
    for (let bit = 0; bit < 8; bit++) register = register & 1 ? (register >>> 1) ^ 0x82f6_3b78 : register >>> 1
  }
  return ~register >>> 0
}

/** A packet of a protocol without ports, such as ESP: what lies behind the IP header is the payload. Ports are not needed. */
export function ipPacketFrame(fields: FrameFields & { protocol: number }): Uint8Array {
  const payload = toBytes(fields.payload)
  const frame = ipFrame(fields, fields.protocol, payload.length)
  frame.set(payload, ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH)
  return frame
}

export interface IcmpFields extends Omit<FrameFields, 'payload'> {
  type: number
  code?: number
  /** The header's second word. */
  rest?: number
  payload?: string | Uint8Array
}

/** Ports in `from` and `to` are not needed. */
export function icmpFrame(fields: IcmpFields): Uint8Array {
  const payload = toBytes(fields.payload)
  const frame = ipFrame(fields, PROTOCOL_ICMP, 8 + payload.length)
  const icmp = ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH
  frame[icmp] = fields.type
  frame[icmp + 1] = fields.code ?? 0
  writeInt32(frame, icmp + 4, fields.rest ?? 0)
  frame.set(payload, icmp + 8)
  writeUint16(frame, icmp + 2, checksum(frame, icmp, 8 + payload.length))
  return frame
}

/** The fragments that a host with this MTU makes of a frame without IP options (RFC 791 section 3.2). */
export function fragmentsOf(frame: Uint8Array, mtu: number): Uint8Array[] {
  const headers = ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH
  const size = (mtu - IPV4_HEADER_LENGTH) & ~7
  const fragments: Uint8Array[] = []
  for (let at = headers; at < frame.length; at += size) {
    const data = frame.subarray(at, at + size)
    const more = at + size < frame.length ? MORE_FRAGMENTS : 0
    fragments.push(withHeader(frame, data, more | ((at - headers) / 8)))
  }
  return fragments
}

/** The frame that was cut into these, in any order. Throws when something is missing or there twice. */
export function wholeOf(fragments: readonly Uint8Array[]): Uint8Array {
  const offsetOf = (frame: Uint8Array) => (((frame[20] & 0x1f) << 8) | frame[21]) * 8
  const inOrder = fragments.toSorted((one, other) => offsetOf(one) - offsetOf(other))
  let length = 0
  for (const [index, frame] of inOrder.entries()) {
    const isLast = index === inOrder.length - 1
    if (offsetOf(frame) !== length) throw new Error(`a fragment at ${offsetOf(frame)} where ${length} bytes have come`)
    if (((frame[20] & 0x20) === 0) !== isLast) throw new Error(`fragment ${index} is wrong about being the last`)
    if (checksum(frame, ETHERNET_HEADER_LENGTH, IPV4_HEADER_LENGTH) !== 0) throw new Error('a wrong IP checksum')
    length += frame.length - ETHERNET_HEADER_LENGTH - IPV4_HEADER_LENGTH
  }
  const data = Buffer.concat(inOrder.map((frame) => frame.subarray(ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH)))
  return withHeader(inOrder[0], data, 0)
}

/** The Ethernet and IP headers of a frame, this data behind them, and this word of flags and offset. */
function withHeader(frame: Uint8Array, data: Uint8Array, fragment: number): Uint8Array {
  const headers = ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH
  const made = Uint8Array.from([...frame.subarray(0, headers), ...data])
  writeUint16(made, ETHERNET_HEADER_LENGTH + IPV4.totalLength, made.length - ETHERNET_HEADER_LENGTH)
  writeUint16(made, ETHERNET_HEADER_LENGTH + IPV4.fragment, fragment)
  refreshIPv4Checksum(made, ETHERNET_HEADER_LENGTH, IPV4_HEADER_LENGTH)
  return made
}

/** The IP packet of a frame: what lies behind its Ethernet header. */
export function packetOf(frame: Uint8Array): Uint8Array {
  return frame.subarray(ETHERNET_HEADER_LENGTH)
}

function ipFrame(fields: FrameFields, protocol: number, transportLength: number): Uint8Array {
  const frame = new Uint8Array(ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH + transportLength)
  const destination = parseMac(fields.destinationMac ?? '02:00:00:00:00:00')
  const source = parseMac(fields.sourceMac ?? '02:00:00:00:00:00')
  writeEthernet(frame, 0, destination, source, ETHERTYPE_IPV4)
  writeIPv4(frame, ETHERNET_HEADER_LENGTH, {
    tos: fields.tos ?? 0,
    totalLength: IPV4_HEADER_LENGTH + transportLength,
    identification: fields.identification ?? 0,
    fragment: fields.fragment ?? DONT_FRAGMENT,
    ttl: fields.ttl ?? 64,
    protocol,
    source: parseIPv4(fields.from.split(':')[0]),
    destination: parseIPv4(fields.to.split(':')[0]),
  })
  return frame
}

/** The checksum of a TCP or UDP frame without IP options, computed over the field as it stands. */
function transportChecksum(frame: Uint8Array, protocol: number): number {
  const ip = ETHERNET_HEADER_LENGTH
  const length = frame.length - ip - IPV4_HEADER_LENGTH
  return checksum(frame, ip + IPV4_HEADER_LENGTH, length, pseudoHeaderSum(frame, ip, protocol, length))
}

/** Whether the IP header's and the transport's checksums of a frame are right (UDP without one counts as right). */
export function checksumsAreRight(frame: Uint8Array): boolean {
  const ip = ETHERNET_HEADER_LENGTH
  if (checksum(frame, ip, IPV4_HEADER_LENGTH) !== 0) return false
  const protocol = frame[ip + 9]
  const transport = ip + IPV4_HEADER_LENGTH
  if (protocol === PROTOCOL_ICMP) return checksum(frame, transport, frame.length - transport) === 0
  if (protocol === PROTOCOL_UDP && frame[transport + 6] === 0 && frame[transport + 7] === 0) return true
  return transportChecksum(frame, protocol) === 0
}

function portOf(endpoint: string): number {
  return Number(endpoint.split(':')[1])
}

function toBytes(payload: string | Uint8Array | undefined): Uint8Array {
  return typeof payload === 'string' ? new TextEncoder().encode(payload) : (payload ?? new Uint8Array(0))
}
