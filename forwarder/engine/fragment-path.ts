/**
 * Fragments follow their first one: it has the ports, is handled as a whole packet is, and decides for all. The others take its
 * connection's way with what a fragment has to change: an address for NAT, an outer header for TUN, the TTL for all.
 *
 * Nothing is put together here, so a datagram costs no more memory than the note that it is on its way; only fragments that
 * come before the first wait, as copies. (The kernel's IPVS puts IPv4 datagrams together before it looks at them.)
 *
 * Source: RFC 1858 section 3 and RFC 3128 section 2 (which fragments are attacks); RFC 5722 (no overlap is ever innocent).
 */
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import {
  FRAGMENT_OFFSET_MASK,
  IPV4,
  IPV4_HEADER_LENGTH,
  MORE_FRAGMENTS,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
} from '../../protocol/packet/ipv4.ts'
import { TCP_HEADER_LENGTH } from '../../protocol/packet/tcp.ts'
import { UDP_HEADER_LENGTH } from '../../protocol/packet/udp.ts'
import type { Frame } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { mayBeCut } from '../method/fragmentation.ts'
import { rewriteDestinationAddress, rewriteSourceAddress } from '../method/nat.ts'
import { hasUnfinishedChecksum, segmentSize } from '../method/offload.ts'
import { KEY, KEY_WORDS, NO_CONNECTION, STATE, STATE_WORDS } from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { METHOD_MASK, METHOD_SHIFT } from '../table/record-codec.ts'
import { COUNTER, COUNTERS } from '../table/server-directory.ts'
import { isOneWay, METHOD_LOCAL, METHOD_TUN, type ServiceTable } from '../table/service-table.ts'
import type { Answers } from './answers.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import { Fragments, NO_DATAGRAM } from './fragments.ts'
import type { PooledFrame } from './frame-pool.ts'
import type { Tunnels } from './tunnels.ts'
import { CONSUMED, FIRST_FRAGMENT, TO_HOST, type Verdict } from './verdict.ts'
import { ADDRESS_UNKNOWN, type VirtualAddresses } from './virtual-addresses.ts'

const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_FRAGMENT = dropCode('fragment')
const DROP_TINY = dropCode('fragment-tiny')
const DROP_OVERLAP = dropCode('fragment-overlap')
const DROP_LIMIT = dropCode('fragment-limit')
const DROP_ORPHAN = dropCode('fragment-orphan')
const DROP_MARTIAN = dropCode('martian-source')
const DROP_SERVER_GONE = dropCode('server-gone')

const LONGEST_PACKET = 65_535

export interface FragmentParts {
  readonly table: ConnectionTable
  readonly services: ServiceTable
  readonly addresses: VirtualAddresses
  readonly egress: Egress
  readonly tunnels: Tunnels
  readonly answers: Answers
  readonly drops: Drops
  /** Key of the hash that datagrams are found by. */
  readonly secret: number
}

export class FragmentPath {
  readonly #parts: FragmentParts
  readonly #fragments: Fragments
  readonly #forward: (frame: PooledFrame, ports: number) => void

  constructor(parts: FragmentParts) {
    const { egress, drops } = parts
    this.#parts = parts
    this.#fragments = new Fragments(parts.secret, (frame) => {
      drops.add(DROP_ORPHAN, 1)
      egress.giveBack(frame)
    })
    this.#forward = (frame, ports) => {
      const verdict = this.#follow(frame, frame.link, ports)
      if (verdict >= 0) egress.sendKept(frame, verdict)
      else egress.giveBack(frame)
    }
  }

  setTime(nowMs: number): void {
    this.#fragments.setTime(nowMs)
  }

  /** Sends what waited for a first fragment that has been handled by now. */
  release(): void {
    this.#fragments.release(this.#forward)
  }

  /** @returns FIRST_FRAGMENT when the caller is to handle the frame as it does whole packets */
  handle(frame: Frame, link: number, headerLength: number, addressState: number): Verdict {
    const { services, egress, drops } = this.#parts
    const fragments = this.#fragments
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const source = view.getInt32(ip + IPV4.source)
    if (addressState === ADDRESS_UNKNOWN && !services.hasServerAt(source)) return TO_HOST
    const word = view.getUint16(ip + IPV4.fragment)
    const offset = (word & FRAGMENT_OFFSET_MASK) * 8
    const isLast = (word & MORE_FRAGMENTS) === 0
    const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
    const isSound = length > 0 && (isLast || length % 8 === 0) && offset + length + IPV4_HEADER_LENGTH <= LONGEST_PACKET
    // No card is left with anything to do for a fragment.
    if (!isSound || hasUnfinishedChecksum(frame) || segmentSize(frame) !== 0) return drops.drop(DROP_BAD_HEADER)
    const protocol = view.getUint8(ip + IPV4.protocol)
    // SCTP's checksum is of the whole packet, and a new port changes all of it (RFC 9260 appendix A).
    if (protocol === PROTOCOL_SCTP) return drops.drop(DROP_FRAGMENT)
    const leastLength = protocol === PROTOCOL_TCP ? TCP_HEADER_LENGTH : UDP_HEADER_LENGTH
    if (offset < leastLength && (offset > 0 || length < leastLength)) return drops.drop(DROP_TINY)
    const identification = view.getUint16(ip + IPV4.identification)
    const datagram = fragments.enter(source, view.getInt32(ip + IPV4.destination), identification, protocol)
    if (datagram === NO_DATAGRAM) return drops.drop(DROP_LIMIT)
    const isHeld = offset > 0 && !fragments.hasFirst(datagram)
    if (isHeld && !fragments.mayHold(datagram)) return drops.drop(DROP_LIMIT)
    if (!fragments.note(datagram, offset, length, isLast)) return drops.drop(DROP_OVERLAP)
    if (isHeld) {
      const copy = egress.keep(frame)
      if (copy === undefined) return drops.drop(DROP_LIMIT)
      copy.link = link
      fragments.hold(datagram, copy)
      return CONSUMED
    }
    if (offset === 0) fragments.setFirst(datagram, view.getInt32(ip + headerLength))
    const ports = fragments.ports(datagram)
    if (fragments.isComplete(datagram)) fragments.forget(datagram)
    return offset === 0 ? FIRST_FRAGMENT : this.#follow(frame, link, ports)
  }

  #follow(frame: Frame, link: number, ports: number): Verdict {
    const { addresses, table, drops } = this.#parts
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const headerLength = (view.getUint8(ip) & 15) << 2
    const protocol = view.getUint8(ip + IPV4.protocol)
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

  #toServer(frame: Frame, link: number, headerLength: number, index: number): Verdict {
    const { table, services, egress, tunnels, answers, drops } = this.#parts
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const virtual = view.getInt32(ip + IPV4.destination)
    if (view.getUint8(ip + IPV4.ttl) <= 1) return answers.ttlExceeded(frame, link, virtual)
    const state = index * STATE_WORDS
    const server = services.serverBySlot[table.memory.states[state + STATE.server]]
    if (server === undefined || server.removed) return drops.drop(DROP_SERVER_GONE)
    const counter = server.slot * COUNTERS
    services.directory.counters[counter + COUNTER.inPackets]++
    services.directory.counters[counter + COUNTER.inBytes] += frame.length - ETHERNET_HEADER_LENGTH
    const method = ((table.memory.states[state + STATE.flagsReturnPath] >>> 16) & METHOD_MASK) >> METHOD_SHIFT
    if (method === METHOD_TUN) return tunnels.toServer(frame, link, headerLength, server)
    const mtu = egress.mtuToServer(server)
    const isTooLong = frame.length - ETHERNET_HEADER_LENGTH > mtu
    if (isTooLong && !mayBeCut(frame)) return answers.tooBig(frame, link, mtu, virtual)
    if (!isOneWay(method)) rewriteDestinationAddress(view, ip, server.address)
    else decrementTtl(view, ip)
    return isTooLong ? egress.piecesToServer(frame, headerLength, server) : egress.toServer(frame, server)
  }

  #toClient(frame: Frame, link: number, headerLength: number, index: number): Verdict {
    const { table, services, egress, answers, drops } = this.#parts
    const { keys, states } = table.memory
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    if (view.getUint8(ip + IPV4.ttl) <= 1) return answers.ttlExceeded(frame, link, egress.sourceOn(link))
    // What this host sends comes from this host: see engine.ts.
    const flags = states[index * STATE_WORDS + STATE.flagsReturnPath] >>> 16
    if ((flags & METHOD_MASK) === METHOD_LOCAL << METHOD_SHIFT && link !== egress.hostLink)
      return drops.drop(DROP_MARTIAN)
    const counter = states[index * STATE_WORDS + STATE.server] * COUNTERS
    services.directory.counters[counter + COUNTER.outPackets]++
    services.directory.counters[counter + COUNTER.outBytes] += frame.length - ETHERNET_HEADER_LENGTH
    const client = keys[index * KEY_WORDS + KEY.clientAddress]
    const path = states[index * STATE_WORDS + STATE.flagsReturnPath] & 0xffff
    const mtu = egress.mtuToClient(path, client)
    const isTooLong = frame.length - ETHERNET_HEADER_LENGTH > mtu
    if (isTooLong && !mayBeCut(frame)) return answers.tooBig(frame, link, mtu, egress.sourceOn(link))
    rewriteSourceAddress(view, ip, keys[index * KEY_WORDS + KEY.virtualAddress])
    return isTooLong ? egress.piecesToClient(frame, headerLength, path, client) : egress.toClient(frame, path, client)
  }
}
