/**
 * The locality-based schedulers as the kernel has them: a table by destination, and a timer that strikes every minute. The
 * timer starts with the first pick; every thirtieth stroke looks for what has expired.
 */
import type { Flow, SchedulerContext } from '../../scheduler/scheduler.ts'
import type { ModelledServer } from './modelled-service.ts'
import { isFree, leastLoaded, overheadOf, RingModel } from './naive-models.ts'

abstract class LocalityModel<Entry extends { usedMs: number }> extends RingModel {
  protected readonly entries = new Map<string, Entry>()
  readonly #expirationMs: number
  #strikeMs: number | undefined
  #counter = 1

  constructor(expirationS: number) {
    super()
    this.#expirationMs = expirationS * 1000
  }

  protected strikeUntil(nowMs: number): void {
    this.#strikeMs ??= nowMs + 60_000
    for (; this.#strikeMs <= nowMs; this.#strikeMs += 60_000) {
      if (this.#counter++ % 30 !== 0) continue
      this.#counter = 1
      for (const [destination, { usedMs }] of this.entries) {
        if (this.#strikeMs >= usedMs + this.#expirationMs) this.entries.delete(destination)
      }
    }
  }

  protected least(): ModelledServer | undefined {
    return leastLoaded(this.available(), overheadOf)
  }

  protected isOverloaded(server: ModelledServer): boolean {
    const idle = this.servers().some((other) => other.activeConnections * 2 < other.weight)
    return idle && server.activeConnections > server.weight
  }
}

export class NaiveLocality extends LocalityModel<{ usedMs: number; server: ModelledServer }> {
  constructor({ settings }: SchedulerContext) {
    super(settings.lblcExpiration)
  }

  pick({ destination, nowMs }: Flow): ModelledServer | undefined {
    this.strikeUntil(nowMs)
    const entry = this.entries.get(destination.join())
    if (entry) entry.usedMs = nowMs
    if (entry && entry.server.weight > 0 && !this.isOverloaded(entry.server)) return entry.server
    const server = this.least()
    if (server) this.entries.set(destination.join(), { usedMs: nowMs, server })
    return server
  }
}

interface SetEntry {
  usedMs: number
  changedMs: number
  set: ModelledServer[]
}

export class NaiveReplicatedLocality extends LocalityModel<SetEntry> {
  readonly #setExpirationMs: number

  constructor({ settings }: SchedulerContext) {
    super(settings.lblcrExpiration)
    this.#setExpirationMs = settings.lblcrExpiration * 1000
  }

  pick({ destination, nowMs }: Flow): ModelledServer | undefined {
    this.strikeUntil(nowMs)
    const entry = this.entries.get(destination.join())
    if (!entry) {
      const server = this.least()
      if (server) this.entries.set(destination.join(), { usedMs: nowMs, changedMs: nowMs, set: [server] })
      return server
    }
    entry.usedMs = nowMs
    const own = leastLoaded(entry.set.filter(isFree), overheadOf)
    if (entry.set.length > 1 && nowMs > entry.changedMs + this.#setExpirationMs) this.#shrink(entry, nowMs)
    if (own && !this.isOverloaded(own)) return own
    const server = this.least()
    if (server && !entry.set.includes(server)) {
      entry.set.unshift(server)
      entry.changedMs = nowMs
      const listed = this.servers()
      // Ours, not the kernel's: a set is never larger than the list.
      if (entry.set.length > listed.length) entry.set = entry.set.filter((member) => listed.includes(member))
    }
    return server
  }

  /** The first of those whose load for its weight nobody exceeds leaves. */
  #shrink(entry: SetEntry, nowMs: number): void {
    const members = entry.set.filter(({ weight }) => weight > 0)
    const busiest = leastLoaded(members, (server) => -overheadOf(server))
    if (!busiest) return
    entry.set = entry.set.filter((member) => member !== busiest)
    entry.changedMs = nowMs
  }
}
