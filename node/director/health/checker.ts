/**
 * When which real server is checked, and what this director thinks of it. The clock is the caller's: tick() starts what is due.
 *
 * First checks are spread over one interval and later ones vary by a tenth of it, so that neither all servers are asked at
 * once nor all directors ask one server in step. At most 64 checks run at a time; the longest due go first.
 */
import { serverKey } from '../../../forwarder/service.ts'
import type { DirectorConfig } from '../config.ts'
import { afterCheck, type HealthState, type RiseFall, UNCHECKED } from './rise-fall.ts'
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
  /** This director has changed its mind. `reason`: what the last check met with, if that was a failure. */
  onChange: (key: string, state: HealthState, reason: string | undefined) => void
}

interface Target extends CheckTarget {
  readonly key: string
  opinion: RiseFall
  dueAtMs: number
  running: AbortController | undefined
}

const RUNNING_MAX = 64
const JITTER = 0.1

export class Checker {
  readonly #options: CheckerOptions
  readonly #targets = new Map<string, Target>()
  #running = 0

  constructor(options: CheckerOptions) {
    this.#options = options
  }

  /** The whole list. What is known of targets that stay is kept. */
  setTargets(targets: readonly CheckTarget[], nowMs: number): void {
    const wanted = new Map(targets.map((target) => [serverKey(target), target]))
    for (const [key, target] of this.#targets) {
      if (wanted.has(key)) continue
      target.running?.abort()
      this.#targets.delete(key)
    }
    const { health, random } = this.#options
    for (const [key, { address, port }] of wanted) {
      if (this.#targets.has(key)) continue
      const dueAtMs = nowMs + random() * health.intervalMs
      this.#targets.set(key, { key, address, port, opinion: UNCHECKED, dueAtMs, running: undefined })
    }
  }

  /** Starts the checks that are due. */
  tick(nowMs: number): void {
    const due = [...this.#targets.values()].filter(({ running, dueAtMs }) => !running && dueAtMs <= nowMs)
    due.sort((a, b) => a.dueAtMs - b.dueAtMs)
    for (const target of due.slice(0, RUNNING_MAX - this.#running)) void this.#run(target, nowMs)
  }

  /** What this director thinks: key and state. */
  *opinions(): Iterable<[string, HealthState]> {
    for (const { key, opinion } of this.#targets.values()) yield [key, opinion.state]
  }

  /** Ends the checks that run, without an opinion. */
  stop(): void {
    for (const { running } of this.#targets.values()) running?.abort()
    this.#targets.clear()
  }

  async #run(target: Target, nowMs: number): Promise<void> {
    const { health, check, random, onChange } = this.#options
    target.running = new AbortController()
    target.dueAtMs = nowMs + health.intervalMs * (1 - JITTER + 2 * JITTER * random())
    this.#running++
    const result = await check(target.address, target.port, health.timeoutMs, target.running.signal)
    this.#running--
    target.running = undefined
    if (result.outcome === 'inconclusive' || this.#targets.get(target.key) !== target) return
    const before = target.opinion.state
    target.opinion = afterCheck(target.opinion, result.outcome === 'success', health.rise, health.fall)
    if (target.opinion.state === before) return
    onChange(target.key, target.opinion.state, result.outcome === 'failure' ? result.reason : undefined)
  }
}
