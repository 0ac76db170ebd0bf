/**
 * When which real server is checked, and what this director thinks of it. The clock is the caller's: tick() starts what is due.
 *
 * First checks are spread over one interval and later ones vary by a tenth of it, so that neither all servers are asked at
 * once nor all directors ask one server in step.
 *
 * A tick starts a check for each millisecond since the last tick, twenty at most, and only so many run at a time, whatever the number of
 * servers: VRRP's timers run on the same thread. With more servers than that allows the interval grows, the longest due go first, and before them those whose last
 * check speaks against what is thought of them: so a dead server is not found dead `fall` long intervals later.
 *
 * After `fall` checks in a row that could not be made, nothing is known of the server any more.
 */
import type { DirectorConfig } from '../config.ts'
import { type Due, DueQueue } from './due-queue.ts'
import { afterCheck, type HealthState, type RiseFall, UNCHECKED } from './rise-fall.ts'
import { StartCredit } from './start-credit.ts'
import type { Check } from './tcp-check.ts'

export interface CheckTarget {
  readonly address: string
  readonly port: number
}

export interface CheckerOptions {
  health: DirectorConfig['health']
  check: Check
  /** 0 to below 1. */
  random: () => number
  /** This director has changed its mind. `reason`: what the last check met with, if that was no success. */
  onChange: (server: CheckTarget, state: HealthState, reason: string | undefined) => void
}

/** A server that is checked. The checker's own, but for its identity. */
export interface Target extends CheckTarget, Due {
  opinion: RiseFall
  /** Checks in a row that could not be made. */
  unasked: number
  running: AbortController | undefined
  isRemoved: boolean
}

/** As many dead servers as are checked while the first of them times out. */
const RUNNING_MAX = 512
const STARTED_MAX = 20
const JITTER = 0.1

export class Checker {
  readonly #options: CheckerOptions
  readonly #queue = new DueQueue<Target>()
  /** Those in doubt. */
  readonly #doubted = new DueQueue<Target>()
  readonly #running = new Set<Target>()
  readonly #credit = new StartCredit(STARTED_MAX)

  constructor(options: CheckerOptions) {
    this.#options = options
  }

  /** Begins to check a server. */
  add({ address, port }: CheckTarget, nowMs: number): Target {
    const { health, random } = this.#options
    const dueAtMs = nowMs + random() * health.intervalMs
    const opinion = UNCHECKED
    const target = { address, port, opinion, unasked: 0, dueAtMs, place: -1, running: undefined, isRemoved: false }
    this.#queue.add(target)
    return target
  }

  /** Checks it no more. */
  remove(target: Target): void {
    target.isRemoved = true
    this.#queue.remove(target)
    this.#doubted.remove(target)
    target.running?.abort()
  }

  /** Starts checks that are due. */
  tick(nowMs: number): void {
    this.#credit.earn(nowMs)
    for (; this.#credit.isLeft && this.#running.size < RUNNING_MAX; this.#credit.spend()) {
      const target = takeDue(this.#doubted, nowMs) ?? takeDue(this.#queue, nowMs)
      if (target === undefined) return
      void this.#run(target, nowMs)
    }
  }

  /** Ends the checks that run, without an opinion. */
  stop(): void {
    for (const target of this.#running) this.remove(target)
  }

  async #run(target: Target, nowMs: number): Promise<void> {
    const { health, check, random, onChange } = this.#options
    target.running = new AbortController()
    target.dueAtMs = nowMs + health.intervalMs * (1 - JITTER + 2 * JITTER * random())
    this.#running.add(target)
    const result = await check(target.address, target.port, health.timeoutMs, target.running.signal)
    this.#running.delete(target)
    target.running = undefined
    if (target.isRemoved) return
    const before = target.opinion.state
    if (result.outcome === 'inconclusive') {
      target.unasked++
      if (target.unasked >= health.fall) target.opinion = UNCHECKED
    } else {
      target.unasked = 0
      target.opinion = afterCheck(target.opinion, result.outcome === 'success', health.rise, health.fall)
    }
    const queue = target.opinion.streak > 0 ? this.#doubted : this.#queue
    queue.add(target)
    if (target.opinion.state === before) return
    onChange(target, target.opinion.state, result.outcome === 'success' ? undefined : result.reason)
  }
}

function takeDue(queue: DueQueue<Target>, nowMs: number): Target | undefined {
  const { first } = queue
  if (first === undefined || first.dueAtMs > nowMs) return undefined
  queue.remove(first)
  return first
}
