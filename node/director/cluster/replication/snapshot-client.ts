/**
 * Takes a snapshot from one peer: asks for a few pieces, applies them, and asks for more when the forwarder has taken them.
 */
import type { Position } from '../../../../protocol/wire/presence.ts'
import type { RecordBlock } from '../../../../protocol/wire/record-block.ts'
import { encodeSyncMessage, type SyncMessage } from '../../../../protocol/wire/sync-message.ts'
import type { Clock } from '../../clock.ts'
import type { PeerName } from '../transport.ts'

export interface SnapshotClientOptions {
  readonly clock: Clock
  /** Tells two questions of the same pair of directors apart; 32 bits. */
  readonly nextId: () => number
  readonly send: (peer: PeerName, message: Uint8Array) => void
  readonly apply: (block: RecordBlock) => void
  /** True while the forwarder has records waiting. */
  readonly isBusy: () => boolean
  readonly finished: (peer: PeerName, positions: readonly Position[]) => void
  readonly failed: (peer: PeerName) => void
}

interface Running {
  readonly peer: PeerName
  /** Of the last question. What still comes of an older one may lie behind pieces that were left. */
  id: number
  slots: number
  positions: readonly Position[] | undefined
  next: number
  /** Pieces asked for and not yet come. */
  expected: number
  records: number
  heardAt: number
}

/** 8 x 48 KiB are on the way at most. */
const PIECES_PER_REQUEST = 8
const SILENCE_LIMIT_MS = 3000

export class SnapshotClient {
  readonly #options: SnapshotClientOptions
  #running: Running | undefined

  constructor(options: SnapshotClientOptions) {
    this.#options = options
  }

  get running(): { peer: PeerName; records: number; fraction: number } | undefined {
    const running = this.#running
    if (!running) return undefined
    const fraction = running.slots === 0 ? 0 : running.next / running.slots
    return { peer: running.peer, records: running.records, fraction }
  }

  begin(peer: PeerName): void {
    this.#running = {
      peer,
      id: 0,
      slots: 0,
      positions: undefined,
      next: 0,
      expected: 0,
      records: 0,
      heardAt: 0,
    }
    this.#ask(this.#running)
  }

  handle(from: PeerName, message: SyncMessage): void {
    const running = this.#running
    if (!running || running.peer !== from || !('id' in message) || message.id !== running.id) return
    running.heardAt = this.#options.clock.now()
    switch (message.kind) {
      case 'snapshot-header':
        running.slots = message.slots
        // A question that is answered a second time: what came at first holds no more than was promised then.
        running.positions ??= message.positions
        break
      case 'snapshot-piece':
        this.#take(running, message)
        break
      case 'snapshot-refused':
        this.#fail(running)
    }
  }

  /** Goes on when the forwarder has taken what it was given. */
  resume(): void {
    const running = this.#running
    if (running?.positions && running.expected === 0 && !this.#options.isBusy()) this.#ask(running)
  }

  /** Gives up on a peer that does not answer. */
  tick(): void {
    const running = this.#running
    if (running && this.#options.clock.now() - running.heardAt > SILENCE_LIMIT_MS) this.#fail(running)
  }

  peerLost(peer: PeerName): void {
    if (this.#running?.peer === peer) this.#fail(this.#running)
  }

  #take(running: Running, piece: SyncMessage & { kind: 'snapshot-piece' }): void {
    const { positions } = running
    // The last piece of a table that has become shorter meanwhile (its ends are forgotten) ends where the one before it did.
    if (!positions || running.expected === 0 || piece.next < running.next) return
    running.expected--
    running.next = piece.next
    running.records += piece.block.count
    this.#options.apply(piece.block)
    if (piece.last) {
      this.#running = undefined
      this.#options.finished(running.peer, positions)
    } else this.resume()
  }

  #ask(running: Running): void {
    running.id = this.#options.nextId()
    running.expected = PIECES_PER_REQUEST
    running.heardAt = this.#options.clock.now()
    this.#options.send(
      running.peer,
      encodeSyncMessage({
        kind: 'snapshot-request',
        id: running.id,
        from: running.next,
        pieces: PIECES_PER_REQUEST,
      }),
    )
  }

  #fail(running: Running): void {
    this.#running = undefined
    this.#options.failed(running.peer)
  }
}
