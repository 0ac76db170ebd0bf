/**
 * Schedulers once more, written as the words of their definition and with no thought for speed: what the real ones
 * must agree with, pick for pick. The list is walked as the kernel walks it, as a ring with a head in it.
 */
import type { Flow } from '../../scheduler/scheduler.ts'
import type { ModelledServer } from './modelled-service.ts'

export interface NaiveModel {
  added(server: ModelledServer): void
  edited(): void
  removed(server: ModelledServer): void
  pick(flow: Flow): ModelledServer | undefined
}

const HEAD = Symbol('head of the list')
type RingEntry = ModelledServer | typeof HEAD

export abstract class RingModel implements NaiveModel {
  protected ring: RingEntry[] = [HEAD]
  protected cursor: RingEntry = HEAD

  added(server: ModelledServer): void {
    this.ring.splice(1, 0, server)
    this.edited()
  }

  removed(server: ModelledServer): void {
    if (this.cursor === server) this.cursor = this.ring[this.ring.indexOf(server) - 1]
    this.ring.splice(this.ring.indexOf(server), 1)
    this.edited()
  }

  edited(): void {}
  abstract pick(flow: Flow): ModelledServer | undefined

  protected after(entry: RingEntry): RingEntry {
    return this.ring[(this.ring.indexOf(entry) + 1) % this.ring.length]
  }

  protected servers(): ModelledServer[] {
    return this.ring.filter((entry) => entry !== HEAD)
  }

  protected available(): ModelledServer[] {
    return this.servers().filter(isFree)
  }
}

export function isFree(server: ModelledServer): boolean {
  return server.weight > 0 && !server.overloaded
}

export function overheadOf(server: ModelledServer): bigint {
  return 257n * BigInt(server.activeConnections) + BigInt(server.inactiveConnections)
}

/** The first of these whose load for its weight nobody beats. */
export function leastLoaded<S extends { weight: number }>(servers: S[], load: (server: S) => bigint): S | undefined {
  const beats = (one: S, other: S) => load(one) * BigInt(other.weight) < load(other) * BigInt(one.weight)
  return servers.find((one) => servers.every((other) => !beats(other, one)))
}

export class NaiveRoundRobin extends RingModel {
  pick(): ModelledServer | undefined {
    let entry = this.cursor
    do {
      entry = this.after(entry)
      if (entry !== HEAD && entry.weight > 0 && !entry.overloaded) {
        this.cursor = entry
        return entry
      }
    } while (entry !== this.cursor)
    return undefined
  }
}

/** Round by round, as ip_vs_wrr.c does it; the letters are the kernel's. */
export class NaiveWeightedRoundRobin extends RingModel {
  #cw = 0
  #mw = 0
  #di = 1

  override edited(): void {
    const weights = this.servers().flatMap(({ weight }) => (weight > 0 ? [weight] : []))
    this.cursor = HEAD
    this.#di = Math.max(1, Math.min(...weights))
    if (weights.length === 0) this.#di = 1
    while (weights.some((weight) => weight % this.#di !== 0)) this.#di--
    this.#mw = Math.max(0, ...weights) - (this.#di - 1)
    if (this.#cw > this.#mw || this.#cw === 0) this.#cw = this.#mw
    else if (this.#di > 1) this.#cw = Math.trunc(this.#cw / this.#di) * this.#di + 1
  }

  pick(): ModelledServer | undefined {
    if (this.#mw === 0) return undefined
    const last = this.cursor
    let stop: RingEntry | undefined
    let lastPass = false
    let restarted = false
    for (let entry = last; ; ) {
      for (entry = this.after(entry); entry !== HEAD; entry = this.after(entry)) {
        this.cursor = entry
        if (!entry.overloaded && entry.weight >= this.#cw) return entry
        if (entry === stop) return undefined
      }
      this.cursor = HEAD
      this.#cw -= this.#di
      if (this.#cw <= 0) {
        this.#cw = this.#mw
        if (lastPass || last === HEAD) return undefined
        restarted = true
      }
      lastPass = this.#cw <= this.#di
      if (lastPass && restarted) stop = last
    }
  }
}

/** The first server whose overhead for its weight nobody beats. */
export class NaiveLeastConnection extends RingModel {
  readonly #weighted: boolean

  constructor(weighted: boolean) {
    super()
    this.#weighted = weighted
  }

  pick(): ModelledServer | undefined {
    if (this.#weighted) return leastLoaded(this.available(), overheadOf)
    const alike = this.available().map((server) => ({ server, weight: 1 }))
    return leastLoaded(alike, ({ server }) => overheadOf(server))?.server
  }
}
