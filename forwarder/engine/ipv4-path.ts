/**
 * An IPv4 packet's way, and beside it, in ipv6-path.ts, an IPv6 packet's: paths of their own, so that neither family asks at every
 * step which one it is. Connections, services, neighbours and counters are the same for both.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_in_hook(), ip_vs_out_hook().
 */
import * as ethernet from '../../protocol/packet/ethernet.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import * as tcp from '../../protocol/packet/tcp.ts'
import { PORT_ISAKMP } from '../../protocol/packet/udp.ts'
import type { Frame } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { rewriteDestination, rewriteSource } from '../method/nat.ts'
import { isTransportUnfinished, wireLength } from '../method/offload.ts'
import type { ConnectionIndex } from '../table/connection-layout.ts'
import * as layout from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import * as realServer from '../table/real-server.ts'
import * as recordCodec from '../table/record-codec.ts'
import * as directory from '../table/server-directory.ts'
import type { ServiceTable } from '../table/service-table.ts'
import type { Admission } from './admission.ts'
import type { Answers } from './answers.ts'
import { type Confirmations, NO_ROOM, PASSES, WAITS } from './confirmations.ts'
import type { Connections } from './connections.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import type { Engine } from './engine.ts'
import { FragmentPath } from './fragment-path.ts'
import type { Ftp } from './ftp/ftp.ts'
import { Icmp } from './icmp.ts'
import type { Marks } from './marks.ts'
import { isAnswered, type NewConnections } from './new-connections.ts'
import { PacketSize } from './packet-size.ts'
import * as protocols from './protocols/registry.ts'
import type { Replication } from './replication.ts'
import type { Scheduling } from './scheduling.ts'
import type { SegmentClamp } from './segment-clamp.ts'
import type { StateMoves } from './state-moves.ts'
import * as tcpStates from './tcp-states.ts'
import type { TentativeConnections } from './tentative-connections.ts'
import type { Tunnels } from './tunnels.ts'
import { CONSUMED, FIRST_FRAGMENT, TO_HOST, type Verdict } from './verdict.ts'
import * as virtualAddresses from './virtual-addresses.ts'

// V8 folds a module's own constants into its code, but loads and checks an imported one at each use: a fifth of a packet's time.
const { ETHERNET_HEADER_LENGTH } = ethernet
const { FRAGMENT_OFFSET_MASK, IPV4, IPV4_HEADER_LENGTH, MORE_FRAGMENTS } = ipv4
const { PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_ICMP, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } = ipv4
const { soundIPv4HeaderLength } = ipv4
const { TCP, TCP_SYN } = tcp
const { headerLengths } = protocols
const { FLAG_FTP, FLAG_ONE_PACKET, FLAG_ONE_WAY, FLAG_UNANSWERED, MOST_PACKETS, NO_CONNECTION, ONE_PACKET } = layout
const { KEY, KEY_WORDS, packetsOf, RETURN_PATH_MASK, STATE, STATE_WORDS } = layout
const { METHOD_MASK, METHOD_SHIFT } = recordCodec
const { COUNTER, COUNTERS } = directory
const { METHOD_DR, METHOD_LOCAL, METHOD_TUN } = realServer
const { DIRECTION_INPUT, DIRECTION_INPUT_ONLY, DIRECTION_OUTPUT } = tcpStates
const { ADDRESS_UNKNOWN } = virtualAddresses

const DROP_TRUNCATED = dropCode('truncated')
const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_NO_CONNECTION = dropCode('no-connection')
const DROP_SERVER_GONE = dropCode('server-gone')
const DROP_UNPROVED = dropCode('unproved')
const DROP_MARTIAN = dropCode('martian-source')
const DROP_FTP_INCOMPLETE = dropCode('ftp-incomplete')
const DROP_UNSUPPORTED = dropCode('unsupported')
const DROP_UNCONFIRMED = dropCode('unconfirmed')
const DROP_OVER = dropCode('over')

/** Client port and virtual port, as in a connection's key. */
const ISAKMP_PORTS = (PORT_ISAKMP << 16) | PORT_ISAKMP

export class IPv4Path {
  readonly #table: ConnectionTable
  readonly #keys: Int32Array
  readonly #states: Int32Array
  readonly #counters: Float64Array
  readonly #services: ServiceTable
  readonly #addresses: virtualAddresses.VirtualAddresses
  readonly #egress: Egress
  readonly #moves: StateMoves
  readonly #marks: Marks
  readonly #admission: Admission
  readonly #confirmations: Confirmations
  readonly #connections: Connections
  readonly #replication: Replication
  readonly #scheduling: Scheduling
  readonly #newConnections: NewConnections
  readonly #tentative: TentativeConnections
  readonly #ftp: Ftp
  readonly #answers: Answers
  readonly #tunnels: Tunnels
  readonly #packetSize: PacketSize
  readonly #segmentClamp: SegmentClamp
  readonly #icmp: Icmp
  readonly fragments: FragmentPath
  readonly #drops: Drops

  constructor(engine: Engine, table: ConnectionTable, drops: Drops) {
    const { services, addresses, egress, answers, tunnels } = engine
    this.#table = table
    this.#keys = table.memory.keys
    this.#states = table.memory.states
    this.#counters = services.directory.counters
    this.#services = services
    this.#addresses = addresses
    this.#egress = egress
    this.#moves = engine.moves
    this.#marks = engine.marks
    this.#admission = engine.admission
    this.#confirmations = engine.confirmations
    this.#connections = engine.connections
    this.#replication = engine.replication
    this.#scheduling = engine.scheduling
    this.#newConnections = engine.newConnections
    this.#tentative = engine.tentative
    this.#ftp = engine.ftp
    this.#segmentClamp = engine.segmentClamp
    this.#answers = answers
    this.#tunnels = tunnels
    this.#drops = drops
    const parts = { table, services, addresses, egress, tunnels, answers, drops }
    this.#icmp = new Icmp({ ...parts, errors: engine.icmpErrors })
    this.#packetSize = new PacketSize(parts)
    this.fragments = new FragmentPath({ ...parts, order: engine.fragmentOrder })
  }

  /** Decides on one frame of IPv4 that came in on link number `link`. */
  handle(frame: Frame, link: number): Verdict {
    const view = frame.memory.view
    const start = frame.start
    // Sent to a group: every director has it, and nobody may answer it (RFC 1122 3.2.2).
    if ((view.getUint8(start) & 1) !== 0) return TO_HOST
    const ip = start + ETHERNET_HEADER_LENGTH
    if (frame.length < ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH) return this.#drops.drop(DROP_TRUNCATED)
    const headerLength = soundIPv4HeaderLength(view, ip, frame.length - ETHERNET_HEADER_LENGTH)
    if (headerLength === 0) return this.#drops.drop(DROP_BAD_HEADER)
    const totalLength = view.getUint16(ip + IPV4.totalLength)
    // What lies behind the packet is Ethernet's padding.
    frame.length = ETHERNET_HEADER_LENGTH + totalLength
    const protocol = view.getUint8(ip + IPV4.protocol)
    const source = view.getInt32(ip + IPV4.source)
    const destination = view.getInt32(ip + IPV4.destination)
    // Nobody can have it, and the tables know IPv6 addresses by such numbers (address-book.ts).
    if (destination >>> 24 === 0) return TO_HOST
    let addressState = this.#addresses.stateOf(destination)
    if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP && protocol !== PROTOCOL_SCTP) {
      if (protocol === PROTOCOL_ICMP) return this.#icmp.handle(frame, link, headerLength, addressState)
      if (protocol === PROTOCOL_ESP || protocol === PROTOCOL_AH) {
        return this.#handleIpsec(frame, link, headerLength, protocol, source, destination, addressState)
      }
      return addressState === ADDRESS_UNKNOWN ? TO_HOST : this.#drops.drop(DROP_UNSUPPORTED)
    }
    if ((view.getUint16(ip + IPV4.fragment) & (MORE_FRAGMENTS | FRAGMENT_OFFSET_MASK)) !== 0) {
      const verdict = this.fragments.handle(frame, link, headerLength, addressState)
      if (verdict !== FIRST_FRAGMENT) return verdict
    }
    const transport = ip + headerLength
    if (totalLength < headerLength + headerLengths[protocol]) {
      return addressState === ADDRESS_UNKNOWN ? TO_HOST : this.#drops.drop(DROP_TRUNCATED)
    }
    const ports = view.getInt32(transport)
    if (addressState === ADDRESS_UNKNOWN) {
      const index = this.#table.findByServer(protocol, source, ports >>> 16, destination, ports & 0xffff)
      if (index !== NO_CONNECTION && this.#isUnbegun(index)) return this.#drops.drop(DROP_UNCONFIRMED)
      if (index !== NO_CONNECTION) return this.#toClient(frame, link, headerLength, protocol, index)
      if (!this.#marks.of(false).namesDestinations) return TO_HOST
      this.#newConnections.readIPv4(protocol, source, destination, ports)
      addressState = this.#newConnections.stateByMark(link)
      if (addressState === ADDRESS_UNKNOWN) return TO_HOST
    }
    let index = this.#table.findByClient(protocol, source, destination, ports)
    let former: ConnectionIndex = NO_CONNECTION
    if (index !== NO_CONNECTION && this.#admission.isReopened(index, view, transport, protocol)) {
      former = index
      index = NO_CONNECTION
    }
    if (index === NO_CONNECTION) {
      this.#newConnections.readIPv4(protocol, source, destination, ports)
      return this.#handleNew(frame, link, headerLength, protocol, addressState, former)
    }
    if (this.#addresses.wasJustTaken(destination) && this.#admission.mayBeOfNext(index, view, transport, protocol))
      return this.#drops.drop(DROP_OVER)
    if (this.#isUnbegun(index)) return this.#hold(frame, link, index, this.#confirmations.follow(frame, link, index))
    return this.#toServer(frame, link, headerLength, protocol, index)
  }

  /**
   * IPsec's packets belong to the connection of the key exchange (UDP, port 500) between the same addresses: they go the way it
   * went. They have no ports, and the two ends have to do with the addresses: nothing else in them is changed.
   * Source: Linux net/netfilter/ipvs/ip_vs_proto_ah_esp.c.
   */
  #handleIpsec(
    frame: Frame,
    link: number,
    headerLength: number,
    protocol: number,
    source: number,
    destination: number,
    addressState: number,
  ): Verdict {
    if (addressState !== ADDRESS_UNKNOWN) {
      const index = this.#table.findByClient(PROTOCOL_UDP, source, destination, ISAKMP_PORTS)
      if (index === NO_CONNECTION) return this.#drops.drop(DROP_NO_CONNECTION)
      return this.#toServer(frame, link, headerLength, protocol, index)
    }
    const index = this.#table.findByServer(PROTOCOL_UDP, source, PORT_ISAKMP, destination, PORT_ISAKMP)
    return index === NO_CONNECTION ? TO_HOST : this.#toClient(frame, link, headerLength, protocol, index)
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
    const opening = this.#newConnections
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const index = opening.open(frame, ip + headerLength, link, addressState, former)
    if (index === NO_CONNECTION) {
      const { refusal } = opening
      if (!isAnswered(refusal)) return this.#drops.drop(refusal)
      return this.#answers.portUnreachable(frame, link, refusal, frame.memory.view.getInt32(ip + IPV4.destination))
    }
    const outcome = this.#confirmations.begin(frame, link, index, protocol, ip + headerLength, opening.sync)
    if (outcome !== PASSES) return this.#hold(frame, link, index, outcome)
    const verdict = this.#toServer(frame, link, headerLength, protocol, index)
    this.#scheduling.sent(index)
    return verdict
  }

  /** A packet whose connection waits to be confirmed, or was not. */
  #hold(frame: Frame, link: number, index: ConnectionIndex, outcome: number): Verdict {
    if (outcome === WAITS) return CONSUMED
    if (outcome === NO_ROOM) return this.#drops.drop(DROP_UNCONFIRMED)
    this.#replication.publishRefusal(index)
    this.#connections.discard(index)
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    return this.#answers.portUnreachable(
      frame,
      link,
      DROP_UNCONFIRMED,
      frame.memory.view.getInt32(ip + IPV4.destination),
    )
  }

  /** Its first packet waits to be confirmed: what a server says can only be of the connection before, between the same ports. */
  #isUnbegun(index: ConnectionIndex): boolean {
    return this.#confirmations.count !== 0 && this.#confirmations.holds(index)
  }

  #toServer(frame: Frame, link: number, headerLength: number, protocol: number, index: ConnectionIndex): Verdict {
    const view = frame.memory.view
    const start = frame.start
    const ip = start + ETHERNET_HEADER_LENGTH
    const state = index * STATE_WORDS
    const server = this.#services.serverBySlot[this.#states[state + STATE.server]]
    if (server === undefined || this.#admission.isGone(server))
      return this.#serverGone(frame, link, headerLength, protocol, index)
    let word = this.#states[state + STATE.flagsReturnPath]
    if (packetsOf(word) < MOST_PACKETS) {
      word = (word + ONE_PACKET) | 0
      this.#states[state + STATE.flagsReturnPath] = word
    }
    const flags = word >>> 16
    const path = word & RETURN_PATH_MASK
    if (!this.#egress.returnPaths.hears(path, link, view, start + 6)) {
      this.#states[state + STATE.flagsReturnPath] =
        (word & ~RETURN_PATH_MASK) | this.#egress.returnPaths.intern(link, view, start + 6)
    }
    const transport = ip + headerLength
    if (protocol === PROTOCOL_TCP) {
      const direction = flags & FLAG_ONE_WAY ? DIRECTION_INPUT_ONLY : DIRECTION_INPUT
      const tcpFlags = view.getUint8(transport + TCP.flags)
      this.#moves.tcp(index, direction, tcpFlags, flags)
      if ((tcpFlags & TCP_SYN) !== 0) this.#segmentClamp.lower(frame, transport, index)
    } else if (protocol === PROTOCOL_SCTP) {
      this.#moves.sctp(index, flags & FLAG_ONE_WAY ? DIRECTION_INPUT_ONLY : DIRECTION_INPUT, frame, transport, flags)
    } else {
      this.#moves.touch(index, PROTOCOL_UDP, 0, flags)
    }
    const counter = server.slot * COUNTERS
    this.#counters[counter + COUNTER.inPackets]++
    this.#counters[counter + COUNTER.inBytes] += frame.length - ETHERNET_HEADER_LENGTH
    // Only here, as in IPVS: what ends here has been counted, and has moved the state.
    if (view.getUint8(ip + IPV4.ttl) <= 1)
      return this.#answers.ttlExceeded(frame, link, view.getInt32(ip + IPV4.destination))
    if ((flags & FLAG_FTP) !== 0) this.#ftp.command(frame, transport, index)
    const method = (flags & METHOD_MASK) >> METHOD_SHIFT
    if (method === METHOD_TUN) return this.#tunnels.toServer(frame, link, headerLength, server)
    if (frame.length > this.#egress.fitsAnywhere) {
      const mtu = this.#egress.mtuToServer(server)
      if (wireLength(frame, headerLength, protocol) > mtu) {
        const port = this.#table.serverPort(index)
        return this.#packetSize.tooLongToServer(frame, link, headerLength, server, method, port, mtu)
      }
    }
    if (method === METHOD_DR) {
      decrementTtl(view, ip)
    } else {
      const unfinished = isTransportUnfinished(frame, transport)
      rewriteDestination(view, ip, transport, server.address, this.#table.serverPort(index), unfinished)
    }
    return this.#egress.toServer(frame, server)
  }

  /** A packet for a server that is not there. With expire_nodest_conn its connection ends, and it may begin a new one. */
  #serverGone(frame: Frame, link: number, headerLength: number, protocol: number, index: ConnectionIndex): Verdict {
    if (!this.#admission.isToLeave(index, protocol)) return this.#drops.drop(DROP_SERVER_GONE)
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const destination = view.getInt32(ip + IPV4.destination)
    const ports = view.getInt32(ip + headerLength)
    this.#newConnections.readIPv4(protocol, view.getInt32(ip + IPV4.source), destination, ports)
    return this.#handleNew(frame, link, headerLength, protocol, this.#addresses.stateOfServed(destination), index)
  }

  #toClient(frame: Frame, link: number, headerLength: number, protocol: number, index: ConnectionIndex): Verdict {
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const key = index * KEY_WORDS
    const virtual = this.#keys[key + KEY.virtualAddress]
    if (view.getUint8(ip + IPV4.ttl) <= 1)
      return this.#answers.ttlExceeded(frame, link, this.#egress.sourceOn(link, virtual))
    const state = index * STATE_WORDS
    const word = this.#states[state + STATE.flagsReturnPath]
    let flags = word >>> 16
    const path = word & RETURN_PATH_MASK
    // What this host sends comes from this host, whatever addresses a stranger's packet bears.
    if ((flags & METHOD_MASK) === METHOD_LOCAL << METHOD_SHIFT && link !== this.#egress.hostLink)
      return this.#drops.drop(DROP_MARTIAN)
    const transport = ip + headerLength
    if (protocol === PROTOCOL_TCP) {
      const tcpFlags = view.getUint8(transport + TCP.flags)
      if ((flags & FLAG_UNANSWERED) !== 0) {
        if (!this.#tentative.accepts(index, view, transport)) return this.#drops.drop(DROP_UNPROVED)
        flags &= ~FLAG_UNANSWERED
      }
      this.#moves.tcp(index, DIRECTION_OUTPUT, tcpFlags, flags)
      if ((tcpFlags & TCP_SYN) !== 0) this.#segmentClamp.lower(frame, transport, index)
    } else if (protocol === PROTOCOL_SCTP) {
      this.#moves.sctp(index, DIRECTION_OUTPUT, frame, transport, flags)
    } else {
      this.#moves.touch(index, PROTOCOL_UDP, 0, flags)
      if ((flags & FLAG_UNANSWERED) !== 0) this.#scheduling.answered(index)
    }
    if ((flags & FLAG_FTP) !== 0 && !this.#ftp.reply(frame, transport, index))
      return this.#drops.drop(DROP_FTP_INCOMPLETE)
    // To IPVS the reply to a single datagram belongs to nothing.
    if ((flags & FLAG_ONE_PACKET) === 0) {
      const counter = this.#states[state + STATE.server] * COUNTERS
      this.#counters[counter + COUNTER.outPackets]++
      this.#counters[counter + COUNTER.outBytes] += frame.length - ETHERNET_HEADER_LENGTH
    }
    const virtualPort = this.#keys[key + KEY.ports] & 0xffff
    const client = this.#keys[key + KEY.clientAddress]
    if (frame.length > this.#egress.fitsAnywhere) {
      const mtu = this.#egress.mtuToClient(path, client)
      if (wireLength(frame, headerLength, protocol) > mtu) {
        const sizes = this.#packetSize
        return sizes.tooLongToClient(frame, link, headerLength, virtual, virtualPort, path, client, mtu)
      }
    }
    rewriteSource(view, ip, transport, virtual, virtualPort, isTransportUnfinished(frame, transport))
    return this.#egress.toClient(frame, path, client)
  }
}
