/**
 * A virtual service as small as a scheduler's test needs it: servers, newest first, the scheduler's memory, and the calls
 * that the scheduler is owed when the list changes. It starts empty and grows by additions, as with ipvsadm.
 */
import type { Flow, Scheduler, SchedulerContext } from '../../scheduler/scheduler.ts'
import { type Random, seededRandom } from '../random.ts'

export interface ModelledServer {
  readonly name: string
  weight: number
  weightWhenUp: number
  down: boolean
  activeConnections: number
  inactiveConnections: number
  overloaded: boolean
  lastWeight: number
  addressWords: Int32Array
  port: number
}

/** An IPv4 address, given as a number, in the words of a Flow. */
export const ipv4Words = (address: number): Int32Array => Int32Array.of(0, 0, 0, address)

const someFlow: Flow = {
  nowMs: 1_000,
  source: ipv4Words(0x0a01_0002),
  destination: ipv4Words(0x0a01_0064),
  sourcePort: 50_000,
  destinationPort: 80,
}

/** What a scheduler begins with, unless a test says otherwise; the lots that it draws are always the same. */
export function someContext(context: Partial<SchedulerContext> = {}): SchedulerContext {
  const random = seededRandom(1)
  return {
    flags: [],
    settings: { lblcExpiration: 86_400, lblcrExpiration: 86_400 },
    random: () => random.below(2 ** 32) / 2 ** 32,
    ...context,
  }
}

export class ModelledService {
  readonly servers: ModelledServer[] = []
  readonly removedServers: ModelledServer[] = []
  memory: unknown
  #scheduler: Scheduler
  readonly #context: SchedulerContext

  constructor(scheduler: Scheduler, context: Partial<SchedulerContext> = {}) {
    this.#scheduler = scheduler
    this.#context = someContext(context)
    this.memory = scheduler.begin?.(this.servers, this.#context)
  }

  add(server: ModelledServer): void {
    server.lastWeight = server.weight
    server.weightWhenUp = server.weight
    this.servers.unshift(server)
    const { added, edited } = this.#scheduler
    if (added) added(this.memory, this.servers)
    else edited?.(this.memory, this.servers)
  }

  edit(server: ModelledServer, weight: number): void {
    server.weightWhenUp = weight
    if (weight > 0) server.lastWeight = weight
    this.setDown(server, server.down)
  }

  /** By its health checks. */
  setDown(server: ModelledServer, down: boolean): void {
    server.down = down
    server.weight = down ? 0 : server.weightWhenUp
    this.#scheduler.edited?.(this.memory, this.servers)
  }

  remove(server: ModelledServer): void {
    const index = this.servers.indexOf(server)
    this.servers.splice(index, 1)
    this.removedServers.push(server)
    server.weight = 0
    this.#scheduler.removed?.(this.memory, this.servers, server, index)
  }

  /** Like ipvsadm -E: the new scheduler begins with the servers that are there. */
  changeScheduler(scheduler: Scheduler): void {
    this.#scheduler = scheduler
    this.memory = scheduler.begin?.(this.servers, this.#context)
  }

  select(flow: Partial<Flow> = {}): ModelledServer | undefined {
    return this.#scheduler.select(this.servers, this.memory, { ...someFlow, ...flow })
  }
}

/** @param address what schedulers that hash servers see of it; some number made of the name unless given */
export function newServer(name: string, weight: number, address = numberOf(name)): ModelledServer {
  return {
    name,
    weight,
    weightWhenUp: weight,
    down: false,
    activeConnections: 0,
    inactiveConnections: 0,
    overloaded: false,
    lastWeight: weight,
    addressWords: ipv4Words(address),
    port: 8000,
  }
}

function numberOf(name: string): number {
  return [...name].reduce((number, letter) => Math.imul(number, 31) + letter.charCodeAt(0), 0)
}

/** A flow at random among a few clients and destinations, of which some are IPv6. */
export function someFlowOf(random: Random, nowMs: number): Flow {
  return {
    nowMs,
    source: wordsOf(random.below(40)),
    destination: wordsOf(random.below(12)),
    sourcePort: random.below(65_536),
    destinationPort: 80,
  }
}

function wordsOf(number: number): Int32Array {
  const mixed = Math.imul(number + 1, 0x9e37_79b1)
  return number % 3 === 0 ? Int32Array.of(0x2001_0db8, number, mixed, ~mixed * 7) : ipv4Words(mixed)
}

export interface HistoryLimits {
  readonly weight: number
  readonly connections: number
}

/** Does one thing at random that can happen to a service, except a pick. */
export function disturb(service: ModelledService, random: Random, limits: HistoryLimits, step: number): void {
  const { servers } = service
  const someone = servers[random.below(servers.length)]
  const what = random.below(10)
  if (!someone || (what < 2 && servers.length < 8)) {
    const weight = random.below(limits.weight + 1)
    const returned = random.oneIn(2) ? service.removedServers.pop() : undefined
    service.add(returned ? Object.assign(returned, { weight }) : newServer(`s${step}`, weight))
  } else if (what === 2) service.remove(someone)
  else if (what === 3) service.edit(someone, random.below(limits.weight + 1))
  else if (what === 4) service.edit(someone, 0)
  else if (what === 5) someone.overloaded = !someone.overloaded
  else {
    someone.activeConnections = random.below(limits.connections + 1)
    someone.inactiveConnections = random.below(limits.connections + 1)
  }
}
