/**
 * Whether a director knows what it must before it takes addresses from another: the pool's connections, its configuration, and which servers
 * are dead. A director that has just come back has all three from its peers within milliseconds; until then it would refuse
 * connections of services it has not heard of, or give new ones to servers that are down, where another serves them well.
 *
 * Connections are waited for until they are there. The others are not waited for for ever: a peer of another version may never have the same
 * configuration, and a server that nobody can ask has no verdict. Only a director whose peers have configuration from
 * later than its clock says it is keeps out of the way for longer: it serves what was in force when its clock was last right.
 */
import type { SyncState } from './cluster/replication/sync-state.ts'
import type { PeerName } from './cluster/transport.ts'

/** A peer tells its digest every five seconds, and its opinions of servers every second, if it does not do so when it connects. */
const PATIENCE_MS = 10_000

export interface ReadinessParts {
  /** Of the connections. */
  readonly records: () => SyncState
  readonly connectedPeers: () => readonly PeerName[]
  /** A peer has had the same configuration since this director last had none. */
  readonly hasAgreed: () => boolean
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
  /** When peers were met; undefined: there are none. */
  #met: { readonly atMs: number; readonly refusedStamps: number } | undefined
  /** All has been there once since then. */
  #isInformed = false
  #wasInSync: boolean | undefined

  constructor(parts: ReadinessParts) {
    this.#parts = parts
  }

  /** As of now. To be asked often: time runs from when it is first asked with peers. */
  get state(): SyncState {
    const peers = this.#parts.connectedPeers()
    if (peers.length === 0) {
      this.#met = undefined
      this.#isInformed = false
    }
    const records = this.#parts.records()
    const missing = peers.length > 0 ? this.#missing(peers) : undefined
    const state = records.inSync && missing ? { inSync: false, reason: missing } : records
    if (state.inSync !== this.#wasInSync) {
      this.#wasInSync = state.inSync
      this.#parts.onChange(state)
    }
    return state
  }

  #missing(peers: readonly PeerName[]): string | undefined {
    if (this.#isInformed) return undefined
    const { hasAgreed, refusedStamps, isInformed, monotonicMs } = this.#parts
    this.#met ??= { atMs: monotonicMs(), refusedStamps: refusedStamps() }
    const isPatient = monotonicMs() - this.#met.atMs < PATIENCE_MS
    if (!hasAgreed()) {
      if (refusedStamps() > this.#met.refusedStamps)
        return 'peers have configuration from later than it is by the clock of this host: is that right?'
      if (isPatient) return 'has not the configuration of any peer yet'
    }
    if (isPatient && !isInformed(peers)) return 'does not know yet which servers its peers find dead'
    this.#isInformed = true
    return undefined
  }
}
