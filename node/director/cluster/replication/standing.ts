/** Where this director stands among its peers: whether it is in sync, what it tells of itself, and what it shows of each peer. */
import type { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import { encodePresence, type Position } from '../../../../protocol/wire/presence.ts'
import type { Epoch } from '../../../../protocol/wire/record-batch.ts'
import type { Clock } from '../../clock.ts'
import type { PeerRecords } from '../../control/answers.ts'
import type { PeerName } from '../transport.ts'
import type { IncomingQueue } from './incoming-queue.ts'
import { describePeer } from './peer-status.ts'
import type { Placement } from './placement.ts'
import type { RecordSender } from './record-sender.ts'
import type { SenderView } from './sender-view.ts'
import { judgeSync, SYNC_LIMIT_MS, type SyncState } from './sync-state.ts'
import type { TableComparison } from './table-comparison.ts'
import type { TableCopies } from './table-copies.ts'

export interface StandingOptions {
  readonly epoch: Epoch
  readonly clock: Clock
  readonly outgoing: RecordRing
  readonly sender: RecordSender
  readonly incoming: IncomingQueue
  readonly placement: Placement
  readonly copies: TableCopies
  readonly comparison: TableComparison
  readonly views: ReadonlyMap<PeerName, SenderView>
  /** How often presence is told. */
  readonly presenceMs: number
  /** The forwarder is behind when it has more than this before it. */
  readonly behindBytes: number
}

export class Standing {
  readonly #options: StandingOptions
  /** A peer has been connected once. */
  #hadPeers = false
  /** When this director came to reach peers again, having reached none. */
  #regainedAt = Number.NEGATIVE_INFINITY

  constructor(options: StandingOptions) {
    this.#options = options
  }

  /** To be called before the peer's view says so. */
  peerFound(): void {
    const { clock, copies } = this.#options
    if (copies.joined && !this.#views().some(({ connected }) => connected)) this.#regainedAt = clock.now()
  }

  peerLost(): void {
    this.#hadPeers = true
  }

  syncState(): SyncState {
    const { clock, copies, incoming, placement, behindBytes } = this.#options
    return judgeSync({
      now: clock.now(),
      isJoined: copies.joined,
      joining: () => copies.joinDecision(),
      snapshot: copies.running,
      restoring: copies.restoring,
      wanted: copies.wanted,
      views: this.#views(),
      hadPeers: this.#hadPeers,
      regainedAt: this.#regainedAt,
      isFull: placement.isFull,
      isForwarderBehind: copies.isUnderway || incoming.waitingBytes > behindBytes,
    })
  }

  /** What the table holds of each sender, its own first. */
  positions(): Position[] {
    const { epoch, sender } = this.#options
    return [{ epoch, sequence: sender.sequence, records: sender.records }, ...this.#applied()]
  }

  /** The message. */
  presence(): Uint8Array {
    const { epoch, clock, outgoing, sender, placement, copies } = this.#options
    return encodePresence({
      epoch,
      sequence: sender.sequence,
      records: sender.records,
      joined: copies.joined,
      inSync: this.syncState().inSync,
      full: placement.isFull,
      lost: outgoing.lost,
      sentAtMs: clock.now(),
      applied: this.#applied(),
    })
  }

  peers(): PeerRecords[] {
    const { epoch, clock, sender, comparison, presenceMs } = this.#options
    const now = clock.now()
    return this.#views().map((view) => {
      // What went out since its last presence does not count, unless the peer has fallen silent.
      const heardAt = view.presence ? view.presenceAt : 0
      return describePeer(view, {
        now,
        epoch,
        sender,
        rangesDifferent: comparison.differences(view.name),
        confirmableUntil: Math.max(heardAt, now - 2 * presenceMs) - SYNC_LIMIT_MS,
      })
    })
  }

  #applied() {
    const absent = this.#options.copies.absentPositions().map((position) => ({ ...position, heardMs: 0 }))
    return [...this.#views().flatMap((view) => view.applied ?? []), ...absent]
  }

  #views(): SenderView[] {
    return [...this.#options.views.values()]
  }
}
