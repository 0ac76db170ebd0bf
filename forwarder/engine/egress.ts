/**
 * The way out: which link and which MAC a finished frame leaves by. Servers are reached by route and ARP; clients the way their
 * own packets came. Also the frames that the engine makes itself, until the worker has sent them.
 */
import { readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { DONT_FRAGMENT } from '../../protocol/packet/ipv4.ts'
import { ADDRESS_WORDS } from '../../protocol/packet/ipv6-address.ts'
import type { Route } from '../commands.ts'
import type { Frame, FrameMemory, Link } from '../link/link.ts'
import { cut } from '../method/fragmentation.ts'
import { encapsulate6In4, encapsulateIn6 } from '../method/ipv6-tunnel.ts'
import { segment } from '../method/offload.ts'
import { encapsulate, outerHeaderLength } from '../method/tunnel.ts'
import { isIPv6Packet } from '../method/tunnel-header.ts'
import type { EngineSettings } from '../settings.ts'
import { type AddressBook, isIPv6Number, NO_ADDRESS } from '../table/address-book.ts'
import type { ConnectionKey } from '../table/connection-key.ts'
import { METHOD_LOCAL, type RealServer } from '../table/real-server.ts'
import type { ServiceTable } from '../table/service-table.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import { FramePool, type PooledFrame } from './frame-pool.ts'
import { hasFailed, type Neighbour, Neighbours, newNeighbour } from './neighbours.ts'
import { PathMtus } from './path-mtus.ts'
import { NO_RETURN_PATH, ReturnPaths } from './return-paths.ts'
import { type NextHop, Routes } from './routes.ts'
import { CONSUMED, type Verdict } from './verdict.ts'
import { WaitingFrames } from './waiting-frames.ts'

const DROP_NO_ROUTE = dropCode('no-route')
const DROP_PENDING = dropCode('neighbour-pending')
const DROP_NEIGHBOUR = dropCode('neighbour-failed')
const DROP_OUTBOX = dropCode('outbox-full')

/** What the engine needs to know of a link. */
export type LinkFacts = Pick<Link, 'name' | 'mac' | 'mtu'>

export class Egress {
  readonly returnPaths = new ReturnPaths()
  readonly neighbours: Neighbours
  /** Those that came before their first one. */
  readonly waitingFragments: WaitingFrames
  /** Packets of connections that are not confirmed yet. */
  readonly unconfirmed: WaitingFrames
  readonly #routes: Routes
  /** Where a local server's packets go next. */
  readonly #host: Neighbour | undefined
  /** Number of the link to this host's own stack; -1 when there is none. */
  readonly hostLink: number
  readonly linkNames: readonly string[]
  readonly macs: readonly Uint8Array[]
  readonly #mtus: number[]
  /** Frames up to this length fit any link's MTU, and what any route says. */
  fitsAnywhere = 0
  readonly #largestMtu: number
  readonly #macHigh: Int32Array
  readonly #macLow: Int32Array
  readonly #pool: FramePool
  readonly #outbox: PooledFrame[] = []
  readonly #drops: Drops
  readonly #settings: EngineSettings
  readonly #book: AddressBook
  readonly #emitSegment: (segment: PooledFrame) => void
  readonly #emitPiece: (piece: PooledFrame) => void
  #segmentHop: Neighbour | undefined
  #segmentServer: RealServer | undefined
  #pieceLink = 0
  /** Of tunnel packets that may be cut. 32 bits, of which IPv4 has room for 16. */
  #identification = 0
  readonly #pathMtus = new PathMtus()
  /** Those of the last second, so that a crowd from one address costs one look: words folded, at a place for each hash. */
  readonly #expectedClients = new Int32Array(256)
  #nowMs = 0

  /**
   * @param poolMemory for the engine's own frames
   * @param hostLink number of the link to this host's own stack, -1 when there is none
   */
  constructor(
    links: readonly LinkFacts[],
    poolMemory: FrameMemory,
    settings: EngineSettings,
    book: AddressBook,
    drops: Drops,
    hostLink: number,
  ) {
    this.#routes = new Routes(book)
    this.#book = book
    this.#host = hostLink < 0 ? undefined : hostNeighbour(hostLink)
    this.hostLink = hostLink
    this.linkNames = links.map((link) => link.name)
    this.macs = links.map((link) => link.mac)
    this.#mtus = links.map((link) => link.mtu)
    this.#largestMtu = Math.max(...this.#mtus)
    this.setMtus({})
    this.#macHigh = Int32Array.from(links, (link) => readUint16(link.mac, 0))
    this.#macLow = Int32Array.from(links, (link) => readInt32(link.mac, 2))
    this.#drops = drops
    // A slot holds any frame that fits the largest MTU, header room included, on whole cache lines.
    this.#pool = new FramePool(poolMemory, (this.#largestMtu + 255) & ~63)
    const emit = (frame: PooledFrame): void => {
      this.#outbox.push(frame)
    }
    this.waitingFragments = new WaitingFrames(this.#pool, emit)
    this.unconfirmed = new WaitingFrames(this.#pool, emit)
    this.neighbours = new Neighbours(this.macs, this.#pool, book, emit)
    this.#settings = settings
    this.#emitPiece = (piece) => {
      piece.link = this.#pieceLink
      this.#outbox.push(piece)
    }
    this.#emitSegment = (packet) => {
      const hop = this.#segmentHop as Neighbour
      const server = this.#segmentServer as RealServer
      this.wrap(packet, hop, server)
      this.#address(packet, hop.link, hop.macHigh, hop.macLow)
      packet.link = hop.link
      const mtu = this.mtuToServer(server)
      if (packet.length - ETHERNET_HEADER_LENGTH <= mtu) {
        this.#outbox.push(packet)
        return
      }
      this.#cut(packet, outerHeaderLength(server.address), hop.link, mtu)
      this.#pool.give(packet)
    }
  }

  setRoutes(routes: readonly Route[]): void {
    this.#routes.replace(routes, this.linkNames)
    this.#setLargestFrame()
  }

  /** Takes MTUs of links, by name. Pieces of packets are no longer than those that the pool was made for. */
  setMtus(mtus: Readonly<Record<string, number>>): void {
    for (const [link, name] of this.linkNames.entries()) {
      this.#mtus[link] = Math.min(mtus[name] ?? this.#mtus[link], this.#largestMtu)
    }
    this.#setLargestFrame()
  }

  #setLargestFrame(): void {
    this.fitsAnywhere = ETHERNET_HEADER_LENGTH + Math.min(this.#routes.smallestMtu, ...this.#mtus)
  }

  setTime(nowMs: number): void {
    this.#nowMs = nowMs
    this.returnPaths.setTime(nowMs)
  }

  /** Once a second: refreshes neighbours, and looks for the next hops of servers before a packet needs them. */
  maintain(services: ServiceTable): void {
    this.#expectedClients.fill(0)
    this.#drops.add(DROP_NEIGHBOUR, this.neighbours.maintain(this.#nowMs))
    for (const service of services.values()) {
      for (const server of service.servers) this.nextHop(server)
    }
  }

  /**
   * A client of a peer's connection, to whom this director would have to send before it has had anything from him: after a takeover
   * many replies would have to wait for his address.
   */
  expectClient({ isIPv6, client }: ConnectionKey): void {
    const fold = client[0] ^ client[1] ^ client[2] ^ client[3]
    const cell = Math.imul(fold, 0x9e3779b1) >>> 24
    if (this.#expectedClients[cell] === fold) return
    this.#expectedClients[cell] = fold
    const route = isIPv6 ? this.#routes.find6(client, 0) : this.#routes.find(client[0])
    if (route !== undefined) this.neighbours.expect(route.link, route.address, route.source, this.#nowMs)
  }

  /** The next hop of a server; undefined when there is no route. */
  nextHop(server: RealServer): Neighbour | undefined {
    return server.nextHop ?? this.#findNextHop(server)
  }

  /** What nextHop() would say, without anything being remembered or asked for. */
  expectedNextHop(server: RealServer): Neighbour | undefined {
    if (server.nextHop !== undefined) return server.nextHop
    if (server.method === METHOD_LOCAL) return this.#host
    const route = this.#routes.find(server.address)
    if (route === undefined) return undefined
    const { link, address, source } = route
    return this.neighbours.find(link, address) ?? newNeighbour(link, address, source, this.#nowMs)
  }

  /** MTU of the way to a server; without a route there is none to keep to. */
  mtuToServer(server: RealServer): number {
    const hop = this.nextHop(server)
    if (hop === undefined) return Number.POSITIVE_INFINITY
    return this.#pathMtus.find(server.address, Math.min(this.#mtus[hop.link], server.routeMtu), this.#nowMs)
  }

  /** A router on the way to a tunnel's far end has said what it can carry. */
  learnPathMtu(server: RealServer, mtu: number): void {
    this.#pathMtus.learn(server.address, mtu, this.#nowMs)
  }

  /** MTU of the link that toClient() would choose, or what the client's route says if that is less: whatever the path, the way is the same farther on. */
  mtuToClient(path: number, client: number): number {
    const link = path === NO_RETURN_PATH ? this.#routes.find(client)?.link : this.returnPaths.links[path]
    if (link === undefined) return Number.POSITIVE_INFINITY
    const mtu = this.#mtus[link]
    return mtu <= this.#routes.smallestMtu ? mtu : Math.min(mtu, this.#routes.mtuTo(client))
  }

  /** What the sender of a reply is answered from: our own address on its link, or the virtual one where we have none, as on the host's own. */
  sourceOn(link: number, virtual: number): number {
    return this.#routes.sourceOn(link) || virtual
  }

  /** As sourceOn(), of IPv6: the address's number. */
  source6On(link: number, virtual: number): number {
    const own = this.#routes.source6On(link)
    return own === NO_ADDRESS ? virtual : own
  }

  /** As mtuToClient(), of the IPv6 client in the words from `at`. */
  mtuToClient6(path: number, words: Int32Array, at: number): number {
    const link = path === NO_RETURN_PATH ? this.#routes.find6(words, at)?.link : this.returnPaths.links[path]
    if (link === undefined) return Number.POSITIVE_INFINITY
    const mtu = this.#mtus[link]
    return mtu <= this.#routes.smallestMtu ? mtu : Math.min(mtu, this.#routes.mtuTo6(words, at))
  }

  toServer(frame: Frame, server: RealServer): Verdict {
    const hop = server.nextHop ?? this.#findNextHop(server)
    return hop === undefined ? this.#drops.drop(DROP_NO_ROUTE) : this.#toNeighbour(frame, hop)
  }

  /** Cuts a large frame into packets and sends each through the tunnel to a server. */
  segmentsToServer(
    frame: Frame,
    headerLength: number,
    protocol: number,
    transportLength: number,
    hop: Neighbour,
    server: RealServer,
  ): Verdict {
    if (!hop.resolved) return this.#drops.drop(DROP_PENDING)
    hop.usedMs = this.#nowMs
    this.#segmentHop = hop
    this.#segmentServer = server
    const isDone = segment(frame, headerLength, protocol, transportLength, this.#pool, this.#emitSegment)
    return isDone ? CONSUMED : this.#drops.drop(DROP_OUTBOX)
  }

  /** Puts the headers of a server's tunnel in front of the packet. */
  wrap(frame: Frame, hop: Neighbour, server: RealServer): void {
    this.#identification = (this.#identification + 1) | 0
    this.encapsulate(frame, hop, server, this.#identification & 0xffff)
  }

  /** @param identification of the outer IPv4 header */
  encapsulate(frame: Frame, hop: Neighbour, server: RealServer, identification: number): void {
    if (isIPv6Number(server.address)) {
      const { words } = this.#book
      encapsulateIn6(frame, server.tunnel, words, hop.source * ADDRESS_WORDS, server.address * ADDRESS_WORDS)
      return
    }
    if (isIPv6Packet(frame.memory.view, frame.start + ETHERNET_HEADER_LENGTH)) {
      encapsulate6In4(frame, server.tunnel, hop.source, server.address, identification)
      return
    }
    const dontFragment = this.#settings.pmtuDisc === 0 ? 0 : DONT_FRAGMENT
    encapsulate(frame, server.tunnel, hop.source, server.address, dontFragment, identification)
  }

  /** As toServer(), for a packet that is longer than the way and may be cut. */
  piecesToServer(frame: Frame, ipHeaderLength: number, server: RealServer): Verdict {
    const hop = this.nextHop(server)
    if (hop === undefined) return this.#drops.drop(DROP_NO_ROUTE)
    return this.#piecesTo(frame, ipHeaderLength, hop, this.mtuToServer(server))
  }

  /** As toClient(), for a packet that is longer than the way, of `mtu`, and may be cut. */
  piecesToClient(frame: Frame, ipHeaderLength: number, path: number, client: number, mtu: number): Verdict {
    const neighbour = this.#neighbourOf(path, client)
    if (neighbour !== undefined) return this.#piecesTo(frame, ipHeaderLength, neighbour, mtu)
    if (path === NO_RETURN_PATH) return this.#drops.drop(DROP_NO_ROUTE)
    return this.#cut(frame, ipHeaderLength, this.#back(frame, path), mtu)
  }

  /** @param path where the client's packets came from; by route when that is not known, or silent */
  toClient(frame: Frame, path: number, client: number): Verdict {
    const neighbour = this.#neighbourOf(path, client)
    if (neighbour !== undefined) return this.#toNeighbour(frame, neighbour)
    return path === NO_RETURN_PATH ? this.#drops.drop(DROP_NO_ROUTE) : this.#back(frame, path)
  }

  /** As toClient(), of the IPv6 client in the words from `at`. */
  toClient6(frame: Frame, path: number, words: Int32Array, at: number): Verdict {
    const neighbour = this.#leads(path) ? undefined : this.#byRoute(path, this.#routes.find6(words, at))
    if (neighbour !== undefined) return this.#toNeighbour(frame, neighbour)
    return path === NO_RETURN_PATH ? this.#drops.drop(DROP_NO_ROUTE) : this.#back(frame, path)
  }

  /** Pool frames: those in nobody's hands, those that wait, and all there are. */
  get poolUse(): { free: number; held: number; total: number } {
    const held = this.neighbours.waiting.count + this.waitingFragments.count + this.unconfirmed.count
    return { free: this.#pool.free, held, total: this.#pool.total }
  }

  /** Whether so many frames were made that others may soon find no room: 64 KiB for a tunnel are some 45 of them. */
  get isOutboxLong(): boolean {
    return this.#outbox.length * 4 > this.#pool.total
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
    if (hasFailed(neighbour)) return this.#drops.drop(DROP_NEIGHBOUR)
    return this.neighbours.hold(neighbour, frame) ? CONSUMED : this.#drops.drop(DROP_PENDING)
  }

  /** What cannot be cut before its address is known does not wait: it would be sent whole. */
  #piecesTo(frame: Frame, ipHeaderLength: number, hop: Neighbour, mtu: number): Verdict {
    if (!hop.resolved) return this.#drops.drop(DROP_PENDING)
    hop.usedMs = this.#nowMs
    this.#address(frame, hop.link, hop.macHigh, hop.macLow)
    return this.#cut(frame, ipHeaderLength, hop.link, mtu)
  }

  #cut(frame: Frame, ipHeaderLength: number, link: number, mtu: number): Verdict {
    this.#pieceLink = link
    const isDone = cut(frame, ipHeaderLength, mtu, this.#identification, this.#pool, this.#emitPiece)
    return isDone ? CONSUMED : this.#drops.drop(DROP_OUTBOX)
  }

  #back(frame: Frame, path: number): number {
    const { links, macHigh, macLow } = this.returnPaths
    this.#address(frame, links[path], macHigh[path], macLow[path])
    return links[path]
  }

  #leads(path: number): boolean {
    return path !== NO_RETURN_PATH && !this.returnPaths.isSilent(path)
  }

  /** The next hop to a client; undefined when it is the path, or there is none. */
  #neighbourOf(path: number, client: number): Neighbour | undefined {
    return this.#leads(path) ? undefined : this.#byRoute(path, this.#routes.find(client))
  }

  /**
   * The next hop of a client's route. In the place of a silent path it counts only on the path's own link, where routers are that stand in
   * for each other, and once it has answered: until then, and without a route, a path that may be alive is more than nothing.
   */
  #byRoute(path: number, route: Readonly<NextHop> | undefined): Neighbour | undefined {
    if (route === undefined) return undefined
    const { link, address, source } = route
    if (path === NO_RETURN_PATH) return this.neighbours.get(link, address, source, this.#nowMs)
    if (link !== this.returnPaths.links[path]) return undefined
    const neighbour = this.neighbours.expect(link, address, source, this.#nowMs)
    return neighbour?.resolved ? neighbour : undefined
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
    if (server.method === METHOD_LOCAL) {
      server.leadTo(this.#host)
      return this.#host
    }
    const route = this.#routes.find(server.address)
    if (route === undefined) return undefined
    const { link, address, source, mtu } = route
    const neighbour = this.neighbours.get(link, address, source, this.#nowMs)
    server.leadTo(neighbour, mtu)
    return neighbour
  }
}

/** This host's own stack: always there, and asked for nothing. */
function hostNeighbour(link: number): Neighbour {
  return { ...newNeighbour(link, 0, 0, 0), resolved: true }
}
