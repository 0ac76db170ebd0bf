/**
 * Fragments follow their first one: it has the ports, is handled as a whole packet is, and decides for all. The others take its
 * connection's way with what a fragment has to change: an address for NAT, an outer header for TUN, the TTL for all. In which
 * order they may pass, fragment-order.ts says.
 *
 * A datagram counts as one packet, and of its headers those of the first fragment: IPVS sees it put together.
 *
 * Source: RFC 791 section 3.2; RFC 1858 section 3 and RFC 3128 section 2 (which first fragments are attacks).
 */
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { FRAGMENT_OFFSET_MASK, IPV4, MORE_FRAGMENTS, PROTOCOL_SCTP, PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { TCP_HEADER_LENGTH } from '../../protocol/packet/tcp.ts'
import { UDP_HEADER_LENGTH } from '../../protocol/packet/udp.ts'
import type { Frame } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { mayBeCut } from '../method/fragmentation.ts'
import { rewriteDestinationAddress, rewriteSourceAddress } from '../method/nat.ts'
import {
  type ConnectionIndex,
  FLAG_ONE_PACKET,
  KEY,
  KEY_WORDS,
  NO_CONNECTION,
  STATE,
  STATE_WORDS,
} from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { isOneWay, METHOD_LOCAL, METHOD_TUN } from '../table/real-server.ts'
import { METHOD_MASK, METHOD_SHIFT } from '../table/record-codec.ts'
import { COUNTER, COUNTERS } from '../table/server-directory.ts'
import type { ServiceTable } from '../table/service-table.ts'
import type { Answers } from './answers.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import type { FragmentOrder } from './fragment-order.ts'
import { NAME } from './fragments.ts'
import type { Tunnels } from './tunnels.ts'
import { LATER_FRAGMENT, TO_HOST, type Verdict } from './verdict.ts'
import { ADDRESS_UNKNOWN, type VirtualAddresses } from './virtual-addresses.ts'

const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_FRAGMENT = dropCode('fragment')
const DROP_TINY = dropCode('fragment-tiny')
const DROP_ORPHAN = dropCode('fragment-orphan')
const DROP_MARTIAN = dropCode('martian-source')
const DROP_SERVER_GONE = dropCode('server-gone')

export interface FragmentParts {
  readonly table: ConnectionTable
  readonly services: ServiceTable
  readonly addresses: VirtualAddresses
  readonly egress: Egress
  readonly tunnels: Tunnels
  readonly answers: Answers
  readonly drops: Drops
  readonly order: FragmentOrder
}

export class FragmentPath {
  readonly #parts: FragmentParts

  constructor(parts: FragmentParts) {
    this.#parts = parts
  }

  /** @returns FIRST_FRAGMENT when the caller is to handle the frame as it does whole packets */
  handle(frame: Frame, link: number, headerLength: number, addressState: number): Verdict {
    const { services, drops, order } = this.#parts
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const source = view.getInt32(ip + IPV4.source)
    if (addressState === ADDRESS_UNKNOWN && !services.hasServerAt(source)) return TO_HOST
    const word = view.getUint16(ip + IPV4.fragment)
    const offset = (word & FRAGMENT_OFFSET_MASK) * 8
    const isLast = (word & MORE_FRAGMENTS) === 0
    const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
    if (!order.isSound(frame, offset, length, isLast, headerLength)) return drops.drop(DROP_BAD_HEADER)
    const protocol = view.getUint8(ip + IPV4.protocol)
    // SCTP's checksum is of the whole packet, and a new port changes all of it (RFC 9260 appendix A).
    if (protocol === PROTOCOL_SCTP) return drops.drop(DROP_FRAGMENT)
    const leastLength = protocol === PROTOCOL_TCP ? TCP_HEADER_LENGTH : UDP_HEADER_LENGTH
    if (offset < leastLength && (offset > 0 || length < leastLength)) return drops.drop(DROP_TINY)
    const { name } = order
    name.fill(0)
    name[NAME.source] = source
    name[NAME.destination] = view.getInt32(ip + IPV4.destination)
    name[NAME.identification] = view.getUint16(ip + IPV4.identification)
    name[NAME.kind] = protocol
    const ports = offset === 0 ? view.getInt32(ip + headerLength) : 0
    const verdict = order.pass(frame, link, offset, length, isLast, protocol, ports)
    return verdict === LATER_FRAGMENT ? this.follow(frame, link, protocol, order.ports) : verdict
  }

  /** A fragment behind the first, which said `ports`. */
  follow(frame: Frame, link: number, protocol: number, ports: number): Verdict {
    const { addresses, table, drops } = this.#parts
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const headerLength = (view.getUint8(ip) & 15) << 2
    const source = view.getInt32(ip + IPV4.source)
    const destination = view.getInt32(ip + IPV4.destination)
    if (addresses.stateOf(destination) !== ADDRESS_UNKNOWN) {
      const index = table.findByClient(protocol, source, destination, ports)
      if (index === NO_CONNECTION) return drops.drop(DROP_ORPHAN)
      return this.#toServer(frame, link, headerLength, index)
    }
    const index = table.findByServer(protocol, source, ports >>> 16, destination, ports & 0xffff)
    return index === NO_CONNECTION ? TO_HOST : this.#toClient(frame, link, headerLength, index)
  }

  #toServer(frame: Frame, link: number, headerLength: number, index: ConnectionIndex): Verdict {
    const { table, services, egress, tunnels, answers, drops } = this.#parts
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const virtual = view.getInt32(ip + IPV4.destination)
    const state = index * STATE_WORDS
    const server = services.serverBySlot[table.memory.states[state + STATE.server]]
    if (server === undefined || server.removed) return drops.drop(DROP_SERVER_GONE)
    const data = frame.length - ETHERNET_HEADER_LENGTH - headerLength
    services.directory.counters[server.slot * COUNTERS + COUNTER.inBytes] += data
    if (view.getUint8(ip + IPV4.ttl) <= 1) return answers.ttlExceeded(frame, link, virtual)
    const method = ((table.memory.states[state + STATE.flagsReturnPath] >>> 16) & METHOD_MASK) >> METHOD_SHIFT
    if (method === METHOD_TUN) return tunnels.toServer(frame, link, headerLength, server)
    const mtu = egress.mtuToServer(server)
    const isTooLong = frame.length - ETHERNET_HEADER_LENGTH > mtu
    if (isTooLong && !mayBeCut(frame)) return answers.tooBig(frame, link, mtu, virtual)
    if (!isOneWay(method)) rewriteDestinationAddress(view, ip, server.address)
    else decrementTtl(view, ip)
    return isTooLong ? egress.piecesToServer(frame, headerLength, server) : egress.toServer(frame, server)
  }

  #toClient(frame: Frame, link: number, headerLength: number, index: ConnectionIndex): Verdict {
    const { table, services, egress, answers, drops } = this.#parts
    const { keys, states } = table.memory
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const virtual = keys[index * KEY_WORDS + KEY.virtualAddress]
    if (view.getUint8(ip + IPV4.ttl) <= 1) return answers.ttlExceeded(frame, link, egress.sourceOn(link, virtual))
    // What this host sends comes from this host: see ipv4-path.ts.
    const flags = states[index * STATE_WORDS + STATE.flagsReturnPath] >>> 16
    if ((flags & METHOD_MASK) === METHOD_LOCAL << METHOD_SHIFT && link !== egress.hostLink)
      return drops.drop(DROP_MARTIAN)
    if ((flags & FLAG_ONE_PACKET) === 0) {
      const data = frame.length - ETHERNET_HEADER_LENGTH - headerLength
      services.directory.counters[states[index * STATE_WORDS + STATE.server] * COUNTERS + COUNTER.outBytes] += data
    }
    const client = keys[index * KEY_WORDS + KEY.clientAddress]
    const path = table.returnPath(index)
    const mtu = egress.mtuToClient(path, client)
    const isTooLong = frame.length - ETHERNET_HEADER_LENGTH > mtu
    if (isTooLong && !mayBeCut(frame)) return answers.tooBig(frame, link, mtu, egress.sourceOn(link, virtual))
    rewriteSourceAddress(view, ip, virtual)
    if (isTooLong) return egress.piecesToClient(frame, headerLength, path, client, mtu)
    return egress.toClient(frame, path, client)
  }
}
