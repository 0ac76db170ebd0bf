/** A real server of one service as the forwarding loop knows it, and the numbers of the ways that lead to one. */
import type { Candidate } from '../../scheduler/scheduler.ts'
import type { Neighbour } from '../engine/neighbours.ts'
import { IPIP, type Tunnel, tunnelOf } from '../method/tunnel.ts'
import type { ForwardingMethod, RealServerSpec } from '../service.ts'
import { COUNTER, COUNTERS, type Slot } from './server-directory.ts'
import type { Service } from './virtual-service.ts'

/** Methods as numbers, for connections and the wire. */
export const METHOD_NAT = 0
export const METHOD_TUN = 1
export const METHOD_DR = 2
export const METHOD_LOCAL = 3
const METHODS: readonly ForwardingMethod[] = ['nat', 'tun', 'dr', 'local']

export function methodNumber(method: ForwardingMethod): number {
  return METHODS.indexOf(method)
}

/** Whether replies to packets sent by this method do not pass here. */
export function isOneWay(method: number): boolean {
  return method === METHOD_TUN || method === METHOD_DR
}

/** A real server of one service. Its counters live in the directory, where other threads see them. */
export class RealServer implements Candidate {
  readonly slot: Slot
  /** Address number (address-book.ts). */
  readonly address: number
  readonly addressWords: Int32Array
  readonly port: number
  weight = 0
  weightWhenUp = 0
  lastWeight = 0
  method = METHOD_DR
  /** How its packets are wrapped up, by METHOD_TUN alone. */
  tunnel: Tunnel = IPIP
  /** A SYN of its connections announces no more than the way can carry. */
  clampsSegmentSize = false
  overloaded = false
  down = false
  upperThreshold = 0
  lowerThreshold = 0
  /** Whose server it is, or was until it was removed: its connections still count there. Undefined of one that only records have named. */
  service: Service | undefined = undefined
  /** Single datagrams whose replies are awaited: they count nowhere else, and hold the slot. */
  datagrams = 0
  /** As its description says. */
  edits = 0
  /** Not, or no longer, in the configuration: its connections end here, and it gets no new ones. */
  removed = true
  /** Was in the configuration and was taken out of it. */
  isRetired = false
  /** Where its packets go next; undefined until that is looked for, and when routes have changed. Set by leadTo() alone. */
  nextHop: Neighbour | undefined = undefined
  /** What the route to it says that it carries; Infinity when it says nothing. */
  routeMtu = Number.POSITIVE_INFINITY
  readonly #counters: Float64Array

  constructor(slot: Slot, address: number, addressWords: Int32Array, port: number, counters: Float64Array) {
    this.slot = slot
    this.address = address
    this.addressWords = addressWords
    this.port = port
    this.#counters = counters
  }

  get activeConnections(): number {
    return this.#counters[this.slot * COUNTERS + COUNTER.active]
  }

  get inactiveConnections(): number {
    return this.#counters[this.slot * COUNTERS + COUNTER.inactive]
  }

  get persistentConnections(): number {
    return this.#counters[this.slot * COUNTERS + COUNTER.persistent]
  }

  /** Nothing counts for it: once it is removed, its slot can go. */
  get isUnused(): boolean {
    const { activeConnections, inactiveConnections, persistentConnections, datagrams } = this
    return activeConnections + inactiveConnections + persistentConnections + datagrams === 0
  }

  /** It is configured from now on, be it again. */
  enlist(service: Service, spec: RealServerSpec): void {
    this.removed = false
    this.isRetired = false
    this.service = service
    this.#describe(spec)
  }

  /** @returns whether the scheduler has to know: of another weight or health, or that an operator has edited it */
  edit(spec: RealServerSpec): boolean {
    if (this.method !== methodNumber(spec.method)) this.leadTo(undefined)
    const { weightWhenUp, down, edits } = this
    this.#describe(spec)
    return this.weightWhenUp !== weightWhenUp || this.down !== down || this.edits !== edits
  }

  /** It is taken out of the configuration. */
  retire(): void {
    this.removed = true
    this.isRetired = true
    this.weight = 0
    this.leadTo(undefined)
  }

  /** Sets where its packets go next: a neighbour is kept resolved for as long as it is a server's next hop. */
  leadTo(hop: Neighbour | undefined, routeMtu = Number.POSITIVE_INFINITY): void {
    this.routeMtu = routeMtu
    if (hop === this.nextHop) return
    if (this.nextHop) this.nextHop.servers--
    if (hop) hop.servers++
    this.nextHop = hop
  }

  /** To be called after its connections have become more. Source: ip_vs_conn.c ip_vs_bind_dest(). */
  hasMore(): void {
    if (this.upperThreshold !== 0 && this.activeConnections + this.inactiveConnections >= this.upperThreshold) {
      this.overloaded = true
    }
  }

  /** After they have become fewer. Without a lower threshold it is three quarters of the upper one. */
  hasFewer(): void {
    if (!this.overloaded) return
    const count = this.activeConnections + this.inactiveConnections
    const isBelow = this.lowerThreshold !== 0 ? count < this.lowerThreshold : count * 4 < this.upperThreshold * 3
    if (isBelow || this.upperThreshold === 0) this.overloaded = false
  }

  #describe(spec: RealServerSpec): void {
    const { method, tunnel, weight, lastWeight = 0, down = false } = spec
    const { upperThreshold = 0, lowerThreshold = 0, edits = 0 } = spec
    this.method = methodNumber(method)
    this.tunnel = tunnelOf(tunnel)
    this.weight = down ? 0 : weight
    this.weightWhenUp = weight
    this.lastWeight = weight || lastWeight
    this.down = down
    this.edits = edits
    if (upperThreshold === 0 || upperThreshold > this.upperThreshold) this.overloaded = false
    this.upperThreshold = upperThreshold
    this.lowerThreshold = lowerThreshold
  }
}
