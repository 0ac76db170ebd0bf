/**
 * Health of the real servers, as the director composes it: this director's TCP checks, and the verdict that follows from them
 * and from the peers' opinions.
 *
 * Each address:port that TCP services name is checked once, however many of them name it. A UDP port cannot be asked
 * whether it lives, nor all ports of a server together (port 0): servers that are only named so stay 'unknown', which means usable. Where
 * a TCP service names the same address:port, as with DNS over both, its verdict is the best that there is, and counts for all.
 *
 * While an interface of this director is at fault, its checks fail whatever the servers do: a failure then says nothing.
 */
import { monotonicMs } from '../../../forwarder/clock.ts'
import { serverKey } from '../../../forwarder/service.ts'
import type { PeerName } from '../cluster/transport.ts'
import type { DirectorConfig } from '../config.ts'
import { RareNotes } from '../rare-notes.ts'
import { Checker, type CheckTarget, type Target } from './checker.ts'
import { type HealthTransport, PoolHealth } from './pool-health.ts'
import type { HealthState } from './rise-fall.ts'
import { type Check, checkTcp } from './tcp-check.ts'

export interface HealthOptions {
  health: DirectorConfig['health']
  transport: HealthTransport
  /** The verdict on the real server "ADDRESS:PORT" is another than before. */
  onChange: (key: string, verdict: HealthState, before: HealthState) => void
  /** This director's own opinion has changed; for the log. */
  onOpinion?: (key: string, state: HealthState, reason: string | undefined) => void
  /** A line for the log: that servers cannot be checked, and why; at once, and then every ten minutes at most. */
  warn?: (message: string) => void
  check?: Check
  random?: () => number
  monotonicMs?: () => number
  wallClockMs?: () => number
}

const EVERY_PORT = 0

export class Health {
  readonly #monotonicMs: () => number
  readonly #tickEveryMs: number
  readonly #checker: Checker
  readonly #pool: PoolHealth
  readonly #servers = new Map<string, { readonly target: Target; uses: number }>()
  /** What is at fault, and why. */
  readonly #faults = new Map<string, string>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: HealthOptions) {
    const { health, transport, onChange, onOpinion, check = checkTcp, wallClockMs = Date.now } = options
    this.#monotonicMs = options.monotonicMs ?? monotonicMs
    const notes = new RareNotes({ now: this.#monotonicMs }, options.warn ?? (() => {}))
    // Fine enough that a check is late by a tenth of its interval at most, and that many checks are begun a few at a time.
    this.#tickEveryMs = Math.min(20, Math.max(5, health.intervalMs / 10))
    this.#pool = new PoolHealth({ transport, wallClockMs: wallClockMs(), monotonicMs: this.#monotonicMs, onChange })
    this.#checker = new Checker({
      health,
      check: async (...asked) => {
        const result = await check(...asked)
        const [fault] = this.#faults.values()
        return result.outcome === 'failure' && fault ? { outcome: 'inconclusive', reason: fault } : result
      },
      random: options.random ?? Math.random,
      onChange: (server, state, reason) => {
        const key = serverKey(server)
        onOpinion?.(key, state, reason)
        // Whatever keeps it from asking is hardly about one server alone.
        if (state === 'unknown') notes.tell('unasked', `${key}, and maybe others, cannot be checked: ${reason}`)
        this.#pool.setOwn(key, state)
      },
    })
  }

  start(): void {
    this.#timer ??= setInterval(() => this.tick(), this.#tickEveryMs)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#checker.stop()
  }

  /** An interface of this director, or an address that it needs, is at fault or (undefined) well again. */
  setFault(subject: string, fault: string | undefined): void {
    if (fault === undefined) this.#faults.delete(subject)
    else this.#faults.set(subject, fault)
  }

  /** A TCP service names a server. */
  use(server: CheckTarget): void {
    if (server.port === EVERY_PORT) return
    const key = serverKey(server)
    const known = this.#servers.get(key)
    if (known) {
      known.uses++
      return
    }
    this.#servers.set(key, { target: this.#checker.add(server, this.#monotonicMs()), uses: 1 })
    this.#pool.add(key)
  }

  /** It names it no more. What is known of a server that no service names is forgotten. */
  release(server: CheckTarget): void {
    const key = serverKey(server)
    const known = this.#servers.get(key)
    if (!known || --known.uses > 0) return
    this.#servers.delete(key)
    this.#checker.remove(known.target)
    this.#pool.remove(key)
  }

  /** The verdict on "ADDRESS:PORT"; 'unknown' also for a server that is not checked. */
  verdict(server: string): HealthState {
    return this.#pool.verdict(server)
  }

  /** Whether all that these peers know of the servers is known here, or of each server there is a verdict anyway. */
  isInformed(peers: readonly PeerName[]): boolean {
    return this.#pool.isInformed(peers)
  }

  /** A director is no peer any more: its opinions do not count. */
  forget(peer: PeerName): Promise<void> {
    return this.#pool.forget(peer)
  }

  /** Messages of peers that could not be decoded, such as of another version. */
  get unreadableMessages(): number {
    return this.#pool.unreadableMessages
  }

  /** Does what is due; runs by itself after start(). */
  tick(): void {
    this.#checker.tick(this.#monotonicMs())
    this.#pool.tick()
  }
}
