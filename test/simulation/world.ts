/**
 * A simulated site whole: hosts with their directors, the networks, clients and servers, all on one virtual clock; and what faults can
 * do to it. Nothing here draws on real time or real chance.
 */
import { TICK_MS } from '../../forwarder/table/connection-layout.ts'
import type { PoolEntry } from '../../node/director/pool/pool-entry.ts'
import { VirtualClock } from '../../node/director/virtual-clock.ts'
import type { Random } from '../random.ts'
import { belongingOf, hasTokens } from './belonging.ts'
import { WatchedStore } from './changes.ts'
import { Clients } from './clients.ts'
import type { Conversation } from './conversation.ts'
import { between, pick, sourceFor } from './draw.ts'
import { drawElection, type Election } from './election.ts'
import { RealServer, Router } from './hosts.ts'
import { Segment, WireTap } from './lan.ts'
import { DETECTION_MS, Networks, type Plane } from './networks.ts'
import { Outsider } from './outsider.ts'
import type { Sabotage } from './sabotage.ts'
import { SimulatedDirector, THREADS, type ThreadName } from './simulated-director.ts'
import { directorName, INSIDE, insideAddress, macOf, OUTSIDE, outsideAddress, ROUTERS, SERVICES } from './site.ts'

/** Versions of connections have 16 bits. */
const VERSIONS = 2 ** 16
/** A run takes some 160 of them. */
const SHORTLY = 120
const LONGEST_UPTIME_MS = 10_000_000
/** Of two directors, when whoever does not know the other yet begins to doubt what it signs; less what is on its way. */
const CLOCKS_APART_MS = 29_900
const ANNOUNCE_INTERVAL_MS = 5_000
/** What was changed under a clock that was ahead is made anew at the fourth announcement after that: within the end of a run, in pools where this happens. */
const SHORT_ANNOUNCE_INTERVAL_MS = 1_000
const INTERVALS_MS = [50, 100, 100, 200]

/** What of a director outlives its process. */
interface DirectorHost {
  readonly number: number
  readonly clockOffsetMs: number
  readonly priorities: readonly number[]
  store: WatchedStore
  wallSkewMs: number
  director: SimulatedDirector | undefined
  /** How many faults have taken its uplink, and since when the first of them. */
  uplinkFaults: number
  uplinkLostMs: number
  /** A fault has it down, or coming down. */
  isDown: boolean
}

export interface WorldOptions {
  readonly seed: number
  readonly directors: number
  /** Conversations open at once. */
  readonly conversations: number
  readonly sabotage: Sabotage
}

export class World {
  readonly clock = new VirtualClock()
  readonly networks: Networks
  readonly wire = new WireTap()
  readonly segments = {
    [OUTSIDE]: new Segment(this.clock, this.wire),
    [INSIDE]: new Segment(this.clock, this.wire),
  }
  readonly clients: Clients
  readonly routers: readonly Router[]
  readonly servers: readonly RealServer[]
  readonly numbers: readonly number[]
  readonly election: Election
  /** Whether the virtual services are a sync group. */
  readonly isGrouped: boolean
  /** What services ask for. */
  readonly sync: 'confirmed' | 'confirmed-only' | undefined
  /** What happened, for whoever looks into a failure. */
  readonly trace: string[] = []
  /** When an advertisement last arrived, by "FROM TO VRID" as addresses. */
  readonly heardMs = new Map<string, number>()
  onReset: (conversation: Conversation, what: string) => void = () => {}
  /** A director's process is about to end, and what only it knew is lost. */
  onLoss: (director: SimulatedDirector) => void = () => {}
  /** What directors have said that was overridden. */
  readonly overridden: string[] = []
  /** What the director does that is shut out of the pool, where there is one. */
  readonly outside: Outsider
  readonly #seed: number
  readonly #hosts: readonly DirectorHost[]
  /** Of the director that is shut out. */
  readonly #outsideHost: DirectorHost | undefined
  /** Those that are lost, too. */
  readonly #stores: WatchedStore[] = []
  readonly #sabotage: Sabotage
  readonly #isMixed: boolean
  readonly #announceIntervalMs: number
  /** Whether advertisements are signed. */
  readonly #isAuthenticated: boolean
  /** Ways on which advertisements have been believed. */
  readonly #believed = new Set<string>()
  readonly #random: Random
  /** Where a right wall clock stands at the virtual clock's 0. */
  readonly #startMs: number

  constructor({ seed, directors, conversations, sabotage }: WorldOptions) {
    const { clock, segments } = this
    this.#seed = seed
    const setup = sourceFor(seed, 'setup')
    this.#random = sourceFor(seed, 'directors')
    this.#sabotage = sabotage
    this.#isMixed = seed % 2 === 0
    this.#announceIntervalMs = isClockWrong(seed) ? SHORT_ANNOUNCE_INTERVAL_MS : ANNOUNCE_INTERVAL_MS
    this.#isAuthenticated = isClockWrong(seed) && sourceFor(seed, 'authentication').oneIn(2)
    this.isGrouped = seed % 5 === 0
    this.sync = drawSync(seed)
    this.#startMs = drawStart(sourceFor(seed, 'calendar'))
    const intervalMs = INTERVALS_MS[setup.below(INTERVALS_MS.length)]
    this.networks = new Networks(clock, sourceFor(seed, 'networks'), (from, to, vrid) => this.#hear(from, to, vrid))
    this.clients = new Clients({
      clock,
      random: sourceFor(seed, 'clients'),
      target: conversations,
      onReset: (conversation, what) => this.onReset(conversation, what),
    })
    this.routers = ROUTERS.map((address) => new Router(segments.outside, address, this.clients))
    this.clients.routers = this.routers
    this.servers = SERVICES.flatMap((service) =>
      service.servers.map((address) => new RealServer(segments.inside, address, service, this.clients)),
    )
    this.numbers = Array.from({ length: directors }, (_, index) => index + 1)
    this.election = drawElection(seed, this.numbers, intervalMs)
    this.#hosts = this.numbers.map((number) => ({
      number,
      clockOffsetMs: setup.below(LONGEST_UPTIME_MS),
      priorities: drawPriorities(setup, this.isGrouped),
      store: this.#newStore(),
      wallSkewMs: between(setup, -2000, 2000),
      uplinkFaults: 0,
      uplinkLostMs: 0,
      director: undefined,
      isDown: false,
    }))
    this.outside = new Outsider(this, sourceFor(seed, 'outsider'))
    this.#outsideHost = hasTokens(seed) ? this.#outsiderHost(directors + 1) : undefined
  }

  /** A director more, which takes no part in elections and is shut out of the pool; not among `directors`. */
  get outsider(): SimulatedDirector | undefined {
    return this.#outsideHost?.director
  }

  /** All that are in the networks. */
  get everybody(): readonly number[] {
    return this.#outsideHost ? [...this.numbers, this.#outsideHost.number] : this.numbers
  }

  /** The directors whose processes live, stopped ones too. */
  get directors(): SimulatedDirector[] {
    return this.#hosts.flatMap(({ director }) => (director?.isAlive ? director : []))
  }

  /** Each entry of the configuration that a store was ever given. */
  get written(): PoolEntry[] {
    return this.#stores.flatMap(({ written }) => written)
  }

  /** Whether there is a director that does not believe what another one advertises. */
  get isAnybodyMistrusted(): boolean {
    const { directors } = this
    return SERVICES.some(({ vrid }, index) => {
      const active = directors.filter((director) => director.stateOf(index) === 'active')
      return active.some((sender) =>
        directors.some((hearer) => hearer !== sender && this.#isMistrusted(sender, hearer, vrid)),
      )
    })
  }

  /** Between advertisements. */
  get intervalMs(): number {
    return this.election.advertisementIntervalMs
  }

  get faultFree(): boolean {
    return this.#hosts.every(({ isDown }) => !isDown)
  }

  note(text: string): void {
    this.trace.push(`${this.clock.now().toFixed(2).padStart(9)} ${text}`)
  }

  async startAll(): Promise<void> {
    for (const number of this.everybody) await this.#start(number)
    if (this.#outsideHost) this.outside.start()
  }

  /** How the director is called in a network. */
  nameOn(plane: Plane, number: number): string {
    return plane === 'gossip' ? directorName(number) : outsideAddress(number)
  }

  unplug(number: number): () => void {
    const macs = [outsideAddress(number), insideAddress(number)].map(macOf)
    this.segments.outside.unplug(macs[0])
    this.segments.inside.unplug(macs[1])
    return () => {
      this.segments.outside.plug(macs[0])
      this.segments.inside.plug(macs[1])
    }
  }

  loseUplink(number: number): () => void {
    const host = this.#host(number)
    if (host.uplinkFaults++ === 0) host.uplinkLostMs = this.clock.now()
    host.director?.setUplink(false)
    return () => {
      if (--host.uplinkFaults === 0) host.director?.setUplink(true)
    }
  }

  /** Since when a director's host has had no uplink; undefined: it has one. */
  uplinkLostMs({ number }: SimulatedDirector): number | undefined {
    const { uplinkFaults, uplinkLostMs } = this.#host(number)
    return uplinkFaults > 0 ? uplinkLostMs : undefined
  }

  crash(number: number, how: 'process' | 'power', store: 'kept' | 'lost'): () => void {
    const host = this.#host(number)
    const { director } = host
    if (!director || host.isDown || !this.#maySpare(host)) return () => {}
    host.isDown = true
    this.onLoss(director)
    void director.kill()
    if (how === 'process') void director.leave()
    else this.clock.schedule(DETECTION_MS, () => void director.leave())
    return () => {
      if (store === 'lost') host.store = this.#newStore()
      this.#comeBack(host, how === 'process' ? 0 : DETECTION_MS)
    }
  }

  restart(number: number): () => void {
    const host = this.#host(number)
    const { director } = host
    if (!director || host.isDown || !this.#maySpare(host)) return () => {}
    host.isDown = true
    let isGone = false
    let isWanted = false
    const back = () => isGone && isWanted && this.#comeBack(host, 0)
    void director
      .stop(() => this.onLoss(director))
      .then(() => {
        isGone = true
        back()
      })
    return () => {
      isWanted = true
      back()
    }
  }

  stop(number: number, first: 'timers' | 'socket'): () => void {
    const { director } = this.#host(number)
    if (!director) return () => {}
    for (const thread of THREADS) director.stall(thread)
    const isAlone = this.#silence(director)
    return () => {
      isAlone()
      if (director.isAlive) for (const thread of THREADS) director.resume(thread, first)
    }
  }

  slow(
    number: number,
    fault: {
      readonly threads: readonly ThreadName[]
      readonly stallMs: number
      readonly everyMs: number
      readonly first: 'timers' | 'socket'
    },
  ): () => void {
    const { director } = this.#host(number)
    if (!director) return () => {}
    const { threads, stallMs, everyMs, first } = fault
    let isOver = false
    let goOn = () => {}
    const stall = () => {
      if (isOver || !director.isAlive) return
      for (const thread of threads) director.stall(thread)
      const isAlone = threads.includes('cluster') ? this.#silence(director) : () => {}
      goOn = () => {
        isAlone()
        goOn = () => {}
        if (director.isAlive) for (const thread of threads) director.resume(thread, first)
      }
      this.clock.schedule(stallMs, () => goOn())
      this.clock.schedule(everyMs, stall)
    }
    stall()
    return () => {
      isOver = true
      goOn()
    }
  }

  stepClock(number: number, stepMs: number): void {
    this.#host(number).wallSkewMs += stepMs
  }

  #hear(from: string, to: string, vrid: number): void {
    const [sender, hearer] = [from, to].map((address) =>
      this.directors.find((director) => director.address === address),
    )
    if (!sender || !hearer || this.#isMistrusted(sender, hearer, vrid)) return
    this.heardMs.set(`${from} ${to} ${vrid}`, this.clock.now())
    if (hearer.threads.main.stalls === 0) this.#believed.add(wayOf(sender, hearer, vrid))
  }

  /** Where advertisements are signed: their clocks are far apart, and the one has not believed the other before, as they run now (docs/operations.md). */
  #isMistrusted(sender: SimulatedDirector, hearer: SimulatedDirector, vrid: number): boolean {
    if (!this.#isAuthenticated || this.#believed.has(wayOf(sender, hearer, vrid))) return false
    const [one, other] = [sender, hearer].map(({ number }) => this.#host(number).wallSkewMs)
    return Math.abs(one - other) > CLOCKS_APART_MS
  }

  /** Peers of a thread that stands still end their connections to it after a while; it finds out when it goes on. */
  #silence(director: SimulatedDirector): () => void {
    let isOver = false
    let isGivenUp = false
    this.clock.schedule(DETECTION_MS, () => {
      if (isOver || !director.isAlive) return
      isGivenUp = true
      for (const peer of this.everybody) this.networks.gossip.disconnect(director.name, directorName(peer))
    })
    return () => {
      isOver = true
      if (!isGivenUp || !director.isAlive) return
      for (const peer of this.everybody) {
        if (peer !== director.number) this.networks.reconnect(director.name, directorName(peer))
      }
    }
  }

  /** Never all at once: somebody who is up, at work and in sync must be left. */
  #maySpare(host: DirectorHost): boolean {
    return this.#hosts.some(({ director, isDown }) => {
      if (!director?.isAlive || isDown || director === host.director) return false
      return THREADS.every((thread) => director.threads[thread].stalls === 0) && director.replicator.status().inSync
    })
  }

  #comeBack(host: DirectorHost, afterMs: number): void {
    this.clock.schedule(afterMs, () => void this.#start(host.number))
  }

  async #start(number: number): Promise<void> {
    const host = this.#host(number)
    const name = directorName(number)
    const director = new SimulatedDirector({
      clock: this.clock,
      networks: this.networks,
      segments: this.segments,
      random: this.#random,
      number,
      name,
      belonging: belongingOf(this.#seed, number, this.numbers.length),
      store: host.store,
      wallClockMs: () => this.#startMs + this.clock.now() + host.wallSkewMs,
      clockOffsetMs: host.clockOffsetMs,
      priorities: host.priorities,
      election: this.election,
      announceIntervalMs: this.#announceIntervalMs,
      isGrouped: this.isGrouped,
      isAuthenticated: this.#isAuthenticated,
      // Every other pool is being upgraded.
      isLater: this.#isMixed && number % 2 === 0,
      sabotage: this.#sabotage,
      onOverridden: (overridden) => this.overridden.push(...overridden),
      note: (text) => this.note(`${name} ${text}`),
    })
    host.director = director
    host.isDown = false
    if (host.uplinkFaults > 0) director.setUplink(false)
    await director.start()
  }

  #newStore(): WatchedStore {
    const store = new WatchedStore()
    this.#stores.push(store)
    return store
  }

  #host(number: number): DirectorHost {
    const host = number > this.numbers.length ? this.#outsideHost : this.#hosts[number - 1]
    if (!host) throw new RangeError(`there is no director ${number}`)
    return host
  }

  #outsiderHost(number: number): DirectorHost {
    return {
      number,
      clockOffsetMs: 0,
      priorities: SERVICES.map(() => 1),
      store: this.#newStore(),
      wallSkewMs: 0,
      uplinkFaults: 1,
      uplinkLostMs: 0,
      director: undefined,
      isDown: false,
    }
  }
}

/** By virtual service; the same for all of a sync group. */
function drawPriorities(random: Random, isGrouped: boolean): number[] {
  const drawn = SERVICES.map(() => 50 + 50 * between(random, 0, 3))
  return isGrouped ? drawn.fill(drawn[0]) : drawn
}

function wayOf(sender: SimulatedDirector, hearer: SimulatedDirector, vrid: number): string {
  return `${sender.boot} > ${hearer.boot} ${vrid}`
}

function drawSync(seed: number): World['sync'] {
  // Who is shut out may be all who has confirmed something.
  if (hasTokens(seed)) return undefined
  if (seed % 3 === 0) return 'confirmed-only'
  return sourceFor(seed, 'sync').oneIn(3) ? 'confirmed' : undefined
}

/** Of one director, for a while. */
export function isClockWrong(seed: number): boolean {
  return seed % 7 === 0
}

/** In 2026: at any version, or shortly before versions begin anew or become half a turn old. */
function drawStart(random: Random): number {
  const anywhere = random.below(VERSIONS)
  const turn = Math.floor(Date.UTC(2026, 0, 1) / TICK_MS / VERSIONS) + 1
  const version = pick(random, [anywhere, VERSIONS - random.below(SHORTLY), VERSIONS / 2 - random.below(SHORTLY)])
  return (turn * VERSIONS + version) * TICK_MS
}
