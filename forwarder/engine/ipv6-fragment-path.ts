/**
 * Fragments of IPv6 follow their first one: as fragment-path.ts, where the fragment header (RFC 8200 section 4.5) stands for the
 * fields of IPv4's own. What is known of a packet only behind its extension headers, all of the first fragment's must be in
 * (RFC 7112). A fragment that is a whole packet never comes here (RFC 6946).
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c and net/ipv6/netfilter/nf_conntrack_reasm.c; ip_vs_xmit.c ensure_mtu_is_adequate()
 * (only about a first fragment the sender is told that it is too big).
 */
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import {
  FRAGMENT,
  FRAGMENT_HEADER_LENGTH,
  FRAGMENT_MORE,
  FRAGMENT_OFFSET,
  fragmentHeaderAt,
  IPV6,
  IPV6_HEADER_LENGTH,
  PROTOCOL_ICMPV6,
  WALK_TOO_LONG,
  walkInFragment,
} from '../../protocol/packet/ipv6.ts'
import { ADDRESS_WORDS } from '../../protocol/packet/ipv6-address.ts'
import { PORT_ISAKMP } from '../../protocol/packet/udp.ts'
import type { Frame } from '../link/link.ts'
import { decrementHopLimit, replaceAddress6 } from '../method/ipv6-nat.ts'
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
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import type { FragmentOrder } from './fragment-order.ts'
import { KIND_IPV6, NAME } from './fragments.ts'
import type { IPv6Tunnels } from './ipv6-tunnels.ts'
import { headerLengths } from './protocols/registry.ts'
import { LATER_FRAGMENT, TO_HOST, type Verdict } from './verdict.ts'
import { ADDRESS_UNKNOWN, type VirtualAddresses } from './virtual-addresses.ts'

const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_EXTENSION_HEADERS = dropCode('extension-headers')
const DROP_FRAGMENT = dropCode('fragment')
const DROP_TINY = dropCode('fragment-tiny')
const DROP_ORPHAN = dropCode('fragment-orphan')
const DROP_SERVER_GONE = dropCode('server-gone')
const DROP_TOO_BIG = dropCode('too-big')
const DROP_MARTIAN = dropCode('martian-source')
const DROP_TTL = dropCode('ttl-exceeded')
const DROP_UNSUPPORTED = dropCode('unsupported')

const ISAKMP_PORTS = (PORT_ISAKMP << 16) | PORT_ISAKMP

export interface IPv6FragmentParts {
  readonly table: ConnectionTable
  readonly services: ServiceTable
  readonly addresses: VirtualAddresses
  readonly egress: Egress
  readonly tunnels: IPv6Tunnels
  readonly drops: Drops
  readonly order: FragmentOrder
}

export class IPv6FragmentPath {
  readonly #parts: IPv6FragmentParts
  /** Of the frame that handle() called a FIRST_FRAGMENT: as walkToTransport() has it. */
  walked = 0

  constructor(parts: IPv6FragmentParts) {
    this.#parts = parts
  }

  /** @returns FIRST_FRAGMENT when the caller is to handle the frame, of which `walked` tells now, as it does whole packets */
  handle(frame: Frame, link: number, addressState: number): Verdict {
    const { services, drops, order } = this.#parts
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const end = frame.start + frame.length
    if (
      addressState === ADDRESS_UNKNOWN &&
      !services.hasServerAt(services.directory.book.findAt(view, ip + IPV6.source))
    )
      return TO_HOST
    const header = ip + fragmentHeaderAt(view, ip)
    const word = view.getUint16(header + FRAGMENT.offset)
    const offset = word & FRAGMENT_OFFSET
    const isLast = (word & FRAGMENT_MORE) === 0
    const length = end - header - FRAGMENT_HEADER_LENGTH
    const extensions = header - ip - IPV6_HEADER_LENGTH
    if (!order.isSound(frame, offset, length, isLast, extensions)) return drops.drop(DROP_BAD_HEADER)
    let protocol = view.getUint8(header + FRAGMENT.nextHeader)
    let ports = 0
    if (offset === 0) {
      const walked = walkInFragment(view, ip, end)
      if (walked < 0) return drops.drop(walked === WALK_TOO_LONG ? DROP_EXTENSION_HEADERS : DROP_TINY)
      protocol = walked & 255
      const transport = ip + (walked >> 8)
      if (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP) {
        if (transport + headerLengths[protocol] > end) return drops.drop(DROP_TINY)
        ports = view.getInt32(transport)
      }
      this.walked = walked
    }
    // SCTP's checksum is of the whole packet, and so is ICMP's.
    if (protocol === PROTOCOL_SCTP || protocol === PROTOCOL_ICMPV6) {
      return addressState === ADDRESS_UNKNOWN ? TO_HOST : drops.drop(DROP_FRAGMENT)
    }
    if (protocol === PROTOCOL_AH || protocol === PROTOCOL_ESP) {
      // They go the way of their key exchange: ipv6-path.ts.
      protocol = PROTOCOL_UDP
      ports = ISAKMP_PORTS
    } else if (offset === 0 && protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP) {
      return addressState === ADDRESS_UNKNOWN ? TO_HOST : drops.drop(DROP_UNSUPPORTED)
    }
    const { name } = order
    for (let word = 0; word < ADDRESS_WORDS; word++) {
      name[NAME.source + word] = view.getInt32(ip + IPV6.source + word * 4)
      name[NAME.destination + word] = view.getInt32(ip + IPV6.destination + word * 4)
    }
    name[NAME.identification] = view.getInt32(header + FRAGMENT.identification)
    name[NAME.kind] = KIND_IPV6
    const verdict = order.pass(frame, link, offset, length, isLast, protocol, ports)
    return verdict === LATER_FRAGMENT ? this.follow(frame, link, order.protocol, order.ports) : verdict
  }

  /** A fragment behind the first, which said `protocol` and `ports`. */
  follow(frame: Frame, link: number, protocol: number, ports: number): Verdict {
    const { addresses, services, table, drops } = this.#parts
    const { book } = services.directory
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const from = ip + IPV6.source
    const to = ip + IPV6.destination
    const virtual = book.findAt(view, to)
    if (addresses.stateOf(virtual) !== ADDRESS_UNKNOWN) {
      const index = table.findByClient6(
        protocol,
        view.getInt32(from),
        view.getInt32(from + 4),
        view.getInt32(from + 8),
        view.getInt32(from + 12),
        virtual,
        ports,
      )
      return index === NO_CONNECTION ? drops.drop(DROP_ORPHAN) : this.#toServer(frame, link, protocol, index)
    }
    const index = table.findByServer6(
      protocol,
      book.findAt(view, from),
      ports >>> 16,
      view.getInt32(to),
      view.getInt32(to + 4),
      view.getInt32(to + 8),
      view.getInt32(to + 12),
      ports & 0xffff,
    )
    return index === NO_CONNECTION ? TO_HOST : this.#toClient(frame, link, index)
  }

  #toServer(frame: Frame, link: number, protocol: number, index: ConnectionIndex): Verdict {
    const { table, services, egress, tunnels, drops } = this.#parts
    const { states } = table.memory
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const state = index * STATE_WORDS
    const server = services.serverBySlot[states[state + STATE.server]]
    if (server === undefined || server.removed) return drops.drop(DROP_SERVER_GONE)
    services.directory.counters[server.slot * COUNTERS + COUNTER.inBytes] += countedLength(frame)
    if (view.getUint8(ip + IPV6.hopLimit) <= 1) return drops.drop(DROP_TTL)
    const method = ((states[state + STATE.flagsReturnPath] >>> 16) & METHOD_MASK) >> METHOD_SHIFT
    if (method === METHOD_TUN) return tunnels.toServer(frame, link, 0, protocol, server, true)
    if (frame.length - ETHERNET_HEADER_LENGTH > egress.mtuToServer(server)) return drops.drop(DROP_TOO_BIG)
    if (!isOneWay(method)) {
      replaceAddress6(view, ip + IPV6.destination, services.directory.book.words, server.address * ADDRESS_WORDS)
    }
    decrementHopLimit(view, ip)
    return egress.toServer(frame, server)
  }

  #toClient(frame: Frame, link: number, index: ConnectionIndex): Verdict {
    const { table, services, egress, drops } = this.#parts
    const { keys, states } = table.memory
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    if (view.getUint8(ip + IPV6.hopLimit) <= 1) return drops.drop(DROP_TTL)
    // What this host sends comes from this host: see ipv4-path.ts.
    const flags = states[index * STATE_WORDS + STATE.flagsReturnPath] >>> 16
    if ((flags & METHOD_MASK) === METHOD_LOCAL << METHOD_SHIFT && link !== egress.hostLink)
      return drops.drop(DROP_MARTIAN)
    if ((flags & FLAG_ONE_PACKET) === 0) {
      const counter = states[index * STATE_WORDS + STATE.server] * COUNTERS + COUNTER.outBytes
      services.directory.counters[counter] += countedLength(frame)
    }
    const client = index * KEY_WORDS + KEY.clientAddress
    const path = table.returnPath(index)
    if (frame.length - ETHERNET_HEADER_LENGTH > egress.mtuToClient6(path, keys, client)) return drops.drop(DROP_TOO_BIG)
    const virtualAt = keys[index * KEY_WORDS + KEY.virtualAddress] * ADDRESS_WORDS
    replaceAddress6(view, ip + IPV6.source, services.directory.book.words, virtualAt)
    decrementHopLimit(view, ip)
    return egress.toClient6(frame, path, keys, client)
  }
}

/**
 * Bytes that a fragment adds to those which its first one counted for: its data. The first counted with its fragment header, which the
 * packet does not have when it is put together: that comes off with the last.
 */
function countedLength(frame: Frame): number {
  const view = frame.memory.view
  const ip = frame.start + ETHERNET_HEADER_LENGTH
  const header = fragmentHeaderAt(view, ip)
  const data = frame.length - ETHERNET_HEADER_LENGTH - header - FRAGMENT_HEADER_LENGTH
  const isLast = (view.getUint16(ip + header + FRAGMENT.offset) & FRAGMENT_MORE) === 0
  return isLast ? data - FRAGMENT_HEADER_LENGTH : data
}
