/**
 * ICMP that the director itself sends: echo replies, and errors about a packet it will not forward. Both are made in place of
 * the packet that caused them, with Ethernet addresses turned round.
 *
 * Source: RFC 792; RFC 1812 section 4.3.2 (what may be answered, how much is quoted, at what rate).
 */
import { readInt32, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum } from '../../protocol/packet/checksum.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { ICMP, ICMP_ECHO_REPLY, ICMP_ERROR_MAX_LENGTH, ICMP_HEADER_LENGTH } from '../../protocol/packet/icmp.ts'
import { IPV4, IPV4_HEADER_LENGTH, PROTOCOL_ICMP, refreshIPv4Checksum, writeIPv4 } from '../../protocol/packet/ipv4.ts'
import type { Frame } from '../link/link.ts'
import { clearOffload } from '../method/offload.ts'

const TTL = 64

/** Turns an echo request into its reply. The frame's checksum must be finished, which for ICMP it always is. */
export function turnIntoEchoReply(frame: Frame, ipHeaderLength: number): void {
  const bytes = frame.memory.bytes
  const ip = frame.start + ETHERNET_HEADER_LENGTH
  const icmp = ip + ipHeaderLength
  swapEthernet(bytes, frame.start)
  const source = readInt32(bytes, ip + IPV4.source)
  writeInt32(bytes, ip + IPV4.source, readInt32(bytes, ip + IPV4.destination))
  writeInt32(bytes, ip + IPV4.destination, source)
  bytes[ip + IPV4.ttl] = TTL
  refreshIPv4Checksum(bytes, ip, ipHeaderLength)
  bytes[icmp + ICMP.type] = ICMP_ECHO_REPLY
  writeUint16(bytes, icmp + ICMP.checksum, 0)
  const length = frame.length - ETHERNET_HEADER_LENGTH - ipHeaderLength
  writeUint16(bytes, icmp + ICMP.checksum, checksum(bytes, icmp, length))
  clearOffload(frame)
}

/**
 * Turns a packet into the ICMP error about it, which quotes it. Grows into the headroom before the frame.
 * @param rest the second word of the ICMP header, such as the MTU
 * @param source the address that the error comes from
 */
export function turnIntoIcmpError(frame: Frame, type: number, code: number, rest: number, source: number): void {
  const bytes = frame.memory.bytes
  const quoted = frame.start + ETHERNET_HEADER_LENGTH
  const destination = readInt32(bytes, quoted + IPV4.source)
  const added = IPV4_HEADER_LENGTH + ICMP_HEADER_LENGTH
  const totalLength = Math.min(ICMP_ERROR_MAX_LENGTH, frame.length - ETHERNET_HEADER_LENGTH + added)
  const start = frame.start - added
  bytes.copyWithin(start, frame.start, frame.start + ETHERNET_HEADER_LENGTH)
  frame.start = start
  frame.length = ETHERNET_HEADER_LENGTH + totalLength
  swapEthernet(bytes, start)
  clearOffload(frame)
  const ip = start + ETHERNET_HEADER_LENGTH
  const icmp = ip + IPV4_HEADER_LENGTH
  writeIPv4(bytes, ip, {
    tos: 0xc0, // internetwork control, RFC 1812 section 4.3.2.5
    totalLength,
    identification: 0,
    fragment: 0,
    ttl: TTL,
    protocol: PROTOCOL_ICMP,
    source,
    destination,
  })
  bytes[icmp + ICMP.type] = type
  bytes[icmp + ICMP.code] = code
  writeUint16(bytes, icmp + ICMP.checksum, 0)
  writeInt32(bytes, icmp + ICMP.rest, rest)
  writeUint16(bytes, icmp + ICMP.checksum, checksum(bytes, icmp, totalLength - IPV4_HEADER_LENGTH))
}

/** Turns the Ethernet addresses of the frame at `start` round. */
export function swapEthernet(bytes: Uint8Array, start: number): void {
  for (let i = start; i < start + 6; i++) {
    const byte = bytes[i]
    bytes[i] = bytes[i + 6]
    bytes[i + 6] = byte
  }
}

/**
 * A bucket of tokens for ICMP errors: as the kernel's icmp_msgs_per_sec, 1000 a second. That a packet was too big is not said from the
 * bucket of the other errors: a scan of ports would empty it, and who is not told sends the same packet for ever. Linux limits it not at
 * all (net/ipv4/icmp.c icmpv4_global_allow(), and the default of icmpv6's ratemask).
 */
export class IcmpRateLimit {
  #tokens = 1000
  #filledMs = 0

  /** Takes a token if there is one. */
  allow(nowMs: number): boolean {
    this.#tokens = Math.min(1000, this.#tokens + (nowMs - this.#filledMs))
    this.#filledMs = nowMs
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
