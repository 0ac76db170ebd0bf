/**
 * An IPv6 packet's way: what ipv4-path.ts is for IPv4, in a path of its own, so that neither family asks at every step which one
 * it is. Connections, services, neighbours and counters are the same for both.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_in_hook(), ip_vs_out_hook() with af == AF_INET6.
 */
import * as ethernet from '../../protocol/packet/ethernet.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import * as ipv6 from '../../protocol/packet/ipv6.ts'
import * as addressWords from '../../protocol/packet/ipv6-address.ts'
import * as tcp from '../../protocol/packet/tcp.ts'
import { PORT_ISAKMP } from '../../protocol/packet/udp.ts'
import type { Frame } from '../link/link.ts'
import { decrementHopLimit, rewriteDestination6, rewriteSource6 } from '../method/ipv6-nat.ts'
import { isTransportUnfinished, wireLength } from '../method/offload.ts'
import * as book from '../table/address-book.ts'
import type { ConnectionIndex } from '../table/connection-layout.ts'
import * as layout from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import * as realServer from '../table/real-server.ts'
import * as recordCodec from '../table/record-codec.ts'
import * as directory from '../table/server-directory.ts'
import { NO_ROOM, PASSES, WAITS } from './confirmations.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Engine } from './engine.ts'
import type { IPv6Answers } from './ipv6-answers.ts'
import { IPv6FragmentPath } from './ipv6-fragment-path.ts'
import { IPv6Icmp } from './ipv6-icmp.ts'
import type { IPv6Tunnels } from './ipv6-tunnels.ts'
import { isAnswered } from './new-connections.ts'
import * as protocols from './protocols/registry.ts'
import { NO_RETURN_PATH } from './return-paths.ts'
import * as tcpStates from './tcp-states.ts'
import { CONSUMED, FIRST_FRAGMENT, TO_HOST, type Verdict } from './verdict.ts'
import * as virtualAddresses from './virtual-addresses.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { ETHERNET_HEADER_LENGTH } = ethernet
const { PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } = ipv4
const { IPV6, IPV6_HEADER_LENGTH, PROTOCOL_ICMPV6, walkToTransport, WALK_FRAGMENT, WALK_TOO_LONG } = ipv6
const { ADDRESS_WORDS, isHostIPv6 } = addressWords
const { TCP, TCP_SYN } = tcp
const { headerLengths } = protocols
const { NO_ADDRESS } = book
const { FLAG_FTP, FLAG_ONE_PACKET, FLAG_ONE_WAY, FLAG_UNANSWERED, MOST_PACKETS, NO_CONNECTION, ONE_PACKET } = layout
const { KEY, KEY_WORDS, packetsOf, RETURN_PATH_MASK, STATE, STATE_WORDS } = layout
const { METHOD_MASK, METHOD_SHIFT } = recordCodec
const { COUNTER, COUNTERS } = directory
const { METHOD_DR, METHOD_LOCAL, METHOD_TUN } = realServer
const { DIRECTION_INPUT, DIRECTION_INPUT_ONLY, DIRECTION_OUTPUT } = tcpStates
const { ADDRESS_UNKNOWN } = virtualAddresses

const DROP_TRUNCATED = dropCode('truncated')
const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_EXTENSION_HEADERS = dropCode('extension-headers')
const DROP_NO_CONNECTION = dropCode('no-connection')
const DROP_SERVER_GONE = dropCode('server-gone')
const DROP_UNPROVED = dropCode('unproved')
const DROP_TABLE_FULL = dropCode('table-full')
const DROP_OVER = dropCode('over')
const DROP_MARTIAN = dropCode('martian-source')
const DROP_UNSUPPORTED = dropCode('unsupported')
const DROP_UNCONFIRMED = dropCode('unconfirmed')

/** Client port and virtual port, as in a connection's key. */
const ISAKMP_PORTS = (PORT_ISAKMP << 16) | PORT_ISAKMP

export class IPv6Path {
  readonly #engine: Engine
  readonly #table: ConnectionTable
  readonly #book: book.AddressBook
  readonly #keys: Int32Array
  readonly #states: Int32Array
  readonly #counters: Float64Array
  readonly #drops: Drops
  readonly #answers: IPv6Answers
  readonly #tunnels: IPv6Tunnels
  readonly #icmp: IPv6Icmp
  readonly fragments: IPv6FragmentPath
  readonly #destination = new Int32Array(ADDRESS_WORDS)

  constructor(engine: Engine, table: ConnectionTable, drops: Drops) {
    const { services, addresses, egress } = engine
    this.#engine = engine
    this.#table = table
    this.#book = services.directory.book
    this.#keys = table.memory.keys
    this.#states = table.memory.states
    this.#counters = services.directory.counters
    this.#drops = drops
    this.#answers = engine.answers6
    this.#tunnels = engine.tunnels6
    this.#icmp = new IPv6Icmp({ book: this.#book, addresses, egress, errors: engine.icmpErrors, drops })
    const parts = { table, services, addresses, egress, tunnels: this.#tunnels, drops }
    this.fragments = new IPv6FragmentPath({ ...parts, order: engine.fragmentOrder })
  }

  setTime(nowMs: number): void {
    this.#icmp.setTime(nowMs)
  }

  /** Decides on one frame of IPv6 that came in on link number `link`. */
  handle(frame: Frame, link: number): Verdict {
    const view = frame.memory.view
    const start = frame.start
    const ip = start + ETHERNET_HEADER_LENGTH
    const available = frame.length - ETHERNET_HEADER_LENGTH - IPV6_HEADER_LENGTH
    if (available < 0) return this.#drops.drop(DROP_TRUNCATED)
    const payloadLength = view.getUint16(ip + IPV6.payloadLength)
    if (view.getUint8(ip) >> 4 !== 6 || payloadLength > available) return this.#drops.drop(DROP_BAD_HEADER)
    // What lies behind the packet is Ethernet's padding.
    frame.length = ETHERNET_HEADER_LENGTH + IPV6_HEADER_LENGTH + payloadLength
    const to = ip + IPV6.destination
    const to0 = view.getInt32(to)
    const to1 = view.getInt32(to + 4)
    const to2 = view.getInt32(to + 8)
    const to3 = view.getInt32(to + 12)
    let virtual = this.#book.find(to0, to1, to2, to3)
    let addressState = this.#engine.addresses.stateOf(virtual)
    let walked = walkToTransport(view, ip, start + frame.length)
    if (walked < 0) {
      if (walked !== WALK_FRAGMENT) return addressState === ADDRESS_UNKNOWN ? TO_HOST : this.#dropUnwalked(walked)
      // Sent to a group: every director has it.
      if ((view.getUint8(start) & 1) !== 0) return TO_HOST
      const verdict = this.fragments.handle(frame, link, addressState)
      if (verdict !== FIRST_FRAGMENT) return verdict
      walked = this.fragments.walked
    }
    const protocol = walked & 255
    const headerLength = walked >> 8
    if (protocol === PROTOCOL_ICMPV6) return this.#icmp.handle(frame, link, headerLength, addressState)
    // Sent to a group: every director has it, and nobody may answer it.
    if ((view.getUint8(start) & 1) !== 0) return TO_HOST
    if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP && protocol !== PROTOCOL_SCTP) {
      if (protocol === PROTOCOL_ESP || protocol === PROTOCOL_AH) {
        return this.#handleIpsec(frame, link, headerLength, protocol, virtual, addressState)
      }
      return addressState === ADDRESS_UNKNOWN ? TO_HOST : this.#drops.drop(DROP_UNSUPPORTED)
    }
    const transport = ip + headerLength
    if (transport + headerLengths[protocol] > start + frame.length) {
      return addressState === ADDRESS_UNKNOWN ? TO_HOST : this.#drops.drop(DROP_TRUNCATED)
    }
    const ports = view.getInt32(transport)
    const from = ip + IPV6.source
    const from0 = view.getInt32(from)
    const from1 = view.getInt32(from + 4)
    const from2 = view.getInt32(from + 8)
    const from3 = view.getInt32(from + 12)
    if (addressState === ADDRESS_UNKNOWN) {
      const server = this.#book.find(from0, from1, from2, from3)
      if (server !== NO_ADDRESS) {
        const index = this.#table.findByServer6(protocol, server, ports >>> 16, to0, to1, to2, to3, ports & 0xffff)
        if (index !== NO_CONNECTION && this.#isUnbegun(index)) return this.#drops.drop(DROP_UNCONFIRMED)
        if (index !== NO_CONNECTION) return this.#toClient(frame, link, headerLength, protocol, index)
      }
      const { marks, newConnections } = this.#engine
      if (!marks.of(true).namesDestinations) return TO_HOST
      newConnections.readIPv6(protocol, view, ip, virtual, ports)
      addressState = newConnections.stateByMark(link)
      if (addressState === ADDRESS_UNKNOWN) return TO_HOST
      virtual = this.#book.internNamed(to0, to1, to2, to3)
      if (virtual === NO_ADDRESS) return this.#drops.drop(DROP_TABLE_FULL)
    }
    let index = this.#table.findByClient6(protocol, from0, from1, from2, from3, virtual, ports)
    let former: ConnectionIndex = NO_CONNECTION
    if (index !== NO_CONNECTION && this.#engine.admission.isReopened(index, view, transport, protocol)) {
      former = index
      index = NO_CONNECTION
    }
    if (index === NO_CONNECTION) {
      this.#engine.newConnections.readIPv6(protocol, view, ip, virtual, ports)
      return this.#handleNew(frame, link, headerLength, protocol, addressState, former)
    }
    if (
      this.#engine.addresses.wasJustTaken(virtual) &&
      this.#engine.admission.mayBeOfNext(index, view, transport, protocol)
    )
      return this.#drops.drop(DROP_OVER)
    if (this.#isUnbegun(index))
      return this.#hold(frame, link, index, this.#engine.confirmations.follow(frame, link, index))
    return this.#toServer(frame, link, headerLength, protocol, index)
  }

  /** A frame that the host's own stack sends to somebody who did not come by a virtual address. */
  forHost(frame: Frame): Verdict {
    const { view } = frame.memory
    const destination = this.#destination
    const at = frame.start + ETHERNET_HEADER_LENGTH + IPV6.destination
    for (let word = 0; word < ADDRESS_WORDS; word++) destination[word] = view.getInt32(at + word * 4)
    const isBeyond = isHostIPv6(destination[0], destination[1], destination[2], destination[3])
    return isBeyond ? this.#engine.egress.toClient6(frame, NO_RETURN_PATH, destination, 0) : TO_HOST
  }

  #dropUnwalked(code: number): Verdict {
    return this.#drops.drop(code === WALK_TOO_LONG ? DROP_EXTENSION_HEADERS : DROP_TRUNCATED)
  }

  /** A packet without a connection, which newConnections has read. */
  #handleNew(
    frame: Frame,
    link: number,
    headerLength: number,
    protocol: number,
    addressState: number,
    former: ConnectionIndex,
  ): Verdict {
    const { newConnections, scheduling } = this.#engine
    const transport = frame.start + ETHERNET_HEADER_LENGTH + headerLength
    const index = newConnections.open(frame, transport, link, addressState, former)
    if (index === NO_CONNECTION) {
      const { refusal } = newConnections
      if (!isAnswered(refusal)) return this.#drops.drop(refusal)
      return this.#answers.fromDestination(frame).portUnreachable(frame, link, refusal)
    }
    const outcome = this.#engine.confirmations.begin(frame, link, index, protocol, transport, newConnections.sync)
    if (outcome !== PASSES) return this.#hold(frame, link, index, outcome)
    const verdict = this.#toServer(frame, link, headerLength, protocol, index)
    scheduling.sent(index)
    return verdict
  }

  /** A packet whose connection waits to be confirmed, or was not. */
  #hold(frame: Frame, link: number, index: ConnectionIndex, outcome: number): Verdict {
    if (outcome === WAITS) return CONSUMED
    if (outcome === NO_ROOM) return this.#drops.drop(DROP_UNCONFIRMED)
    this.#engine.replication.publishRefusal(index)
    this.#engine.connections.discard(index)
    return this.#answers.fromDestination(frame).portUnreachable(frame, link, DROP_UNCONFIRMED)
  }

  /** Its first packet waits to be confirmed: what a server says can only be of the connection before, between the same ports. */
  #isUnbegun(index: ConnectionIndex): boolean {
    const { confirmations } = this.#engine
    return confirmations.count !== 0 && confirmations.holds(index)
  }

  #toServer(frame: Frame, link: number, headerLength: number, protocol: number, index: ConnectionIndex): Verdict {
    const view = frame.memory.view
    const start = frame.start
    const ip = start + ETHERNET_HEADER_LENGTH
    const { services, egress, admission } = this.#engine
    const state = index * STATE_WORDS
    const server = services.serverBySlot[this.#states[state + STATE.server]]
    if (server === undefined || admission.isGone(server))
      return this.#serverGone(frame, link, headerLength, protocol, index)
    let word = this.#states[state + STATE.flagsReturnPath]
    if (packetsOf(word) < MOST_PACKETS) {
      word = (word + ONE_PACKET) | 0
      this.#states[state + STATE.flagsReturnPath] = word
    }
    const flags = word >>> 16
    if (!egress.returnPaths.hears(word & RETURN_PATH_MASK, link, view, start + 6)) {
      this.#states[state + STATE.flagsReturnPath] =
        (word & ~RETURN_PATH_MASK) | egress.returnPaths.intern(link, view, start + 6)
    }
    const transport = ip + headerLength
    this.#move(frame, index, flags & FLAG_ONE_WAY ? DIRECTION_INPUT_ONLY : DIRECTION_INPUT, protocol, transport, flags)
    const counter = server.slot * COUNTERS
    this.#counters[counter + COUNTER.inPackets]++
    this.#counters[counter + COUNTER.inBytes] += frame.length - ETHERNET_HEADER_LENGTH
    // Only here: see ipv4-path.ts.
    if (view.getUint8(ip + IPV6.hopLimit) <= 1)
      return this.#answers.fromDestination(frame).hopLimitExceeded(frame, link)
    if ((flags & FLAG_FTP) !== 0) this.#engine.ftp.command(frame, transport, index)
    const method = (flags & METHOD_MASK) >> METHOD_SHIFT
    if (method === METHOD_TUN) return this.#tunnels.toServer(frame, link, headerLength, protocol, server, false)
    if (frame.length > egress.fitsAnywhere) {
      const mtu = egress.mtuToServer(server)
      if (wireLength(frame, headerLength, protocol) > mtu) {
        return this.#answers.fromDestination(frame).tooBig(frame, link, mtu)
      }
    }
    if (method === METHOD_DR) {
      decrementHopLimit(view, ip)
    } else {
      const unfinished = isTransportUnfinished(frame, transport)
      const wordsAt = server.address * ADDRESS_WORDS
      const port = this.#table.serverPort(index)
      rewriteDestination6(view, ip, transport, protocol, this.#book.words, wordsAt, port, unfinished)
    }
    return egress.toServer(frame, server)
  }

  /** As for IPv4: a packet for a server that is not there. */
  #serverGone(frame: Frame, link: number, headerLength: number, protocol: number, index: ConnectionIndex): Verdict {
    const { admission, newConnections, addresses } = this.#engine
    if (!admission.isToLeave(index, protocol)) return this.#drops.drop(DROP_SERVER_GONE)
    const virtual = this.#keys[index * KEY_WORDS + KEY.virtualAddress]
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    newConnections.readIPv6(protocol, view, ip, virtual, view.getInt32(ip + headerLength))
    return this.#handleNew(frame, link, headerLength, protocol, addresses.stateOfServed(virtual), index)
  }

  #toClient(frame: Frame, link: number, headerLength: number, protocol: number, index: ConnectionIndex): Verdict {
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const { egress } = this.#engine
    const key = index * KEY_WORDS
    const virtual = this.#keys[key + KEY.virtualAddress]
    if (view.getUint8(ip + IPV6.hopLimit) <= 1)
      return this.#answersToServer(link, virtual).hopLimitExceeded(frame, link)
    const state = index * STATE_WORDS
    const word = this.#states[state + STATE.flagsReturnPath]
    let flags = word >>> 16
    const path = word & RETURN_PATH_MASK
    // What this host sends comes from this host: see ipv4-path.ts.
    if ((flags & METHOD_MASK) === METHOD_LOCAL << METHOD_SHIFT && link !== egress.hostLink)
      return this.#drops.drop(DROP_MARTIAN)
    const transport = ip + headerLength
    if ((flags & FLAG_UNANSWERED) !== 0) {
      if (protocol !== PROTOCOL_TCP) this.#engine.scheduling.answered(index)
      else if (!this.#engine.tentative.accepts(index, view, transport)) return this.#drops.drop(DROP_UNPROVED)
      flags &= ~FLAG_UNANSWERED
    }
    this.#move(frame, index, DIRECTION_OUTPUT, protocol, transport, flags)
    if ((flags & FLAG_FTP) !== 0) this.#engine.ftp.reply(frame, transport, index)
    // To IPVS the reply to a single datagram belongs to nothing.
    if ((flags & FLAG_ONE_PACKET) === 0) {
      const counter = this.#states[state + STATE.server] * COUNTERS
      this.#counters[counter + COUNTER.outPackets]++
      this.#counters[counter + COUNTER.outBytes] += frame.length - ETHERNET_HEADER_LENGTH
    }
    const client = key + KEY.clientAddress
    if (frame.length > egress.fitsAnywhere) {
      const mtu = egress.mtuToClient6(path, this.#keys, client)
      if (wireLength(frame, headerLength, protocol) > mtu) {
        return this.#answersToServer(link, virtual).tooBig(frame, link, mtu)
      }
    }
    const virtualAt = virtual * ADDRESS_WORDS
    const virtualPort = this.#keys[key + KEY.ports] & 0xffff
    const unfinished = isTransportUnfinished(frame, transport)
    rewriteSource6(view, ip, transport, protocol, this.#book.words, virtualAt, virtualPort, unfinished)
    return egress.toClient6(frame, path, this.#keys, client)
  }

  #move(
    frame: Frame,
    index: ConnectionIndex,
    direction: number,
    protocol: number,
    transport: number,
    flags: number,
  ): void {
    const { moves } = this.#engine
    if (protocol === PROTOCOL_TCP) {
      const tcpFlags = frame.memory.view.getUint8(transport + TCP.flags)
      moves.tcp(index, direction, tcpFlags, flags)
      if ((tcpFlags & TCP_SYN) !== 0) this.#engine.segmentClamp.lower(frame, transport, index)
    } else if (protocol === PROTOCOL_SCTP) {
      moves.sctp(index, direction, frame, transport, flags)
    } else {
      moves.touch(index, PROTOCOL_UDP, 0, flags)
    }
  }

  /** As for IPv4: IPsec's packets go the way of the key exchange between the same addresses. */
  #handleIpsec(
    frame: Frame,
    link: number,
    headerLength: number,
    protocol: number,
    virtual: number,
    addressState: number,
  ): Verdict {
    const view = frame.memory.view
    const from = frame.start + ETHERNET_HEADER_LENGTH + IPV6.source
    const to = frame.start + ETHERNET_HEADER_LENGTH + IPV6.destination
    const from0 = view.getInt32(from)
    const from1 = view.getInt32(from + 4)
    const from2 = view.getInt32(from + 8)
    const from3 = view.getInt32(from + 12)
    if (addressState !== ADDRESS_UNKNOWN) {
      const index = this.#table.findByClient6(PROTOCOL_UDP, from0, from1, from2, from3, virtual, ISAKMP_PORTS)
      if (index === NO_CONNECTION) return this.#drops.drop(DROP_NO_CONNECTION)
      return this.#toServer(frame, link, headerLength, protocol, index)
    }
    const server = this.#book.find(from0, from1, from2, from3)
    if (server === NO_ADDRESS) return TO_HOST
    const index = this.#table.findByServer6(
      PROTOCOL_UDP,
      server,
      PORT_ISAKMP,
      view.getInt32(to),
      view.getInt32(to + 4),
      view.getInt32(to + 8),
      view.getInt32(to + 12),
      PORT_ISAKMP,
    )
    return index === NO_CONNECTION ? TO_HOST : this.#toClient(frame, link, headerLength, protocol, index)
  }

  /** The next answer comes from where replies on this link are answered from. */
  #answersToServer(link: number, virtual: number): IPv6Answers {
    return this.#answers.from(this.#book.words, this.#engine.egress.source6On(link, virtual) * ADDRESS_WORDS)
  }
}
