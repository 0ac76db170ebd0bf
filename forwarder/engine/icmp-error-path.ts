/**
 * The way of an ICMP error of either family that belongs to a connection: about a reply, to the server that sent it; about a request,
 * to the client; about a tunnel packet, to the client too, as an error about its own packet inside. The first two count as the
 * connection's own packets.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_in_icmp(), ip_vs_out_icmp(), ip_vs_in_icmp_v6(), ip_vs_out_icmp_v6().
 */
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../protocol/packet/ethernet.ts'
import { ICMP, ICMP_HEADER_LENGTH } from '../../protocol/packet/icmp.ts'
import { IPV4, PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import { IPV6, PROTOCOL_ICMPV6 } from '../../protocol/packet/ipv6.ts'
import { tunnelledPacket } from '../../protocol/packet/tunnel.ts'
import type { Frame } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { decrementHopLimit } from '../method/ipv6-nat.ts'
import { outerProtocol } from '../method/ipv6-tunnel.ts'
import { NO_ADDRESS } from '../table/address-book.ts'
import { ConnectionKey } from '../table/connection-key.ts'
import {
  type ConnectionIndex,
  FLAG_ONE_PACKET,
  isTentative,
  KEY,
  KEY_WORDS,
  NO_CONNECTION,
} from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { METHOD_DR, METHOD_LOCAL, METHOD_NAT, METHOD_TUN, type RealServer } from '../table/real-server.ts'
import { METHOD_MASK, METHOD_SHIFT } from '../table/record-codec.ts'
import { COUNTER, COUNTERS } from '../table/server-directory.ts'
import type { ServiceTable } from '../table/service-table.ts'
import type { Answers } from './answers.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import { translateForClient, translateForServer } from './icmp-errors.ts'
import type { IPv6Answers } from './ipv6-answers.ts'
import type { IPv6Tunnels } from './ipv6-tunnels.ts'
import { isTunnelAlone, QuotedPacket } from './quoted-packet.ts'
import { TunnelError } from './tunnel-errors.ts'
import type { Tunnels } from './tunnels.ts'
import { DROPPED, TO_HOST, type Verdict } from './verdict.ts'
import { ADDRESS_UNKNOWN } from './virtual-addresses.ts'

const DROP_TTL = dropCode('ttl-exceeded')
const DROP_ICMP_UNRELATED = dropCode('icmp-unrelated')
const DROP_UNSUPPORTED = dropCode('unsupported')

export interface IcmpErrorParts {
  readonly table: ConnectionTable
  readonly services: ServiceTable
  readonly egress: Egress
  readonly tunnels: Tunnels
  readonly tunnels6: IPv6Tunnels
  readonly answers: Answers
  readonly answers6: IPv6Answers
  readonly drops: Drops
}

export class IcmpErrorPath {
  readonly #parts: IcmpErrorParts
  readonly #quoted = new QuotedPacket()
  /** The packet inside a quoted tunnel packet. */
  readonly #inner = new QuotedPacket()
  readonly #tunnelError = new TunnelError()
  readonly #key = new ConnectionKey()

  constructor(parts: IcmpErrorParts) {
    this.#parts = parts
  }

  /**
   * An ICMP error whose checksum is right.
   * @param headerLength of its IP header, and extension headers
   * @param addressState what its destination is to us
   */
  handle(frame: Frame, link: number, headerLength: number, addressState: number): Verdict {
    const { drops } = this.#parts
    const { view } = frame.memory
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const icmp = ip + headerLength
    const quoted = this.#quoted
    const isReadable = quoted.read(view, icmp + ICMP_HEADER_LENGTH, frame.start + frame.length)
    const isOfItsFamily = quoted.isIPv6 === (view.getUint8(ip) >> 4 === 6)
    const isOurs = addressState !== ADDRESS_UNKNOWN
    if (!isReadable || !isOfItsFamily) return isOurs ? drops.drop(DROP_ICMP_UNRELATED) : TO_HOST
    if (isTunnelAlone(quoted.protocol)) {
      return isOurs ? drops.drop(DROP_ICMP_UNRELATED) : this.#passTunnelError(frame, icmp)
    }
    return isOurs ? this.#passToServer(frame, link, headerLength) : this.#passToClient(frame, headerLength)
  }

  #passToServer(frame: Frame, link: number, headerLength: number): Verdict {
    const { table, services, egress, tunnels, tunnels6, drops } = this.#parts
    const { view } = frame.memory
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const quoted = this.#quoted
    const { isIPv6 } = quoted
    const ports = (quoted.destinationPort << 16) | quoted.sourcePort
    const index = this.#findByClient(view, quoted, quoted.destination, quoted.source, ports)
    const server = index === NO_CONNECTION ? undefined : services.serverBySlot[table.server(index)]
    if (server === undefined || server.removed) return drops.drop(DROP_ICMP_UNRELATED)
    const { counters } = services.directory
    counters[server.slot * COUNTERS + COUNTER.inPackets]++
    counters[server.slot * COUNTERS + COUNTER.inBytes] += frame.length - ETHERNET_HEADER_LENGTH
    if (view.getUint8(ip + (isIPv6 ? IPV6.hopLimit : IPV4.ttl)) <= 1) return drops.drop(DROP_TTL)
    const method = (table.flags(index) & METHOD_MASK) >> METHOD_SHIFT
    if (method === METHOD_NAT || method === METHOD_LOCAL) {
      const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
      const { book } = services.directory
      const port = table.serverPort(index)
      translateForServer(frame.memory, ip, ip + headerLength, length, quoted, book, server.address, port)
      return egress.toServer(frame, server)
    }
    if (method === METHOD_TUN) {
      return isIPv6
        ? tunnels6.toServer(frame, link, headerLength, PROTOCOL_ICMPV6, server, true)
        : tunnels.toServer(frame, link, headerLength, server)
    }
    if (method !== METHOD_DR) return drops.drop(DROP_UNSUPPORTED)
    if (isIPv6) decrementHopLimit(view, ip)
    else decrementTtl(view, ip)
    return egress.toServer(frame, server)
  }

  #passToClient(frame: Frame, headerLength: number): Verdict {
    const { table, services, drops } = this.#parts
    const { keys } = table.memory
    const { view } = frame.memory
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const quoted = this.#quoted
    const index = this.#findByServer(view, quoted)
    // A datagram of ours that belongs to no connection may be a tunnel's.
    if (index === NO_CONNECTION) return this.#passTunnelError(frame, ip + headerLength)
    if (isTentative(table.flags(index))) return drops.drop(DROP_ICMP_UNRELATED)
    if (view.getUint8(ip + (quoted.isIPv6 ? IPV6.hopLimit : IPV4.ttl)) <= 1) return drops.drop(DROP_TTL)
    if ((table.flags(index) & FLAG_ONE_PACKET) === 0) {
      const { counters } = services.directory
      const counter = table.server(index) * COUNTERS
      counters[counter + COUNTER.outPackets]++
      counters[counter + COUNTER.outBytes] += frame.length - ETHERNET_HEADER_LENGTH
    }
    const virtual = keys[index * KEY_WORDS + KEY.virtualAddress]
    const virtualPort = keys[index * KEY_WORDS + KEY.ports] & 0xffff
    const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
    const { book } = services.directory
    translateForClient(frame.memory, ip, ip + headerLength, length, quoted, book, virtual, virtualPort)
    return this.#toClient(frame, index, quoted.isIPv6)
  }

  /** Somebody on the way to a real server cannot pass the tunnel on: the client is told, as if it were about its own packet. */
  #passTunnelError(frame: Frame, icmp: number): Verdict {
    const { table, services, egress, answers, answers6, drops } = this.#parts
    const { view, bytes } = frame.memory
    const outer = this.#quoted
    const inner = this.#inner
    const end = frame.start + frame.length
    const at = tunnelledPacket(view, outer.protocol, outer.transport, end)
    if (at === 0 || !inner.read(view, at, end) || isTunnelAlone(inner.protocol)) return TO_HOST
    const ports = (inner.sourcePort << 16) | inner.destinationPort
    const index = this.#findByClient(view, inner, inner.source, inner.destination, ports)
    const server = index === NO_CONNECTION ? undefined : services.serverBySlot[table.server(index)]
    if (server === undefined || !this.#isTunnelTo(view, server)) return TO_HOST
    const error = this.#tunnelError
    const type = view.getUint8(icmp + ICMP.type)
    const code = view.getUint8(icmp + ICMP.code)
    const rest = view.getInt32(icmp + ICMP.rest)
    if (!error.translate(outer.isIPv6, inner.isIPv6, at - outer.ip, type, code, rest)) {
      return drops.drop(DROP_ICMP_UNRELATED)
    }
    // From now on this director tells the other clients itself, and cuts what may be cut.
    if (error.outerMtu > 0) egress.learnPathMtu(server, error.outerMtu)
    const start = at - ETHERNET_HEADER_LENGTH
    bytes.copyWithin(start, frame.start, frame.start + ETHERNET_HEADER_LENGTH)
    view.setUint16(start + 12, inner.isIPv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4)
    frame.start = start
    frame.length = end - start
    const isAllowed = inner.isIPv6
      ? answers6.fromDestination(frame).turnIntoError(frame, error.type, error.code, error.rest)
      : answers.turnIntoError(frame, error.type, error.code, error.rest, view.getInt32(inner.destination))
    return isAllowed ? this.#toClient(frame, index, inner.isIPv6) : DROPPED
  }

  #toClient(frame: Frame, index: ConnectionIndex, isIPv6: boolean): Verdict {
    const { table, egress } = this.#parts
    const { keys } = table.memory
    const path = table.returnPath(index)
    const client = index * KEY_WORDS + KEY.clientAddress
    return isIPv6 ? egress.toClient6(frame, path, keys, client) : egress.toClient(frame, path, keys[client])
  }

  /** Whether the quoted packet is one of those in which a server's packets of the family inside travel. */
  #isTunnelTo(view: DataView, { address, tunnel }: RealServer): boolean {
    const { protocol, destination, destinationPort, isIPv6 } = this.#quoted
    if (protocol !== outerProtocol(tunnel, this.#inner.isIPv6)) return false
    return (
      this.#numberAt(view, destination, isIPv6) === address &&
      (protocol !== PROTOCOL_UDP || destinationPort === tunnel.port)
    )
  }

  /** The connection of the client and the virtual address at these offsets. */
  #findByClient(view: DataView, quoted: QuotedPacket, client: number, virtual: number, ports: number): ConnectionIndex {
    this.#readKey(view, quoted, client, this.#numberAt(view, virtual, quoted.isIPv6), ports)
    return this.#parts.table.find(this.#key)
  }

  /** The connection whose request to its server is quoted. */
  #findByServer(view: DataView, quoted: QuotedPacket): ConnectionIndex {
    this.#readKey(view, quoted, quoted.source, NO_ADDRESS, quoted.sourcePort << 16)
    const server = this.#numberAt(view, quoted.destination, quoted.isIPv6)
    return this.#parts.table.findReply(this.#key, server, quoted.destinationPort)
  }

  #readKey(view: DataView, { isIPv6, protocol }: QuotedPacket, client: number, virtual: number, ports: number): void {
    const first = view.getInt32(client)
    if (!isIPv6) {
      this.#key.setIPv4(protocol, first, virtual, ports)
      return
    }
    const second = view.getInt32(client + 4)
    this.#key.setIPv6(protocol, first, second, view.getInt32(client + 8), view.getInt32(client + 12), virtual, ports)
  }

  #numberAt(view: DataView, at: number, isIPv6: boolean): number {
    return isIPv6 ? this.#parts.services.directory.book.findAt(view, at) : view.getInt32(at)
  }
}
