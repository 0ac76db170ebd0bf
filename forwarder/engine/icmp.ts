/**
 * What becomes of an ICMP packet: echo to an address of ours is answered, an error that belongs to a connection is passed on to
 * its client or its server (icmp-error-path.ts), and anything else is the host's. RFC 792, RFC 1812 section 4.3.
 */
import { checksum } from '../../protocol/packet/checksum.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { ICMP, ICMP_ECHO_REQUEST, ICMP_HEADER_LENGTH, isIcmpError } from '../../protocol/packet/icmp.ts'
import { FRAGMENT_OFFSET_MASK, IPV4, MORE_FRAGMENTS } from '../../protocol/packet/ipv4.ts'
import type { Frame } from '../link/link.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import { turnIntoEchoReply } from './icmp-answers.ts'
import type { IcmpErrorPath } from './icmp-error-path.ts'
import { TO_HOST, type Verdict } from './verdict.ts'
import { ADDRESS_STANDBY, ADDRESS_UNKNOWN, type VirtualAddresses } from './virtual-addresses.ts'

const DROP_TRUNCATED = dropCode('truncated')
const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_FRAGMENT = dropCode('fragment')
const DROP_STANDBY = dropCode('standby')
const DROP_MARTIAN = dropCode('martian-source')
const DROP_UNSUPPORTED = dropCode('unsupported')

export interface IcmpParts {
  readonly addresses: VirtualAddresses
  readonly errors: IcmpErrorPath
  readonly drops: Drops
}

export class Icmp {
  readonly #parts: IcmpParts

  constructor(parts: IcmpParts) {
    this.#parts = parts
  }

  /** @param addressState what the packet's destination is to us */
  handle(frame: Frame, link: number, headerLength: number, addressState: number): Verdict {
    const { addresses, drops } = this.#parts
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const icmp = ip + headerLength
    const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
    if (length < ICMP_HEADER_LENGTH) return this.#ours(addressState, DROP_TRUNCATED)
    if ((view.getUint16(ip + IPV4.fragment) & (MORE_FRAGMENTS | FRAGMENT_OFFSET_MASK)) !== 0) {
      return this.#ours(addressState, DROP_FRAGMENT)
    }
    const type = view.getUint8(icmp + ICMP.type)
    const isError = isIcmpError(type)
    if (addressState === ADDRESS_UNKNOWN && !isError) return TO_HOST
    // It will leave with a checksum made anew, which must not cover up what happened to it on its way here.
    if (checksum(frame.memory.bytes, icmp, length) !== 0) return this.#ours(addressState, DROP_BAD_HEADER)
    if (isError) return this.#parts.errors.handle(frame, link, headerLength, addressState)
    if (type !== ICMP_ECHO_REQUEST) return drops.drop(DROP_UNSUPPORTED)
    if (addressState === ADDRESS_STANDBY) return drops.drop(DROP_STANDBY)
    if (addresses.isMartian(view.getInt32(ip + IPV4.source))) return drops.drop(DROP_MARTIAN)
    turnIntoEchoReply(frame, headerLength)
    return link
  }

  /** A bad packet for an address of ours is dropped; any other is the host's to judge. */
  #ours(addressState: number, reason: number): Verdict {
    return addressState === ADDRESS_UNKNOWN ? TO_HOST : this.#parts.drops.drop(reason)
  }
}
