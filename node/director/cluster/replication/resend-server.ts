/**
 * Gives peers the batches that they missed and ask for by number, in order and no faster than they take them.
 */
import type { Epoch } from '../../../../protocol/wire/record-batch.ts'
import { encodeSyncMessage, type SequenceRange } from '../../../../protocol/wire/sync-message.ts'
import type { PeerName, Topic } from '../transport.ts'
import type { ResendBuffer } from './resend-buffer.ts'

export interface ResendServerOptions {
  readonly epoch: Epoch
  readonly sent: ResendBuffer
  readonly send: (peer: PeerName, topic: Topic, message: Uint8Array) => Promise<void>
}

export class ResendServer {
  readonly #options: ResendServerOptions
  /** The latest question of each peer that is being answered; it takes the place of an older one. */
  readonly #asked = new Map<PeerName, readonly SequenceRange[]>()
  #batchesResent = 0

  constructor(options: ResendServerOptions) {
    this.#options = options
  }

  get batchesResent(): number {
    return this.#batchesResent
  }

  request(peer: PeerName, ranges: readonly SequenceRange[]): void {
    const isServed = this.#asked.has(peer)
    this.#asked.set(peer, ranges)
    // A peer that goes away in the middle asks again when it is back.
    if (!isServed) void this.#serve(peer).catch(() => this.#asked.delete(peer))
  }

  async #serve(peer: PeerName): Promise<void> {
    for (let ranges = this.#asked.get(peer); ranges !== undefined; ) {
      await this.#give(peer, ranges)
      const newest = this.#asked.get(peer)
      if (newest === ranges) this.#asked.delete(peer)
      ranges = newest === ranges ? undefined : newest
    }
  }

  async #give(peer: PeerName, ranges: readonly SequenceRange[]): Promise<void> {
    const { epoch, sent, send } = this.#options
    if (ranges[0].from < sent.oldest)
      await send(peer, 'sync', encodeSyncMessage({ kind: 'resend-refused', epoch, oldest: sent.oldest }))
    for (const { from, to } of ranges) {
      for (let sequence = Math.max(from, sent.oldest); sequence <= to; sequence++) {
        const batch = sent.get(sequence)
        if (!batch || this.#asked.get(peer) !== ranges) break
        this.#batchesResent++
        await send(peer, 'connections', batch.bytes)
      }
    }
  }
}
