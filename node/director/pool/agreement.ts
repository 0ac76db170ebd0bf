/** Whether the peers have the same configuration as this director, by the digests that they tell. The clock is the caller's. */
import type { PeerName } from '../cluster/transport.ts'

export class Agreement {
  readonly #monotonicMs: () => number
  /** Of each connected peer that has told its digest: since when that has been another; undefined: it is the same. */
  readonly #differsSince = new Map<PeerName, number | undefined>()
  #hasAgreed = false

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs
  }

  compared(peer: PeerName, isSame: boolean): void {
    const since = this.#differsSince.get(peer) ?? this.#monotonicMs()
    this.#differsSince.set(peer, isSame ? undefined : since)
    if (isSame) this.#hasAgreed = true
  }

  /** A peer is connected no more. */
  forget(peer: PeerName): void {
    this.#differsSince.delete(peer)
    if (this.#differsSince.size === 0) this.#hasAgreed = false
  }

  /** A peer has had the same since this director last had none. What has been changed since, all tell each other at once. */
  get hasAgreed(): boolean {
    return this.#hasAgreed
  }

  /** For how long the peer has told of another configuration, milliseconds; 0: it is the same; undefined: it has told nothing yet. */
  differsMs(peer: PeerName): number | undefined {
    if (!this.#differsSince.has(peer)) return undefined
    const since = this.#differsSince.get(peer)
    return since === undefined ? 0 : Math.round(this.#monotonicMs() - since)
  }
}
