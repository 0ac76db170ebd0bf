/**
 * What becomes of an ICMPv6 packet: neighbour discovery and echo for an address of ours are answered, an error that belongs to a
 * connection is passed on to its client or its server (icmp-error-path.ts), and anything else is the host's. RFC 4443.
 */
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import {
  ICMPV6,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_HEADER_LENGTH,
  ICMPV6_NEIGHBOUR_ADVERTISEMENT,
  ICMPV6_NEIGHBOUR_SOLICITATION,
  icmpv6Checksum,
  isIcmpv6Error,
} from '../../protocol/packet/icmpv6.ts'
import { IPV6 } from '../../protocol/packet/ipv6.ts'
import type { Frame } from '../link/link.ts'
import { finishChecksum, hasUnfinishedChecksum } from '../method/offload.ts'
import type { AddressBook } from '../table/address-book.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import type { IcmpErrorPath } from './icmp-error-path.ts'
import { AddressResolution6 } from './ipv6-address-resolution.ts'
import { turnIntoEchoReply6 } from './ipv6-answers.ts'
import { TO_HOST, type Verdict } from './verdict.ts'
import { ADDRESS_STANDBY, ADDRESS_UNKNOWN, type VirtualAddresses } from './virtual-addresses.ts'

const DROP_TRUNCATED = dropCode('truncated')
const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_STANDBY = dropCode('standby')
const DROP_MARTIAN = dropCode('martian-source')
const DROP_UNSUPPORTED = dropCode('unsupported')

export interface IPv6IcmpParts {
  readonly book: AddressBook
  readonly addresses: VirtualAddresses
  readonly egress: Egress
  readonly errors: IcmpErrorPath
  readonly drops: Drops
}

export class IPv6Icmp {
  readonly #parts: IPv6IcmpParts
  readonly #resolution: AddressResolution6
  #nowMs = 0

  constructor(parts: IPv6IcmpParts) {
    this.#parts = parts
    const { macs, neighbours } = parts.egress
    const { book, addresses } = parts
    this.#resolution = new AddressResolution6({ macs, book, addresses, neighbours })
  }

  setTime(nowMs: number): void {
    this.#nowMs = nowMs
  }

  /**
   * @param headerLength of the IPv6 header and its extension headers
   * @param addressState what the packet's destination is to us
   */
  handle(frame: Frame, link: number, headerLength: number, addressState: number): Verdict {
    const { drops } = this.#parts
    const { view, bytes } = frame.memory
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const icmp = ip + headerLength
    const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
    if (length < ICMPV6_HEADER_LENGTH) return this.#ours(addressState, DROP_TRUNCATED)
    const type = view.getUint8(icmp + ICMPV6.type)
    if (type === ICMPV6_NEIGHBOUR_SOLICITATION || type === ICMPV6_NEIGHBOUR_ADVERTISEMENT) {
      return this.#resolution.handle(frame, link, icmp, this.#nowMs)
    }
    const isError = isIcmpv6Error(type)
    // What is sent to a group is every director's, and nobody may answer it.
    if ((view.getUint8(frame.start) & 1) !== 0 || (addressState === ADDRESS_UNKNOWN && !isError)) return TO_HOST
    if (hasUnfinishedChecksum(frame) && !finishChecksum(frame)) return this.#ours(addressState, DROP_BAD_HEADER)
    // It will leave with a checksum made anew, which must not cover up what happened to it on its way here.
    if (icmpv6Checksum(bytes, ip, icmp, length) !== 0) return this.#ours(addressState, DROP_BAD_HEADER)
    if (isError) return this.#parts.errors.handle(frame, link, headerLength, addressState)
    if (type !== ICMPV6_ECHO_REQUEST) return drops.drop(DROP_UNSUPPORTED)
    if (addressState === ADDRESS_STANDBY) return drops.drop(DROP_STANDBY)
    if (this.#isMartian(view, ip + IPV6.source)) return drops.drop(DROP_MARTIAN)
    turnIntoEchoReply6(frame, headerLength)
    return link
  }

  #isMartian(view: DataView, at: number): boolean {
    const { addresses } = this.#parts
    return addresses.isMartian6(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12))
  }

  /** A bad packet for an address of ours is dropped; any other is the host's to judge. */
  #ours(addressState: number, reason: number): Verdict {
    return addressState === ADDRESS_UNKNOWN ? TO_HOST : this.#parts.drops.drop(reason)
  }
}
