/** Which peers have told their configuration, and whether it is the same as this director's. The clock is the caller's. */
import type { PeerName } from '../cluster/transport.ts'

export class Agreement {
  readonly #monotonicMs: () => number
  /** Of each peer that has told its digest: since when that has been another; undefined: it is the same. */
  readonly #differsSince = new Map<PeerName, number | undefined>()
  #agreedAtMs = Number.NEGATIVE_INFINITY
  #toldAtMs = Number.NEGATIVE_INFINITY

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs
  }

  compared(peer: PeerName, isSame: boolean): void {
    const now = this.#monotonicMs()
    this.#differsSince.set(peer, isSame ? undefined : (this.#differsSince.get(peer) ?? now))
    if (isSame) this.#agreedAtMs = now
  }

  /** All that a peer had when it connected is in force. */
  toldAll(): void {
    this.#toldAtMs = this.#monotonicMs()
  }

  /** A peer is connected no more. */
  forget(peer: PeerName): void {
    this.#differsSince.delete(peer)
  }

  /** When a peer was last known to have the same; -Infinity: never. */
  get agreedAtMs(): number {
    return this.#agreedAtMs
  }

  /** When this director last had all that a peer had; -Infinity: never. */
  get toldAtMs(): number {
    return Math.max(this.#toldAtMs, this.#agreedAtMs)
  }

  /** For how long the peer has told of another configuration, milliseconds; 0: it is the same; undefined: it has told nothing yet. */
  differsMs(peer: PeerName): number | undefined {
    if (!this.#differsSince.has(peer)) return undefined
    const since = this.#differsSince.get(peer)
    return since === undefined ? 0 : Math.round(this.#monotonicMs() - since)
  }
}
