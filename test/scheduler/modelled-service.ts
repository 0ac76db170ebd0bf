/**
 * A virtual service as small as a scheduler's test needs it: servers, newest first, the scheduler's memory, and the calls
 * that the scheduler is owed when the list changes. It starts empty and grows by additions, as with ipvsadm.
 */
import type { Flow, Scheduler } from '../../scheduler/scheduler.ts'
import type { Random } from '../random.ts'

export interface ModelledServer {
  readonly name: string
  weight: number
  activeConnections: number
  inactiveConnections: number
  overloaded: boolean
}

const someFlow: Flow = {
  sourceAddress: 0x0a01_0002,
  sourcePort: 50_000,
  destinationAddress: 0x0a01_0064,
  destinationPort: 80,
}

export class ModelledService {
  readonly servers: ModelledServer[] = []
  memory: unknown
  #scheduler: Scheduler

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
    this.memory = scheduler.begin?.(this.servers)
  }

  add(server: ModelledServer): void {
    this.servers.unshift(server)
    this.#scheduler.edited?.(this.memory, this.servers)
  }

  edit(server: ModelledServer, weight: number): void {
    server.weight = weight
    this.#scheduler.edited?.(this.memory, this.servers)
  }

  remove(server: ModelledServer): void {
    const index = this.servers.indexOf(server)
    this.servers.splice(index, 1)
    this.#scheduler.removed?.(this.memory, this.servers, server, index)
  }

  /** Like ipvsadm -E: the new scheduler begins with the servers that are there. */
  changeScheduler(scheduler: Scheduler): void {
    this.#scheduler = scheduler
    this.memory = scheduler.begin?.(this.servers)
  }

  select(flow: Partial<Flow> = {}): ModelledServer | undefined {
    return this.#scheduler.select(this.servers, this.memory, { ...someFlow, ...flow })
  }
}

export function newServer(name: string, weight: number): ModelledServer {
  return { name, weight, activeConnections: 0, inactiveConnections: 0, overloaded: false }
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
    service.add(newServer(`s${step}`, random.below(limits.weight + 1)))
  } else if (what === 2) service.remove(someone)
  else if (what === 3) service.edit(someone, random.below(limits.weight + 1))
  else if (what === 4) service.edit(someone, 0)
  else if (what === 5) someone.overloaded = !someone.overloaded
  else {
    someone.activeConnections = random.below(limits.connections + 1)
    someone.inactiveConnections = random.below(limits.connections + 1)
  }
}
