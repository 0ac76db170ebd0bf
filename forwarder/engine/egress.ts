/**
 * The way out: which link and which MAC a finished frame leaves by. Servers are reached by route and ARP; clients the way their
 * own packets came. Also the frames that the engine makes itself, until the worker has sent them.
 */
import { readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import type { Route } from '../commands.ts'
import type { Frame, FrameMemory, Link } from '../link/link.ts'
import { segmentTcp } from '../method/offload.ts'
import { encapsulate } from '../method/tunnel.ts'
import type { AddressBook } from '../table/address-book.ts'
import type { RealServer, ServiceTable } from '../table/service-table.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import { FramePool, type PooledFrame } from './frame-pool.ts'
import { type Neighbour, Neighbours } from './neighbours.ts'
import { NO_RETURN_PATH, ReturnPaths } from './return-paths.ts'
import { Routes } from './routes.ts'
import { CONSUMED, type Verdict } from './verdict.ts'

const DROP_NO_ROUTE = dropCode('no-route')
const DROP_PENDING = dropCode('neighbour-pending')
const DROP_NEIGHBOUR = dropCode('neighbour-failed')
const DROP_OUTBOX = dropCode('outbox-full')

/** What the engine needs to know of a link. */
export type LinkFacts = Pick<Link, 'name' | 'mac' | 'mtu'>

export class Egress {
  readonly returnPaths = new ReturnPaths()
  readonly neighbours: Neighbours
  readonly #routes: Routes
  readonly #linkNames: readonly string[]
  readonly macs: readonly Uint8Array[]
  readonly mtus: readonly number[]
  readonly #macHigh: Int32Array
  readonly #macLow: Int32Array
  readonly #pool: FramePool
  readonly #outbox: PooledFrame[] = []
  readonly #drops: Drops
  readonly #emitSegment: (segment: PooledFrame) => void
  #segmentHop: Neighbour | undefined
  #segmentServer = 0
  #nowMs = 0

  /** @param poolMemory for the engine's own frames */
  constructor(links: readonly LinkFacts[], poolMemory: FrameMemory, book: AddressBook, drops: Drops) {
    this.#routes = new Routes(book)
    this.#linkNames = links.map((link) => link.name)
    this.macs = links.map((link) => link.mac)
    this.mtus = links.map((link) => link.mtu)
    this.#macHigh = Int32Array.from(links, (link) => readUint16(link.mac, 0))
    this.#macLow = Int32Array.from(links, (link) => readInt32(link.mac, 2))
    this.#drops = drops
    // A slot holds any frame that fits the largest MTU, header room included, on whole cache lines.
    this.#pool = new FramePool(poolMemory, (Math.max(...this.mtus) + 255) & ~63)
    this.neighbours = new Neighbours(this.macs, this.#pool, book, (frame) => this.#outbox.push(frame))
    this.#emitSegment = (segment) => {
      const hop = this.#segmentHop as Neighbour
      encapsulate(segment, hop.source, this.#segmentServer)
      this.#address(segment, hop.link, hop.macHigh, hop.macLow)
      segment.link = hop.link
      this.#outbox.push(segment)
    }
  }

  setRoutes(routes: readonly Route[]): void {
    this.#routes.replace(routes, this.#linkNames)
  }

  setTime(nowMs: number): void {
    this.#nowMs = nowMs
  }

  /** Once a second: refreshes neighbours, and looks for the next hops of servers before a packet needs them. */
  maintain(services: ServiceTable): void {
    this.#drops.add(DROP_NEIGHBOUR, this.neighbours.maintain(this.#nowMs))
    for (const service of services.values()) {
      for (const server of service.servers) this.nextHop(server)
    }
  }

  /** The next hop of a server; undefined when there is no route. */
  nextHop(server: RealServer): Neighbour | undefined {
    return server.nextHop ?? this.#findNextHop(server)
  }

  /** MTU of the link to a server; without a route there is none to keep to. */
  mtuToServer(server: RealServer): number {
    const hop = this.nextHop(server)
    return hop === undefined ? Number.POSITIVE_INFINITY : this.mtus[hop.link]
  }

  /** MTU of the link that toClient() would choose. */
  mtuToClient(path: number, client: number): number {
    const link = path === NO_RETURN_PATH ? this.#routes.find(client)?.link : this.returnPaths.links[path]
    return link === undefined ? Number.POSITIVE_INFINITY : this.mtus[link]
  }

  /** Our own address on a link. */
  sourceOn(link: number): number {
    return this.#routes.sourceOn(link)
  }

  /** The number of our own IPv6 address on a link; NO_ADDRESS when it has none. */
  source6On(link: number): number {
    return this.#routes.source6On(link)
  }

  /** As mtuToClient(), of the IPv6 client in the words from `at`. */
  mtuToClient6(path: number, words: Int32Array, at: number): number {
    const link = path === NO_RETURN_PATH ? this.#routes.find6(words, at)?.link : this.returnPaths.links[path]
    return link === undefined ? Number.POSITIVE_INFINITY : this.mtus[link]
  }

  toServer(frame: Frame, server: RealServer): Verdict {
    const hop = server.nextHop ?? this.#findNextHop(server)
    return hop === undefined ? this.#drops.drop(DROP_NO_ROUTE) : this.#toNeighbour(frame, hop)
  }

  /** Cuts a large TCP frame into segments and sends each through the tunnel to a server. */
  segmentsToServer(frame: Frame, ipHeaderLength: number, hop: Neighbour, serverAddress: number): Verdict {
    if (!hop.resolved) return this.#drops.drop(DROP_PENDING)
    hop.usedMs = this.#nowMs
    this.#segmentHop = hop
    this.#segmentServer = serverAddress
    return segmentTcp(frame, ipHeaderLength, this.#pool, this.#emitSegment) ? CONSUMED : this.#drops.drop(DROP_OUTBOX)
  }

  /** @param path where the client's packets came from; by route when that is not known */
  toClient(frame: Frame, path: number, client: number): Verdict {
    const paths = this.returnPaths
    if (path !== NO_RETURN_PATH) {
      this.#address(frame, paths.links[path], paths.macHigh[path], paths.macLow[path])
      return paths.links[path]
    }
    const route = this.#routes.find(client)
    const neighbour = route && this.neighbours.get(route.link, route.address, route.source, this.#nowMs)
    return neighbour === undefined ? this.#drops.drop(DROP_NO_ROUTE) : this.#toNeighbour(frame, neighbour)
  }

  /** As toClient(), of the IPv6 client in the words from `at`. */
  toClient6(frame: Frame, path: number, words: Int32Array, at: number): Verdict {
    // A known path asks for no address.
    if (path !== NO_RETURN_PATH) return this.toClient(frame, path, 0)
    const route = this.#routes.find6(words, at)
    const neighbour = route && this.neighbours.get(route.link, route.address, route.source, this.#nowMs)
    return neighbour === undefined ? this.#drops.drop(DROP_NO_ROUTE) : this.#toNeighbour(frame, neighbour)
  }

  /** Pool frames: those in nobody's hands, those that wait for a neighbour, and all there are. */
  get poolUse(): { free: number; held: number; total: number } {
    return { free: this.#pool.free, held: this.neighbours.held, total: this.#pool.total }
  }

  /** Gives the frames that the engine made to `transmit`. They stay untouched until recycle(). */
  forEachOwnFrame(transmit: (frame: PooledFrame) => void): void {
    for (let i = 0; i < this.#outbox.length; i++) transmit(this.#outbox[i])
  }

  /** Takes the frames of forEachOwnFrame() back, after they have left. */
  recycle(): void {
    for (let i = 0; i < this.#outbox.length; i++) this.#pool.give(this.#outbox[i])
    this.#outbox.length = 0
  }

  #toNeighbour(frame: Frame, neighbour: Neighbour): Verdict {
    neighbour.usedMs = this.#nowMs
    this.#address(frame, neighbour.link, neighbour.macHigh, neighbour.macLow)
    if (neighbour.resolved) return neighbour.link
    const copy = this.#pool.copy(frame)
    if (copy === undefined) return this.#drops.drop(DROP_PENDING)
    if (this.neighbours.hold(neighbour, copy)) return CONSUMED
    this.#pool.give(copy)
    return this.#drops.drop(DROP_PENDING)
  }

  #address(frame: Frame, link: number, macHigh: number, macLow: number): void {
    const view = frame.memory.view
    const start = frame.start
    view.setUint16(start, macHigh)
    view.setInt32(start + 2, macLow)
    view.setUint16(start + 6, this.#macHigh[link])
    view.setInt32(start + 8, this.#macLow[link])
  }

  #findNextHop(server: RealServer): Neighbour | undefined {
    const route = this.#routes.find(server.address)
    if (route === undefined) return undefined
    const neighbour = this.neighbours.get(route.link, route.address, route.source, this.#nowMs)
    if (neighbour) neighbour.pinned = true
    server.nextHop = neighbour
    return neighbour
  }
}
