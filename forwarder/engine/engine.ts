/**
 * The decision for one packet: frame, tables and time in, verdict out, the frame edited in place.
 *
 * The engine calls no kernel, reads no clock and throws on nothing that a network can send. On the way of an established
 * connection's packet it allocates nothing. advance() sets the time for all that follows.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_in_hook(), ip_vs_out_hook().
 */
import * as ethernet from '../../protocol/packet/ethernet.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import * as tcp from '../../protocol/packet/tcp.ts'
import { PORT_ISAKMP } from '../../protocol/packet/udp.ts'
import type { Route } from '../commands.ts'
import type { Frame, FrameMemory } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { rewriteDestination, rewriteSource } from '../method/nat.ts'
import { hasUnfinishedChecksum, wireLength } from '../method/offload.ts'
import { defaultSettings, type EngineSettings } from '../settings.ts'
import type { ConnectionIndex } from '../table/connection-layout.ts'
import * as layout from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import * as recordCodec from '../table/record-codec.ts'
import type { RecordRing } from '../table/record-ring.ts'
import * as directory from '../table/server-directory.ts'
import * as serviceTable from '../table/service-table.ts'
import { handleArp } from './address-resolution.ts'
import { Admission } from './admission.ts'
import { Answers } from './answers.ts'
import { Connections } from './connections.ts'
import { Defences } from './defences.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import { Egress, type LinkFacts } from './egress.ts'
import { FragmentOrder } from './fragment-order.ts'
import { FragmentPath } from './fragment-path.ts'
import { ExpectedConnections } from './ftp/expected-connections.ts'
import { Ftp } from './ftp/ftp.ts'
import { Icmp } from './icmp.ts'
import { IcmpErrorPath } from './icmp-error-path.ts'
import { IPv6Answers } from './ipv6-answers.ts'
import { IPv6Path } from './ipv6-path.ts'
import { IPv6Tunnels } from './ipv6-tunnels.ts'
import { Marks } from './marks.ts'
import { isAnswered, NewConnections } from './new-connections.ts'
import { PacketSize } from './packet-size.ts'
import * as protocols from './protocols/registry.ts'
import { Replication } from './replication.ts'
import { NO_RETURN_PATH } from './return-paths.ts'
import { Scheduling } from './scheduling.ts'
import { StateMoves } from './state-moves.ts'
import { Sweep } from './sweep.ts'
import * as tcpStates from './tcp-states.ts'
import { applyTimeouts } from './timeouts.ts'
import { Tunnels } from './tunnels.ts'
import { FIRST_FRAGMENT, TO_HOST, type Verdict } from './verdict.ts'
import { ADDRESS_UNKNOWN, VirtualAddresses } from './virtual-addresses.ts'
import { WarmUp } from './warm-up.ts'

// V8 folds a module's own constants into its code, but loads and checks an imported one at each use: a fifth of a packet's time.
const { ETHERNET_HEADER_LENGTH, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } = ethernet
const { FRAGMENT_OFFSET_MASK, IPV4, IPV4_HEADER_LENGTH, MORE_FRAGMENTS } = ipv4
const { PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_ICMP, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } = ipv4
const { soundIPv4HeaderLength } = ipv4
const { TCP, TCP_SYN } = tcp
const { headerLengths } = protocols
const { FLAG_FTP, FLAG_ONE_WAY, FLAG_UNANSWERED, MOST_PACKETS, NO_CONNECTION, ONE_PACKET } = layout
const { KEY, KEY_WORDS, PACKETS_WORD_SHIFT, STATE, STATE_WORDS, TICK_MS } = layout
const { METHOD_MASK, METHOD_SHIFT } = recordCodec
const { COUNTER, COUNTERS } = directory
const { METHOD_DR, METHOD_LOCAL, METHOD_TUN } = serviceTable
const { DIRECTION_INPUT, DIRECTION_INPUT_ONLY, DIRECTION_OUTPUT } = tcpStates

const DROP_TRUNCATED = dropCode('truncated')
const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_NO_CONNECTION = dropCode('no-connection')
const DROP_SERVER_GONE = dropCode('server-gone')
const DROP_MARTIAN = dropCode('martian-source')
const DROP_FTP_INCOMPLETE = dropCode('ftp-incomplete')
const DROP_UNSUPPORTED = dropCode('unsupported')

const MAINTENANCE_TICKS = 8
/** Client port and virtual port, as in a connection's key. */
const ISAKMP_PORTS = (PORT_ISAKMP << 16) | PORT_ISAKMP

export interface EngineOptions {
  readonly links: readonly LinkFacts[]
  /** Number of the link that leads to this host's own stack, where local servers are; none unless given. */
  readonly hostLink?: number
  readonly table: ConnectionTable
  readonly services: serviceTable.ServiceTable
  readonly outgoing: RecordRing
  readonly drops: Drops
  /** Memory for the engine's own frames. */
  readonly poolMemory: FrameMemory
  /** Wall clock minus monotonic clock, milliseconds. */
  readonly epochMs: number
}

export class Engine {
  readonly addresses: VirtualAddresses
  readonly egress: Egress
  readonly warmUp: WarmUp
  readonly connections: Connections
  readonly replication: Replication
  readonly scheduling: Scheduling
  readonly marks = new Marks()
  readonly moves: StateMoves
  readonly services: serviceTable.ServiceTable
  readonly defences = new Defences()
  readonly sweep: Sweep
  /** In force now; its fields change in place, so that parts may keep it. */
  readonly settings: EngineSettings = defaultSettings()
  readonly #table: ConnectionTable
  readonly #keys: Int32Array
  readonly #states: Int32Array
  readonly #counters: Float64Array
  readonly #drops: Drops
  readonly #answers: Answers
  readonly answers6: IPv6Answers
  readonly #tunnels: Tunnels
  readonly tunnels6: IPv6Tunnels
  readonly newConnections: NewConnections
  readonly ftp: Ftp
  readonly admission: Admission
  /** Number of the link to this host's own stack; -1 when there is none. */
  readonly #hostLink: number
  readonly #packetSize: PacketSize
  readonly #icmp: Icmp
  /** Of both families. */
  readonly icmpErrors: IcmpErrorPath
  readonly #ipv6: IPv6Path
  readonly #fragments: FragmentPath
  /** Of both families. */
  readonly fragmentOrder: FragmentOrder
  /** Frames up to this length fit any link's MTU. */
  readonly #fitsAnywhere: number
  #nowMs = 0
  #tick = 0
  #maintainedTick = 0

  constructor(options: EngineOptions) {
    const { links, table, services, drops } = options
    this.services = services
    const { book } = services.directory
    this.addresses = new VirtualAddresses(book)
    this.#hostLink = options.hostLink ?? -1
    this.egress = new Egress(links, options.poolMemory, this.settings, book, drops, this.#hostLink)
    this.connections = new Connections(table, services)
    this.replication = new Replication(this.connections, options.outgoing, Math.floor(options.epochMs / TICK_MS))
    this.scheduling = new Scheduling(this.connections, this.replication, this.settings)
    this.moves = new StateMoves(this.connections, this.replication, this.scheduling)
    const expected = new ExpectedConnections(this.connections, this.replication)
    this.ftp = new Ftp(table, services, expected)
    this.admission = new Admission(table, services, this.settings)
    this.newConnections = new NewConnections({
      addresses: this.addresses,
      services,
      admission: this.admission,
      marks: this.marks,
      defences: this.defences,
      expected,
      connections: this.connections,
      scheduling: this.scheduling,
      replication: this.replication,
    })
    this.sweep = new Sweep(this.connections, this.replication, this.defences, this.settings)
    this.warmUp = new WarmUp(table, this.addresses)
    this.#table = table
    this.#keys = table.memory.keys
    this.#states = table.memory.states
    this.#counters = services.directory.counters
    this.#drops = drops
    this.#answers = new Answers(drops)
    this.answers6 = new IPv6Answers(drops)
    this.#tunnels = new Tunnels(this.egress, this.#answers, this.settings, drops)
    this.tunnels6 = new IPv6Tunnels(this.egress, this.answers6, drops)
    const parts = {
      table,
      services,
      addresses: this.addresses,
      egress: this.egress,
      tunnels: this.#tunnels,
      answers: this.#answers,
      drops,
    }
    this.icmpErrors = new IcmpErrorPath({ ...parts, tunnels6: this.tunnels6, answers6: this.answers6 })
    this.#icmp = new Icmp({ ...parts, errors: this.icmpErrors })
    this.#packetSize = new PacketSize(parts)
    this.fragmentOrder = new FragmentOrder(table.secret, this.egress, drops, (frame, link, protocol, ports) => {
      const isIPv6 = frame.memory.view.getUint16(frame.start + 12) === ETHERTYPE_IPV6
      const path = isIPv6 ? this.#ipv6.fragments : this.#fragments
      return path.follow(frame, link, protocol, ports)
    })
    this.#fragments = new FragmentPath({ ...parts, order: this.fragmentOrder })
    this.#ipv6 = new IPv6Path(this, table, drops)
    this.#fitsAnywhere = ETHERNET_HEADER_LENGTH + Math.min(...this.egress.mtus)
  }

  /** Sets the time, ends what has run out, and once a second looks after neighbours. */
  advance(nowMs: number): void {
    this.#nowMs = nowMs
    this.#tick = Math.floor(nowMs / TICK_MS)
    this.#table.memory.tick = this.#tick
    this.moves.tick = this.#tick
    this.egress.setTime(nowMs)
    this.#answers.setTime(nowMs)
    this.answers6.setTime(nowMs)
    this.#ipv6.setTime(nowMs)
    this.newConnections.setTime(nowMs)
    this.fragmentOrder.setTime(nowMs)
    this.connections.expire()
    if (this.#tick - this.#maintainedTick >= MAINTENANCE_TICKS) {
      this.#maintainedTick = this.#tick
      this.egress.maintain(this.services)
      this.#defend()
    }
    if (this.sweep.isAtWork) this.sweep.step()
  }

  /** To be called after each batch: what waited for frames of the batch is the engine's own to send now. */
  release(): void {
    this.fragmentOrder.release()
  }

  applySettings(settings: EngineSettings): void {
    Object.assign(this.settings, settings)
    applyTimeouts(this.settings, this.connections)
    const { lblcExpiration, lblcrExpiration } = settings
    Object.assign(this.services.schedulerSettings, { lblcExpiration, lblcrExpiration })
    this.#defend()
  }

  #defend(): void {
    this.defences.update(this.settings, this.#table.memory)
    this.moves.secureTcp = this.defences.isSecureTcp
  }

  /** Takes a new routing table; servers' next hops are looked up again by it. */
  setRoutes(routes: readonly Route[]): void {
    this.egress.setRoutes(routes)
    for (const server of this.services.serverBySlot) server?.leadTo(undefined)
  }

  /** Decides on one frame that came in on link number `link`. */
  handle(frame: Frame, link: number): Verdict {
    const view = frame.memory.view
    const start = frame.start
    if (frame.length < ETHERNET_HEADER_LENGTH) return this.#drops.drop(DROP_TRUNCATED)
    const type = view.getUint16(start + 12)
    if (type !== ETHERTYPE_IPV4) {
      if (type === ETHERTYPE_IPV6) return this.#ipv6.handle(frame, link)
      return type === ETHERTYPE_ARP ? this.#handleArp(frame, link) : TO_HOST
    }
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
    let addressState = this.addresses.stateOf(destination)
    if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP && protocol !== PROTOCOL_SCTP) {
      if (protocol === PROTOCOL_ICMP) return this.#icmp.handle(frame, link, headerLength, addressState)
      if (protocol === PROTOCOL_ESP || protocol === PROTOCOL_AH) {
        return this.#handleIpsec(frame, link, headerLength, protocol, source, destination, addressState)
      }
      return addressState === ADDRESS_UNKNOWN ? TO_HOST : this.#drops.drop(DROP_UNSUPPORTED)
    }
    if ((view.getUint16(ip + IPV4.fragment) & (MORE_FRAGMENTS | FRAGMENT_OFFSET_MASK)) !== 0) {
      const verdict = this.#fragments.handle(frame, link, headerLength, addressState)
      if (verdict !== FIRST_FRAGMENT) return verdict
    }
    const transport = ip + headerLength
    if (totalLength < headerLength + headerLengths[protocol]) {
      return addressState === ADDRESS_UNKNOWN ? TO_HOST : this.#drops.drop(DROP_TRUNCATED)
    }
    const ports = view.getInt32(transport)
    if (addressState === ADDRESS_UNKNOWN) {
      const index = this.#table.findByServer(protocol, source, ports >>> 16, destination, ports & 0xffff)
      if (index !== NO_CONNECTION) return this.#toClient(frame, link, headerLength, protocol, index)
      if (!this.marks.of(false).namesDestinations) return TO_HOST
      this.newConnections.readIPv4(protocol, source, destination, ports)
      addressState = this.newConnections.stateByMark(link)
      if (addressState === ADDRESS_UNKNOWN) return TO_HOST
    }
    let index = this.#table.findByClient(protocol, source, destination, ports)
    let version = 0
    if (index !== NO_CONNECTION && this.admission.isReopened(index, view, transport, protocol)) {
      version = this.replication.publishEnd(index)
      this.connections.discard(index)
      index = NO_CONNECTION
    }
    if (index === NO_CONNECTION) {
      this.newConnections.readIPv4(protocol, source, destination, ports)
      return this.#handleNew(frame, link, headerLength, protocol, addressState, version)
    }
    return this.#toServer(frame, link, headerLength, protocol, index)
  }

  /**
   * A frame that is the host's, from wherever it came. From the host's own stack it is a reply of a local server to somebody
   * who did not come by a virtual address: it is sent on for the host.
   */
  forHost(frame: Frame, link: number): Verdict {
    if (link !== this.#hostLink) return TO_HOST
    const view = frame.memory.view
    if (view.getUint16(frame.start + 12) === ETHERTYPE_IPV6) return this.#ipv6.forHost(frame)
    const destination = view.getInt32(frame.start + ETHERNET_HEADER_LENGTH + IPV4.destination)
    return this.egress.toClient(frame, NO_RETURN_PATH, destination)
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
    versionBefore: number,
  ): Verdict {
    const opening = this.newConnections
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const index = opening.open(frame, ip + headerLength, link, addressState, versionBefore)
    if (index === NO_CONNECTION) {
      const { refusal } = opening
      if (!isAnswered(refusal)) return this.#drops.drop(refusal)
      return this.#answers.portUnreachable(frame, link, refusal, frame.memory.view.getInt32(ip + IPV4.destination))
    }
    const verdict = this.#toServer(frame, link, headerLength, protocol, index)
    this.scheduling.sent(index)
    return verdict
  }

  #toServer(frame: Frame, link: number, headerLength: number, protocol: number, index: ConnectionIndex): Verdict {
    const view = frame.memory.view
    const start = frame.start
    const ip = start + ETHERNET_HEADER_LENGTH
    if (view.getUint8(ip + IPV4.ttl) <= 1)
      return this.#answers.ttlExceeded(frame, link, view.getInt32(ip + IPV4.destination))
    const state = index * STATE_WORDS
    const server = this.services.serverBySlot[this.#states[state + STATE.server]]
    if (server === undefined || server.removed) return this.#serverGone(frame, link, headerLength, protocol, index)
    let word = this.#states[state + STATE.flagsReturnPath]
    if (word >>> PACKETS_WORD_SHIFT < MOST_PACKETS) {
      word = (word + ONE_PACKET) | 0
      this.#states[state + STATE.flagsReturnPath] = word
    }
    const flags = word >>> 16
    const path = word & 0xffff
    if (!this.egress.returnPaths.matches(path, link, view, start + 6)) {
      this.#states[state + STATE.flagsReturnPath] =
        (flags << 16) | this.egress.returnPaths.intern(link, view, start + 6)
    }
    const transport = ip + headerLength
    if (protocol === PROTOCOL_TCP) {
      const direction = flags & FLAG_ONE_WAY ? DIRECTION_INPUT_ONLY : DIRECTION_INPUT
      const tcpFlags = view.getUint8(transport + TCP.flags)
      this.moves.tcp(index, direction, tcpFlags, flags)
      if ((tcpFlags & TCP_SYN) !== 0) this.#packetSize.clamp(frame, headerLength, index)
    } else if (protocol === PROTOCOL_SCTP) {
      this.moves.sctp(index, flags & FLAG_ONE_WAY ? DIRECTION_INPUT_ONLY : DIRECTION_INPUT, frame, transport, flags)
    } else {
      this.moves.touch(index, PROTOCOL_UDP, 0, flags)
    }
    if ((flags & FLAG_FTP) !== 0) this.ftp.command(frame, transport, index)
    const counter = server.slot * COUNTERS
    this.#counters[counter + COUNTER.inPackets]++
    this.#counters[counter + COUNTER.inBytes] += frame.length - ETHERNET_HEADER_LENGTH
    const method = (flags & METHOD_MASK) >> METHOD_SHIFT
    if (method === METHOD_TUN) return this.#tunnels.toServer(frame, link, headerLength, server)
    if (frame.length > this.#fitsAnywhere) {
      const mtu = this.egress.mtuToServer(server)
      if (wireLength(frame, headerLength) > mtu) {
        const port = this.#table.serverPort(index)
        return this.#packetSize.tooLongToServer(frame, link, headerLength, server, method, port, mtu)
      }
    }
    if (method === METHOD_DR) {
      decrementTtl(view, ip)
    } else {
      const unfinished = hasUnfinishedChecksum(frame)
      rewriteDestination(view, ip, transport, server.address, this.#table.serverPort(index), unfinished)
    }
    return this.egress.toServer(frame, server)
  }

  /** A packet for a server that was removed. With expire_nodest_conn its connection ends, and it may begin a new one. */
  #serverGone(frame: Frame, link: number, headerLength: number, protocol: number, index: ConnectionIndex): Verdict {
    if (!this.admission.isToLeave(index, protocol)) return this.#drops.drop(DROP_SERVER_GONE)
    const version = this.replication.publishEnd(index)
    this.connections.discard(index)
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const destination = view.getInt32(ip + IPV4.destination)
    const ports = view.getInt32(ip + headerLength)
    this.newConnections.readIPv4(protocol, view.getInt32(ip + IPV4.source), destination, ports)
    return this.#handleNew(frame, link, headerLength, protocol, this.addresses.stateOf(destination), version)
  }

  #toClient(frame: Frame, link: number, headerLength: number, protocol: number, index: ConnectionIndex): Verdict {
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    if (view.getUint8(ip + IPV4.ttl) <= 1) return this.#answers.ttlExceeded(frame, link, this.egress.sourceOn(link))
    const state = index * STATE_WORDS
    const word = this.#states[state + STATE.flagsReturnPath]
    const flags = word >>> 16
    const path = word & 0xffff
    // What this host sends comes from this host, whatever addresses a stranger's packet bears.
    if ((flags & METHOD_MASK) === METHOD_LOCAL << METHOD_SHIFT && link !== this.#hostLink)
      return this.#drops.drop(DROP_MARTIAN)
    const transport = ip + headerLength
    if (protocol === PROTOCOL_TCP) {
      const tcpFlags = view.getUint8(transport + TCP.flags)
      this.moves.tcp(index, DIRECTION_OUTPUT, tcpFlags, flags)
      if ((tcpFlags & TCP_SYN) !== 0) this.#packetSize.clamp(frame, headerLength, index)
    } else if (protocol === PROTOCOL_SCTP) {
      this.moves.sctp(index, DIRECTION_OUTPUT, frame, transport, flags)
    } else {
      this.moves.touch(index, PROTOCOL_UDP, 0, flags)
      if ((flags & FLAG_UNANSWERED) !== 0) this.scheduling.answered(index)
    }
    if ((flags & FLAG_FTP) !== 0 && !this.ftp.reply(frame, transport, index))
      return this.#drops.drop(DROP_FTP_INCOMPLETE)
    const counter = this.#states[state + STATE.server] * COUNTERS
    this.#counters[counter + COUNTER.outPackets]++
    this.#counters[counter + COUNTER.outBytes] += frame.length - ETHERNET_HEADER_LENGTH
    const key = index * KEY_WORDS
    const virtual = this.#keys[key + KEY.virtualAddress]
    const virtualPort = this.#keys[key + KEY.ports] & 0xffff
    const client = this.#keys[key + KEY.clientAddress]
    if (frame.length > this.#fitsAnywhere) {
      const mtu = this.egress.mtuToClient(path, client)
      if (wireLength(frame, headerLength) > mtu) {
        const sizes = this.#packetSize
        return sizes.tooLongToClient(frame, link, headerLength, virtual, virtualPort, path, client, mtu)
      }
    }
    rewriteSource(view, ip, transport, virtual, virtualPort, hasUnfinishedChecksum(frame))
    return this.egress.toClient(frame, path, client)
  }

  #handleArp(frame: Frame, link: number): Verdict {
    return handleArp(frame, link, this.egress.macs[link], this.addresses, this.egress.neighbours, this.#nowMs)
  }
}
