/**
 * ICMPv6 that the director itself sends: echo replies, and errors about a packet it will not forward, as far as the rate limit lets
 * it. Both are made in place of the packet that caused them, with Ethernet addresses turned round.
 *
 * Source: RFC 4443 section 2.4 (what may be answered, how much is quoted, at what rate), 3.1 to 3.3, 4.2.
 */
import { readInt32, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import {
  ICMPV6,
  ICMPV6_CODE_PORT_UNREACHABLE,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ERROR_MAX_LENGTH,
  ICMPV6_HEADER_LENGTH,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
  refreshIcmpv6Checksum,
} from '../../protocol/packet/icmpv6.ts'
import { IPV6, IPV6_HEADER_LENGTH, IPV6_MINIMUM_MTU, PROTOCOL_ICMPV6, writeIPv6 } from '../../protocol/packet/ipv6.ts'
import type { Frame } from '../link/link.ts'
import { clearOffload } from '../method/offload.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import { IcmpRateLimit, swapEthernet } from './icmp-answers.ts'
import { DROPPED, type Verdict } from './verdict.ts'

const DROP_TTL = dropCode('ttl-exceeded')
const DROP_TOO_BIG = dropCode('too-big')
const DROP_ICMP_LIMITED = dropCode('icmp-limited')

const HOP_LIMIT = 64
/** Internetwork control (RFC 2474), as for IPv4's errors. */
const TRAFFIC_CLASS = 0xc0

export class IPv6Answers {
  readonly #drops: Drops
  readonly #limit = new IcmpRateLimit()
  readonly #tooBigLimit = new IcmpRateLimit()
  /** Where the answer comes from; written by whoever asks for one. */
  readonly source = new Int32Array(4)
  #nowMs = 0

  constructor(drops: Drops) {
    this.#drops = drops
  }

  setTime(nowMs: number): void {
    this.#nowMs = nowMs
  }

  /** Lets the next answer come from the address in the words from `at`. */
  from(words: Int32Array, at: number): this {
    for (let word = 0; word < 4; word++) this.source[word] = words[at + word]
    return this
  }

  /** Lets the next answer come from where the packet went. */
  fromDestination(frame: Frame): this {
    const at = frame.start + ETHERNET_HEADER_LENGTH + IPV6.destination
    for (let word = 0; word < 4; word++) this.source[word] = readInt32(frame.memory.bytes, at + word * 4)
    return this
  }

  hopLimitExceeded(frame: Frame, link: number): Verdict {
    return this.#answer(frame, link, DROP_TTL, ICMPV6_TIME_EXCEEDED, 0, 0)
  }

  tooBig(frame: Frame, link: number, mtu: number): Verdict {
    // Nobody makes his packets smaller than this (RFC 8201 section 4).
    const reported = Math.max(IPV6_MINIMUM_MTU, mtu)
    return this.#answer(frame, link, DROP_TOO_BIG, ICMPV6_PACKET_TOO_BIG, 0, reported)
  }

  /** @param reason the drop code */
  portUnreachable(frame: Frame, link: number, reason: number): Verdict {
    return this.#answer(frame, link, reason, ICMPV6_UNREACHABLE, ICMPV6_CODE_PORT_UNREACHABLE, 0)
  }

  /** Turns a packet into the ICMPv6 error about it. False, and counted, when there have been too many. */
  turnIntoError(frame: Frame, type: number, code: number, rest: number): boolean {
    if ((type === ICMPV6_PACKET_TOO_BIG ? this.#tooBigLimit : this.#limit).allow(this.#nowMs)) {
      turnIntoIcmpv6Error(frame, type, code, rest, this.source)
      return true
    }
    this.#drops.add(DROP_ICMP_LIMITED, 1)
    return false
  }

  #answer(frame: Frame, link: number, reason: number, type: number, code: number, rest: number): Verdict {
    this.#drops.add(reason, 1)
    return this.turnIntoError(frame, type, code, rest) ? link : DROPPED
  }
}

/** Turns an echo request into its reply, without whatever extension headers it came with. */
export function turnIntoEchoReply6(frame: Frame, headerLength: number): void {
  const bytes = frame.memory.bytes
  const extensions = headerLength - IPV6_HEADER_LENGTH
  if (extensions > 0) {
    bytes.copyWithin(frame.start + extensions, frame.start, frame.start + ETHERNET_HEADER_LENGTH + IPV6_HEADER_LENGTH)
    frame.start += extensions
    frame.length -= extensions
  }
  swapEthernet(bytes, frame.start)
  clearOffload(frame)
  const ip = frame.start + ETHERNET_HEADER_LENGTH
  const icmp = ip + IPV6_HEADER_LENGTH
  const length = frame.length - ETHERNET_HEADER_LENGTH - IPV6_HEADER_LENGTH
  for (let word = 0; word < 16; word += 4) {
    const source = readInt32(bytes, ip + IPV6.source + word)
    writeInt32(bytes, ip + IPV6.source + word, readInt32(bytes, ip + IPV6.destination + word))
    writeInt32(bytes, ip + IPV6.destination + word, source)
  }
  writeUint16(bytes, ip + IPV6.payloadLength, length)
  bytes[ip + IPV6.nextHeader] = PROTOCOL_ICMPV6
  bytes[ip + IPV6.hopLimit] = HOP_LIMIT
  bytes[icmp + ICMPV6.type] = ICMPV6_ECHO_REPLY
  refreshIcmpv6Checksum(bytes, ip, icmp, length)
}

/**
 * Turns a packet into the ICMPv6 error about it, which quotes it. Grows into the headroom before the frame.
 * @param rest the second word of the ICMPv6 header, such as the MTU
 * @param source the address that the error comes from
 */
export function turnIntoIcmpv6Error(frame: Frame, type: number, code: number, rest: number, source: Int32Array): void {
  const bytes = frame.memory.bytes
  const quoted = frame.start + ETHERNET_HEADER_LENGTH
  const destination = Int32Array.from({ length: 4 }, (_, word) => readInt32(bytes, quoted + IPV6.source + word * 4))
  const added = IPV6_HEADER_LENGTH + ICMPV6_HEADER_LENGTH
  const totalLength = Math.min(ICMPV6_ERROR_MAX_LENGTH, frame.length - ETHERNET_HEADER_LENGTH + added)
  const start = frame.start - added
  bytes.copyWithin(start, frame.start, frame.start + ETHERNET_HEADER_LENGTH)
  frame.start = start
  frame.length = ETHERNET_HEADER_LENGTH + totalLength
  swapEthernet(bytes, start)
  clearOffload(frame)
  const ip = start + ETHERNET_HEADER_LENGTH
  const icmp = ip + IPV6_HEADER_LENGTH
  const payloadLength = totalLength - IPV6_HEADER_LENGTH
  writeIPv6(bytes, ip, {
    trafficClass: TRAFFIC_CLASS,
    payloadLength,
    nextHeader: PROTOCOL_ICMPV6,
    hopLimit: HOP_LIMIT,
    source,
    destination,
  })
  bytes[icmp + ICMPV6.type] = type
  bytes[icmp + ICMPV6.code] = code
  writeInt32(bytes, icmp + ICMPV6.rest, rest)
  refreshIcmpv6Checksum(bytes, ip, icmp, payloadLength)
}
