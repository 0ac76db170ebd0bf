/**
 * What the agents have said of each real server's address, and the factor that follows. The clock is the caller's.
 *
 * An address is forgotten when its agent has been silent for more than three of its intervals: its server is back at the
 * configured weight. So the book holds no more than the addresses of the agents that live. So it is when the key under which it was
 * last spoken for does not count any more.
 */
import type { AgentReport } from '../../../protocol/wire/agent-report.ts'
import { loadFactor, reportedLoad, smoothLoad, steadyFactor } from './load-factor.ts'

export interface ServerLoad {
  /** Smoothed, 0 to 1; null: no agent speaks for this address. */
  load: number | null
  /** 0.1 to 1; 1 without an agent. */
  factor: number
  reportAgeMs: number | null
  establishedConnections: number | null
}

interface Entry {
  load: number
  factor: number
  heardAtMs: number
  intervalMs: number
  establishedConnections: number
  /** Of the key under which this was said. */
  keyId: string
}

const SILENT_INTERVALS = 3
/** More addresses than any pool has; only a holder of the key could bring them up. */
const ADDRESSES_MAX = 16_384
const UNHEARD: ServerLoad = { load: null, factor: 1, reportAgeMs: null, establishedConnections: null }

export class LoadBook {
  readonly #entries = new Map<string, Entry>()
  readonly #onChange: (address: string, factor: number) => void

  /** @param onChange called when the factor of an address is another than before */
  constructor(onChange: (address: string, factor: number) => void) {
    this.#onChange = onChange
  }

  /** @returns false when the book is full and the report was for an address that is not in it */
  take(report: AgentReport, keyId: string, nowMs: number): boolean {
    const reported = reportedLoad(report)
    const { intervalMs, establishedConnections } = report
    let taken = true
    for (const address of report.addresses) {
      const before = this.#entries.get(address)
      if (!before && this.#entries.size >= ADDRESSES_MAX) {
        taken = false
        continue
      }
      const load = before ? smoothLoad(before.load, reported, nowMs - before.heardAtMs) : reported
      const inUse = before?.factor ?? 1
      const factor = steadyFactor(inUse, loadFactor(load))
      this.#entries.set(address, { load, factor, heardAtMs: nowMs, intervalMs, establishedConnections, keyId })
      if (factor !== inUse) this.#onChange(address, factor)
    }
    return taken
  }

  /** Forgets the silent. To be called now and then. */
  expire(nowMs: number): void {
    for (const [address, { factor, heardAtMs, intervalMs }] of this.#entries) {
      if (nowMs - heardAtMs <= SILENT_INTERVALS * intervalMs) continue
      this.#forget(address, factor)
    }
  }

  /** Forgets what was said under keys that do not speak for the address (any more). */
  retain(speaksFor: (keyId: string, address: string) => boolean): void {
    for (const [address, { factor, keyId }] of this.#entries) {
      if (!speaksFor(keyId, address)) this.#forget(address, factor)
    }
  }

  get(address: string, nowMs: number): ServerLoad {
    const entry = this.#entries.get(address)
    if (!entry) return UNHEARD
    const { load, factor, heardAtMs, establishedConnections } = entry
    return { load, factor, reportAgeMs: nowMs - heardAtMs, establishedConnections }
  }

  #forget(address: string, factor: number): void {
    this.#entries.delete(address)
    if (factor !== 1) this.#onChange(address, 1)
  }
}
