/** Packets that are not forwarded, and whose sender is told why, as far as the rate limit lets it. RFC 1812 section 4.3. */
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import {
  ICMP_CODE_FRAGMENTATION_NEEDED,
  ICMP_CODE_PORT_UNREACHABLE,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
} from '../../protocol/packet/icmp.ts'
import { FRAGMENT_OFFSET_MASK, IPV4, PROTOCOL_ICMP } from '../../protocol/packet/ipv4.ts'
import type { Frame } from '../link/link.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import { IcmpRateLimit, turnIntoIcmpError } from './icmp-answers.ts'
import { DROPPED, type Verdict } from './verdict.ts'

const DROP_TTL = dropCode('ttl-exceeded')
const DROP_TOO_BIG = dropCode('too-big')
const DROP_ICMP_LIMITED = dropCode('icmp-limited')

export class Answers {
  readonly #drops: Drops
  readonly #limit = new IcmpRateLimit()
  readonly #tooBigLimit = new IcmpRateLimit()
  #nowMs = 0

  constructor(drops: Drops) {
    this.#drops = drops
  }

  setTime(nowMs: number): void {
    this.#nowMs = nowMs
  }

  /** @param source the address that the answer comes from */
  ttlExceeded(frame: Frame, link: number, source: number): Verdict {
    return this.#answer(frame, link, DROP_TTL, ICMP_TIME_EXCEEDED, 0, 0, source)
  }

  tooBig(frame: Frame, link: number, mtu: number, source: number): Verdict {
    return this.#answer(frame, link, DROP_TOO_BIG, ICMP_UNREACHABLE, ICMP_CODE_FRAGMENTATION_NEEDED, mtu, source)
  }

  /** @param reason the drop code */
  portUnreachable(frame: Frame, link: number, reason: number, source: number): Verdict {
    return this.#answer(frame, link, reason, ICMP_UNREACHABLE, ICMP_CODE_PORT_UNREACHABLE, 0, source)
  }

  /** Turns a packet into the ICMP error about it. False, and counted, when there have been too many. */
  turnIntoError(frame: Frame, type: number, code: number, rest: number, source: number): boolean {
    const isTooBig = type === ICMP_UNREACHABLE && code === ICMP_CODE_FRAGMENTATION_NEEDED
    if ((isTooBig ? this.#tooBigLimit : this.#limit).allow(this.#nowMs)) {
      turnIntoIcmpError(frame, type, code, rest, source)
      return true
    }
    this.#drops.add(DROP_ICMP_LIMITED, 1)
    return false
  }

  #answer(
    frame: Frame,
    link: number,
    reason: number,
    type: number,
    code: number,
    rest: number,
    source: number,
  ): Verdict {
    this.#drops.add(reason, 1)
    // What comes here as ICMP is an error, and an error is not answered with another (RFC 1122 3.2.2).
    const protocol = frame.memory.view.getUint8(frame.start + ETHERNET_HEADER_LENGTH + IPV4.protocol)
    if (protocol === PROTOCOL_ICMP) return DROPPED
    // Nor is a fragment behind the first: its sender could not tell what it is about.
    const fragment = frame.memory.view.getUint16(frame.start + ETHERNET_HEADER_LENGTH + IPV4.fragment)
    if ((fragment & FRAGMENT_OFFSET_MASK) !== 0) return DROPPED
    return this.turnIntoError(frame, type, code, rest, source) ? link : DROPPED
  }
}
