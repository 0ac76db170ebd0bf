/**
 * Neighbour discovery for the IPv6 addresses that the forwarder owns, and what it learns of its neighbours from the messages of
 * others (RFC 4861 section 7.2).
 */
import { readInt32 } from '../../protocol/packet/bytes.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import {
  ICMPV6,
  ICMPV6_NEIGHBOUR_ADVERTISEMENT,
  ICMPV6_NEIGHBOUR_SOLICITATION,
  icmpv6Checksum,
} from '../../protocol/packet/icmpv6.ts'
import { IPV6 } from '../../protocol/packet/ipv6.ts'
import {
  ADVERTISEMENT_OVERRIDE,
  ADVERTISEMENT_ROUTER,
  ADVERTISEMENT_SOLICITED,
  ALL_NODES,
  findLinkAddress,
  isSoundNeighbourMessage,
  multicastMac,
  NEIGHBOUR_DISCOVERY,
  NEIGHBOUR_FRAME_LENGTH,
  OPTION_SOURCE_LINK_ADDRESS,
  OPTION_TARGET_LINK_ADDRESS,
  writeNeighbourFrame,
} from '../../protocol/packet/neighbour-discovery.ts'
import type { Frame } from '../link/link.ts'
import { clearOffload } from '../method/offload.ts'
import type { AddressBook } from '../table/address-book.ts'
import { NO_ADDRESS } from '../table/address-book.ts'
import type { Neighbours } from './neighbours.ts'
import { TO_HOST, type Verdict } from './verdict.ts'
import type { VirtualAddresses } from './virtual-addresses.ts'

export interface AddressResolution6Parts {
  /** Our MAC by link number. */
  readonly macs: readonly Uint8Array[]
  readonly book: AddressBook
  readonly addresses: VirtualAddresses
  readonly neighbours: Neighbours
}

export class AddressResolution6 {
  readonly #parts: AddressResolution6Parts

  constructor(parts: AddressResolution6Parts) {
    this.#parts = parts
  }

  /**
   * Handles a message whose ICMPv6 header is at `icmp`: a solicitation of an active address of ours becomes the advertisement of
   * it, in place. Whatever else it is, the host has it too.
   */
  handle(frame: Frame, link: number, icmp: number, nowMs: number): Verdict {
    const bytes = frame.memory.bytes
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const end = frame.start + frame.length
    if (!isSoundNeighbourMessage(bytes, ip, icmp, end - icmp)) return TO_HOST
    if (icmpv6Checksum(bytes, ip, icmp, end - icmp) !== 0) return TO_HOST
    const type = bytes[icmp + ICMPV6.type]
    const target = this.#find(bytes, icmp + NEIGHBOUR_DISCOVERY.target)
    if (type === ICMPV6_NEIGHBOUR_ADVERTISEMENT) {
      const overrides = (readInt32(bytes, icmp + ICMPV6.rest) & ADVERTISEMENT_OVERRIDE) !== 0
      this.#learn(frame, link, target, findLinkAddress(bytes, icmp, end, OPTION_TARGET_LINK_ADDRESS), overrides, nowMs)
      return TO_HOST
    }
    if (type !== ICMPV6_NEIGHBOUR_SOLICITATION) return TO_HOST
    const asker = findLinkAddress(bytes, icmp, end, OPTION_SOURCE_LINK_ADDRESS)
    this.#learn(frame, link, this.#find(bytes, ip + IPV6.source), asker, true, nowMs)
    return this.#parts.addresses.isAnsweredOn(target, link) ? this.#advertise(frame, link, target, asker) : TO_HOST
  }

  #learn(frame: Frame, link: number, address: number, macAt: number, overrides: boolean, nowMs: number): void {
    if (macAt < 0 || address === NO_ADDRESS) return
    this.#parts.neighbours.learn(link, address, frame.memory.bytes, macAt, overrides, nowMs)
  }

  /** @param askerMacAt where the asker says its MAC is; below 0: the frame's own source */
  #advertise(frame: Frame, link: number, target: number, askerMacAt: number): Verdict {
    const { macs, book, addresses } = this.#parts
    const bytes = frame.memory.bytes
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const asker = Int32Array.from({ length: 4 }, (_, word) => readInt32(bytes, ip + IPV6.source + word * 4))
    // From no address: somebody makes sure that nobody has the target (RFC 4862 section 5.4), and all are told that we do.
    const isProbe = asker.every((word) => word === 0)
    const macAt = askerMacAt < 0 ? frame.start + 6 : askerMacAt
    const destinationMac = isProbe ? multicastMac(ALL_NODES) : bytes.slice(macAt, macAt + 6)
    const words = book.words.subarray(target * 4, target * 4 + 4)
    // A question may be shorter than its answer: what is missing is taken from the headroom.
    frame.start = frame.start + frame.length - NEIGHBOUR_FRAME_LENGTH
    frame.length = NEIGHBOUR_FRAME_LENGTH
    clearOffload(frame)
    writeNeighbourFrame(bytes, frame.start, {
      type: ICMPV6_NEIGHBOUR_ADVERTISEMENT,
      flags: ADVERTISEMENT_ROUTER | ADVERTISEMENT_OVERRIDE | (isProbe ? 0 : ADVERTISEMENT_SOLICITED),
      source: words,
      destination: isProbe ? ALL_NODES : asker,
      target: words,
      mac: addresses.macOf(target) ?? macs[link],
      destinationMac,
    })
    return link
  }

  #find(bytes: Uint8Array, at: number): number {
    const { book } = this.#parts
    return book.find(
      readInt32(bytes, at),
      readInt32(bytes, at + 4),
      readInt32(bytes, at + 8),
      readInt32(bytes, at + 12),
    )
  }
}
