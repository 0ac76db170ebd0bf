/**
 * The peers whose table a director needs, and why: for what the peer itself said and cannot say again, or for what another said that
 * is gone. Only in the first case does the table stand for the peer's own batches: a table does not tell of connections that ended.
 */
import type { PeerName } from '../transport.ts'

export class WantedTables {
  /** In words, by peer. */
  readonly reasons = new Map<PeerName, string>()
  readonly #rescuers = new Set<PeerName>()

  want(peer: PeerName, reason: string): void {
    this.reasons.set(peer, reason)
    this.#rescuers.delete(peer)
  }

  /** For what others said. */
  rescue(peer: PeerName, reason: string): void {
    if (this.reasons.has(peer)) return
    this.reasons.set(peer, reason)
    this.#rescuers.add(peer)
  }

  /** Whether what the peer itself said will come with its table. */
  covers(peer: PeerName): boolean {
    return this.reasons.has(peer) && !this.#rescuers.has(peer)
  }

  delete(peer: PeerName): void {
    this.reasons.delete(peer)
    this.#rescuers.delete(peer)
  }
}
