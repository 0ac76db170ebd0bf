/**
 * What becomes of an ICMPv6 packet: neighbour discovery and echo for an address of ours are answered, an error that belongs to a
 * connection is passed on to its client or its server, and anything else is the host's.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_in_icmp_v6(), ip_vs_out_icmp_v6(); RFC 4443.
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
import { IPV6, PROTOCOL_ICMPV6 } from '../../protocol/packet/ipv6.ts'
import { ADDRESS_WORDS } from '../../protocol/packet/ipv6-address.ts'
import type { Frame } from '../link/link.ts'
import { decrementHopLimit } from '../method/ipv6-nat.ts'
import { finishChecksum, hasUnfinishedChecksum } from '../method/offload.ts'
import { NO_ADDRESS } from '../table/address-book.ts'
import { KEY, KEY_WORDS, NO_CONNECTION, STATE, STATE_WORDS } from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { METHOD_MASK, METHOD_SHIFT } from '../table/record-codec.ts'
import { METHOD_DR, METHOD_NAT, METHOD_TUN, type ServiceTable } from '../table/service-table.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import { AddressResolution6 } from './ipv6-address-resolution.ts'
import { turnIntoEchoReply6 } from './ipv6-answers.ts'
import { type QuotedPacket6, readQuotedPacket6, translateForClient6, translateForServer6 } from './ipv6-icmp-errors.ts'
import type { IPv6Tunnels } from './ipv6-tunnels.ts'
import { TO_HOST, type Verdict } from './verdict.ts'
import { ADDRESS_STANDBY, ADDRESS_UNKNOWN, type VirtualAddresses } from './virtual-addresses.ts'

const DROP_TRUNCATED = dropCode('truncated')
const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_TTL = dropCode('ttl-exceeded')
const DROP_STANDBY = dropCode('standby')
const DROP_ICMP_UNRELATED = dropCode('icmp-unrelated')
const DROP_MARTIAN = dropCode('martian-source')
const DROP_UNSUPPORTED = dropCode('unsupported')

export interface IPv6IcmpParts {
  readonly table: ConnectionTable
  readonly services: ServiceTable
  readonly addresses: VirtualAddresses
  readonly egress: Egress
  readonly tunnels: IPv6Tunnels
  readonly drops: Drops
}

export class IPv6Icmp {
  readonly #parts: IPv6IcmpParts
  readonly #resolution: AddressResolution6
  readonly #quoted: QuotedPacket6 = {
    protocol: 0,
    ip: 0,
    transport: 0,
    sourcePort: 0,
    destinationPort: 0,
    hasPorts: true,
  }
  #nowMs = 0

  constructor(parts: IPv6IcmpParts) {
    this.#parts = parts
    const { macs, neighbours } = parts.egress
    const { addresses } = parts
    this.#resolution = new AddressResolution6({ macs, book: parts.services.directory.book, addresses, neighbours })
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
    if (isError) return this.#passError(frame, link, headerLength, addressState)
    if (type !== ICMPV6_ECHO_REQUEST) return drops.drop(DROP_UNSUPPORTED)
    if (addressState === ADDRESS_STANDBY) return drops.drop(DROP_STANDBY)
    if (this.#isMartian(view, ip + IPV6.source)) return drops.drop(DROP_MARTIAN)
    turnIntoEchoReply6(frame, headerLength)
    return link
  }

  #passError(frame: Frame, link: number, headerLength: number, addressState: number): Verdict {
    const icmp = frame.start + ETHERNET_HEADER_LENGTH + headerLength
    const quoted = icmp + ICMPV6_HEADER_LENGTH
    const available = frame.start + frame.length - quoted
    if (!readQuotedPacket6(frame.memory.view, quoted, available, this.#quoted)) {
      return this.#ours(addressState, DROP_ICMP_UNRELATED)
    }
    return addressState === ADDRESS_UNKNOWN
      ? this.#passToClient(frame, headerLength)
      : this.#passToServer(frame, link, headerLength)
  }

  #passToServer(frame: Frame, link: number, headerLength: number): Verdict {
    const { table, services, egress, tunnels, drops } = this.#parts
    const { book } = services.directory
    const { view } = frame.memory
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const { protocol, sourcePort, destinationPort } = this.#quoted
    const client = this.#quoted.ip + IPV6.destination
    const index = table.findByClient6(
      protocol,
      view.getInt32(client),
      view.getInt32(client + 4),
      view.getInt32(client + 8),
      view.getInt32(client + 12),
      this.#numberAt(view, this.#quoted.ip + IPV6.source),
      (destinationPort << 16) | sourcePort,
    )
    const server = index === NO_CONNECTION ? undefined : services.serverBySlot[table.server(index)]
    if (server === undefined || server.removed) return drops.drop(DROP_ICMP_UNRELATED)
    if (view.getUint8(ip + IPV6.hopLimit) <= 1) return drops.drop(DROP_TTL)
    const method = (table.flags(index) & METHOD_MASK) >> METHOD_SHIFT
    if (method === METHOD_NAT) {
      const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
      const port = table.serverPort(index)
      const wordsAt = server.address * ADDRESS_WORDS
      translateForServer6(frame.memory, ip, ip + headerLength, length, this.#quoted, book.words, wordsAt, port)
      return egress.toServer(frame, server)
    }
    if (method === METHOD_TUN) return tunnels.toServer(frame, link, headerLength, PROTOCOL_ICMPV6, server, true)
    if (method !== METHOD_DR) return drops.drop(DROP_UNSUPPORTED)
    decrementHopLimit(view, ip)
    return egress.toServer(frame, server)
  }

  #passToClient(frame: Frame, headerLength: number): Verdict {
    const { table, services, egress, drops } = this.#parts
    const { keys, states } = table.memory
    const { view } = frame.memory
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const { protocol, sourcePort, destinationPort } = this.#quoted
    const server = this.#numberAt(view, this.#quoted.ip + IPV6.destination)
    if (server === NO_ADDRESS) return TO_HOST
    const client = this.#quoted.ip + IPV6.source
    const index = table.findByServer6(
      protocol,
      server,
      destinationPort,
      view.getInt32(client),
      view.getInt32(client + 4),
      view.getInt32(client + 8),
      view.getInt32(client + 12),
      sourcePort,
    )
    if (index === NO_CONNECTION) return TO_HOST
    if (view.getUint8(ip + IPV6.hopLimit) <= 1) return drops.drop(DROP_TTL)
    const key = index * KEY_WORDS
    const virtualPort = keys[key + KEY.ports] & 0xffff
    const virtualAt = keys[key + KEY.virtualAddress] * ADDRESS_WORDS
    const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
    const { words } = services.directory.book
    translateForClient6(frame.memory, ip, ip + headerLength, length, this.#quoted, words, virtualAt, virtualPort)
    const path = states[index * STATE_WORDS + STATE.flagsReturnPath] & 0xffff
    return egress.toClient6(frame, path, keys, key + KEY.clientAddress)
  }

  #numberAt(view: DataView, at: number): number {
    const { book } = this.#parts.services.directory
    return book.find(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12))
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
