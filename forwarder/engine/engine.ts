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
import * as virtualRouterMac from '../../protocol/packet/virtual-router-mac.ts'
import type { Route, VirtualAddress } from '../commands.ts'
import type { Frame, FrameMemory } from '../link/link.ts'
import { defaultSettings, type EngineSettings } from '../settings.ts'
import { TICK_MS } from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import type { RecordRing } from '../table/record-ring.ts'
import type { ServiceTable } from '../table/service-table.ts'
import { handleArp } from './address-resolution.ts'
import { Admission } from './admission.ts'
import { Answers } from './answers.ts'
import { Confirmations } from './confirmations.ts'
import { Connections } from './connections.ts'
import { Defences } from './defences.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import { Egress, type LinkFacts } from './egress.ts'
import { FragmentOrder } from './fragment-order.ts'
import { ExpectedConnections } from './ftp/expected-connections.ts'
import { Ftp } from './ftp/ftp.ts'
import { IcmpErrorPath } from './icmp-error-path.ts'
import { IPv4Path } from './ipv4-path.ts'
import { IPv6Answers } from './ipv6-answers.ts'
import { IPv6Path } from './ipv6-path.ts'
import { IPv6Tunnels } from './ipv6-tunnels.ts'
import { isSyn } from './late-frames.ts'
import { Marks } from './marks.ts'
import { NewConnections } from './new-connections.ts'
import { Replication } from './replication.ts'
import { NO_RETURN_PATH } from './return-paths.ts'
import { Scheduling } from './scheduling.ts'
import { SegmentClamp } from './segment-clamp.ts'
import { StateMoves } from './state-moves.ts'
import { Sweep } from './sweep.ts'
import { TentativeConnections } from './tentative-connections.ts'
import { applyTimeouts } from './timeouts.ts'
import { Tunnels } from './tunnels.ts'
import { TO_HOST, type Verdict } from './verdict.ts'
import { VirtualAddresses } from './virtual-addresses.ts'
import { VirtualMacs } from './virtual-macs.ts'
import { WarmUp } from './warm-up.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { ETHERNET_HEADER_LENGTH, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } = ethernet
const { IPV4, isHostAddress } = ipv4
const { VIRTUAL_MAC_PREFIX } = virtualRouterMac

const DROP_TRUNCATED = dropCode('truncated')
const DROP_LATE = dropCode('late')

const MAINTENANCE_TICKS = 8

export interface EngineOptions {
  readonly links: readonly LinkFacts[]
  /** Number of the link that leads to this host's own stack, where local servers are; none unless given. */
  readonly hostLink?: number
  readonly table: ConnectionTable
  readonly services: ServiceTable
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
  readonly services: ServiceTable
  readonly defences = new Defences()
  readonly confirmations: Confirmations
  readonly sweep: Sweep
  /** In force now; its fields change in place, so that parts may keep it. */
  readonly settings: EngineSettings = defaultSettings()
  readonly #table: ConnectionTable
  readonly #drops: Drops
  readonly #outgoing: RecordRing
  readonly answers: Answers
  readonly answers6: IPv6Answers
  readonly tunnels: Tunnels
  readonly tunnels6: IPv6Tunnels
  readonly newConnections: NewConnections
  readonly tentative: TentativeConnections
  readonly ftp: Ftp
  readonly segmentClamp: SegmentClamp
  readonly admission: Admission
  /** Number of the link to this host's own stack; -1 when there is none. */
  readonly #hostLink: number
  readonly #virtualMacs: VirtualMacs
  /** Of both families. */
  readonly icmpErrors: IcmpErrorPath
  readonly #ipv4: IPv4Path
  readonly #ipv6: IPv6Path
  /** Of both families. */
  readonly fragmentOrder: FragmentOrder
  #nowMs = 0
  #tick = 0
  #maintainedTick = 0

  constructor(options: EngineOptions) {
    const { links, table, services, drops } = options
    this.services = services
    const { book } = services.directory
    this.addresses = new VirtualAddresses(book)
    this.#hostLink = options.hostLink ?? -1
    this.#virtualMacs = new VirtualMacs(links)
    this.egress = new Egress(links, options.poolMemory, this.settings, book, drops, this.#hostLink)
    this.connections = new Connections(table, services)
    this.replication = new Replication(
      this.connections,
      options.outgoing,
      Math.floor(options.epochMs / TICK_MS),
      this.egress,
    )
    this.connections.onKept = (index) => {
      if (this.addresses.isServedHere(this.connections.virtualOf(index))) this.replication.renewKept(index)
    }
    this.scheduling = new Scheduling(this.connections, this.replication, this.settings)
    this.moves = new StateMoves(this.connections, this.replication, this.scheduling)
    const expected = new ExpectedConnections(this.connections, this.replication)
    this.ftp = new Ftp(table, services, expected)
    this.segmentClamp = new SegmentClamp(table, services, this.egress)
    this.admission = new Admission(table, services, this.settings)
    this.tentative = new TentativeConnections(this.connections, this.addresses)
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
      tentative: this.tentative,
      outgoing: options.outgoing,
    })
    this.confirmations = new Confirmations(
      this.egress.unconfirmed,
      this.moves,
      this.replication,
      options.outgoing,
      (frame, link) => this.#handleAgain(frame, link),
    )
    this.sweep = new Sweep(this.connections, this.replication, this.defences, this.settings, this.addresses)
    this.warmUp = new WarmUp(table, this.addresses, book)
    this.#table = table
    this.#drops = drops
    this.#outgoing = options.outgoing
    this.answers = new Answers(drops)
    this.answers6 = new IPv6Answers(drops)
    this.tunnels = new Tunnels(this.egress, this.answers, this.settings, drops)
    this.tunnels6 = new IPv6Tunnels(this.egress, this.answers6, drops)
    const parts = {
      table,
      services,
      addresses: this.addresses,
      egress: this.egress,
      tunnels: this.tunnels,
      answers: this.answers,
      drops,
    }
    this.icmpErrors = new IcmpErrorPath({ ...parts, tunnels6: this.tunnels6, answers6: this.answers6 })
    this.fragmentOrder = new FragmentOrder(
      table.secret,
      this.egress.waitingFragments,
      drops,
      (frame, link, protocol, ports) => {
        const isIPv6 = frame.memory.view.getUint16(frame.start + 12) === ETHERTYPE_IPV6
        const { fragments } = isIPv6 ? this.#ipv6 : this.#ipv4
        return fragments.follow(frame, link, protocol, ports)
      },
    )
    this.#ipv4 = new IPv4Path(this, table, drops)
    this.#ipv6 = new IPv6Path(this, table, drops)
  }

  /** Sets the time, ends what has run out, and once a second looks after neighbours. */
  advance(nowMs: number): void {
    this.#nowMs = nowMs
    this.#tick = Math.floor(nowMs / TICK_MS)
    this.#table.memory.tick = this.#tick
    this.moves.tick = this.#tick
    this.addresses.setTime(nowMs)
    this.egress.setTime(nowMs)
    this.answers.setTime(nowMs)
    this.answers6.setTime(nowMs)
    this.#ipv6.setTime(nowMs)
    this.newConnections.setTime(nowMs)
    this.fragmentOrder.setTime(nowMs)
    this.confirmations.setTime(nowMs)
    this.connections.expire()
    if (this.#tick - this.#maintainedTick >= MAINTENANCE_TICKS) {
      this.#maintainedTick = this.#tick
      this.egress.maintain(this.services)
      this.#defend()
    }
    if (this.sweep.isAtWork) this.sweep.step()
  }

  /** To be called after each batch: what has waited long enough, or for frames of the batch, is the engine's own to send now. */
  release(): void {
    this.fragmentOrder.release()
    if (this.confirmations.count !== 0) this.confirmations.release()
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

  /** Takes the states of all addresses, with the names of the links they are on. */
  placeAddresses(addresses: readonly VirtualAddress[], links: readonly string[]): void {
    this.#virtualMacs.replace(addresses)
    if (this.addresses.replace(addresses, links)) this.replication.publishHandshakes()
  }

  /**
   * Takes a new routing table; servers' next hops are looked up again by it.
   * @param mtus of links, by name; the others' stay
   */
  setRoutes(routes: readonly Route[], mtus: Readonly<Record<string, number>> = {}): void {
    this.egress.setRoutes(routes)
    this.egress.setMtus(mtus)
    for (const server of this.services.serverBySlot) server?.leadTo(undefined)
  }

  /** Decides on one frame that came in on link number `link`. */
  handle(frame: Frame, link: number): Verdict {
    if (frame.length < ETHERNET_HEADER_LENGTH) return this.#drops.drop(DROP_TRUNCATED)
    const { view } = frame.memory
    if (view.getInt32(frame.start) === VIRTUAL_MAC_PREFIX && !this.#virtualMacs.take(frame, link)) return TO_HOST
    const type = view.getUint16(frame.start + 12)
    if (type === ETHERTYPE_IPV4) return this.#ipv4.handle(frame, link)
    if (type === ETHERTYPE_IPV6) return this.#ipv6.handle(frame, link)
    return type === ETHERTYPE_ARP ? this.#handleArp(frame, link) : TO_HOST
  }

  /** As handle(), of a frame that has waited in its ring for longer than SYN_AGAIN_MS, or may have. Without peers nobody else has answered it. */
  handleLate(frame: Frame, link: number): Verdict {
    return this.#outgoing.hasWitness && isSyn(frame) ? this.#drops.drop(DROP_LATE) : this.handle(frame, link)
  }

  /** As handle(), of a frame that has waited: of a fragment, its order was decided on when it came. */
  #handleAgain(frame: Frame, link: number): Verdict {
    this.fragmentOrder.hasPassed = true
    const verdict = this.handle(frame, link)
    this.fragmentOrder.hasPassed = false
    return verdict
  }

  /**
   * A frame that is the host's, from wherever it came. From the host's own stack it is a reply of a local server to somebody
   * who did not come by a virtual address: it is sent on for the host. What its stack tells groups of that device's link goes nowhere.
   */
  forHost(frame: Frame, link: number): Verdict {
    if (link !== this.#hostLink) return TO_HOST
    const view = frame.memory.view
    if (view.getUint16(frame.start + 12) === ETHERTYPE_IPV6) return this.#ipv6.forHost(frame)
    const destination = view.getInt32(frame.start + ETHERNET_HEADER_LENGTH + IPV4.destination)
    return isHostAddress(destination) ? this.egress.toClient(frame, NO_RETURN_PATH, destination) : TO_HOST
  }

  #handleArp(frame: Frame, link: number): Verdict {
    return handleArp(frame, link, this.egress.macs[link], this.addresses, this.egress.neighbours, this.#nowMs)
  }
}
