/**
 * Whether a director knows what it must before it takes addresses from another: the pool's connections, its configuration, and which servers
 * are dead. A director that has just come back has all three from its peers within milliseconds; until then it would refuse
 * connections of services it has not heard of, or give new ones to servers that are down, where another serves them well.
 *
 * Connections are waited for until they are there. The others are not waited for for ever: a peer of another version does not say that it
 * has told all, and a server that nobody can ask has no verdict. Only a director whose peers have configuration from later than
 * its clock says it is keeps out of the way for longer: it serves what was in force when its clock was last right.
 */
import type { SyncState } from './cluster/replication/sync-state.ts'
import type { PeerName } from './cluster/transport.ts'

/** A peer tells its digest every five seconds, and its opinions of servers every second, if it does not do so when it connects. */
const PATIENCE_MS = 10_000
/** Who was without peers for less than this has missed little, and is told that at once. */
const LONG_ALONE_MS = 10_000

export interface ReadinessParts {
  /** Of the connections. */
  readonly records: () => SyncState
  readonly connectedPeers: () => readonly PeerName[]
  /** When this director last had all of a peer's configuration, and when a peer last had the same; -Infinity: never. */
  readonly configuration: { readonly toldAtMs: number; readonly agreedAtMs: number }
  /** Entries refused so far for coming from the future. */
  readonly refusedStamps: () => number
  /** What these peers know of the servers' health is known. */
  readonly isInformed: (peers: readonly PeerName[]) => boolean
  readonly monotonicMs: () => number
  /** It is ready, or is not, other than before. */
  readonly onChange: (state: SyncState) => void
}

export class Readiness {
  readonly #parts: ReadinessParts
  /** When it was first seen without peers; undefined: it has some. */
  #aloneSinceMs: number | undefined
  /** What peers have told since then counts. */
  #countsFromMs = Number.NEGATIVE_INFINITY
  /** When peers were first seen of late, and what had been refused by then; undefined: there were none yet. */
  #met: { readonly atMs: number; readonly refusedStamps: number } | undefined
  #isReady = false
  #wasInSync: boolean | undefined

  constructor(parts: ReadinessParts) {
    this.#parts = parts
  }

  /** As of now. To be asked often: time runs from when it is first asked with peers. */
  get state(): SyncState {
    const peers = this.#parts.connectedPeers()
    this.#noteCompany(peers.length > 0, this.#parts.monotonicMs())
    const records = this.#parts.records()
    const missing = peers.length > 0 ? this.#missing(peers) : undefined
    const state = records.inSync && missing ? { inSync: false, reason: missing } : records
    if (state.inSync !== this.#wasInSync) {
      this.#wasInSync = state.inSync
      this.#parts.onChange(state)
    }
    return state
  }

  #noteCompany(hasPeers: boolean, nowMs: number): void {
    if (!hasPeers) this.#aloneSinceMs ??= nowMs
    else if (this.#aloneSinceMs !== undefined) {
      if (nowMs - this.#aloneSinceMs >= LONG_ALONE_MS) {
        this.#countsFromMs = this.#aloneSinceMs
        this.#met = undefined
        this.#isReady = false
      }
      this.#aloneSinceMs = undefined
    }
  }

  #missing(peers: readonly PeerName[]): string | undefined {
    if (this.#isReady) return undefined
    const { configuration, refusedStamps, isInformed, monotonicMs } = this.#parts
    this.#met ??= { atMs: monotonicMs(), refusedStamps: refusedStamps() }
    const counts = (atMs: number) => Number.isFinite(atMs) && atMs >= this.#countsFromMs
    if (!counts(configuration.agreedAtMs) && refusedStamps() > this.#met.refusedStamps)
      return 'peers have configuration from later than it is by the clock of this host: is that right?'
    if (monotonicMs() - this.#met.atMs < PATIENCE_MS) {
      if (!counts(configuration.toldAtMs)) return 'has not been told the configuration of a peer yet'
      if (!isInformed(peers)) return 'does not know yet which servers its peers find dead'
    }
    this.#isReady = true
    return undefined
  }
}
