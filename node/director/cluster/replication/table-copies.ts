/**
 * Whose table this director copies, and when: the first one when it joins, later the table of whoever knows what it cannot hear any
 * more. One copy at a time; what was said while it is made comes in batches, as always.
 */
import type { Position } from '../../../../protocol/wire/presence.ts'
import type { Epoch } from '../../../../protocol/wire/record-batch.ts'
import type { RecordBlock } from '../../../../protocol/wire/record-block.ts'
import type { SyncMessage } from '../../../../protocol/wire/sync-message.ts'
import type { Clock } from '../../clock.ts'
import type { PeerName } from '../transport.ts'
import { AbsentSenders } from './absent-senders.ts'
import type { IncomingQueue } from './incoming-queue.ts'
import { decideJoin, type JoinDecision } from './join-decision.ts'
import { Restoration } from './restoration.ts'
import type { SenderView } from './sender-view.ts'
import { SnapshotClient } from './snapshot-client.ts'
import { START_GRACE_MS } from './sync-state.ts'
import { WantedTables } from './wanted-tables.ts'

export interface TableCopiesOptions {
  readonly self: PeerName
  readonly epoch: Epoch
  readonly views: ReadonlyMap<PeerName, SenderView>
  readonly clock: Clock
  /** A random number of 32 bits. */
  readonly random: () => number
  readonly incoming: IncomingQueue
  readonly send: (peer: PeerName, message: Uint8Array) => Promise<void>
  /** Gives a piece of a table to the forwarder. */
  readonly apply: (block: RecordBlock) => void
  /** What the director still knows from before its restart, if nobody knows better (restoration.ts). */
  readonly restore: () => Promise<Uint8Array | undefined>
  /** A copy is complete, or has failed. */
  readonly onEnd: (complete: boolean) => void
}

const FAILED_PAUSE_MS = 1000

export class TableCopies {
  readonly #options: TableCopiesOptions
  readonly #client: SnapshotClient
  readonly #restoration: Restoration
  readonly #wanted = new WantedTables()
  readonly #absent = new AbsentSenders()
  readonly #failedAt = new Map<PeerName, number>()
  #startedAt = 0
  #joined = false
  /** How many records the forwarder must have taken before the last copy is in its table. */
  #copiedEnd = 0

  constructor(options: TableCopiesOptions) {
    const { clock, random, send, apply, restore, incoming } = options
    this.#options = options
    this.#restoration = new Restoration({ clock, incoming, next: restore, apply, onEnd: () => options.onEnd(false) })
    this.#client = new SnapshotClient({
      clock,
      nextId: random,
      send: (peer, message) => void send(peer, message).catch(() => this.#client.peerLost(peer)),
      apply,
      isBusy: () => incoming.waitingBytes > 0,
      finished: (peer, positions) => this.#finished(peer, positions),
      failed: (peer) => {
        this.#failedAt.set(peer, clock.now())
        options.onEnd(false)
      },
    })
  }

  start(): void {
    this.#startedAt = this.#options.clock.now()
  }

  stop(): void {
    this.#restoration.stop()
  }

  /** Records of its own checkpoint that the forwarder has been given; undefined unless it is being read. */
  get restoring(): number | undefined {
    return this.#restoration.running
  }

  /** This director's table holds what the pool knows, but for what it misses by number. */
  get joined(): boolean {
    return this.#joined
  }

  get running(): SnapshotClient['running'] {
    return this.#client.running
  }

  /** Tables needed, and why. */
  get wanted(): ReadonlyMap<PeerName, string> {
    return this.#wanted.reasons
  }

  /** The forwarder has not yet taken all of the last copy. */
  get isUnderway(): boolean {
    return this.#options.incoming.taken < this.#copiedEnd
  }

  /** How far absent senders were followed. */
  absentPositions(): Position[] {
    return this.#absent.positions()
  }

  want(peer: PeerName, reason: string): void {
    this.#wanted.want(peer, reason)
  }

  /** Whether what the peer itself said will come with its table. */
  covers(peer: PeerName): boolean {
    return this.#wanted.covers(peer)
  }

  handle(from: PeerName, message: SyncMessage): void {
    this.#client.handle(from, message)
  }

  /** Goes on when the forwarder has taken what it was given. */
  resume(): void {
    this.#client.resume()
  }

  tick(): void {
    this.#client.tick()
  }

  peerFound(peer: PeerName): void {
    this.#failedAt.delete(peer)
  }

  peerLost(peer: PeerName): void {
    this.#client.peerLost(peer)
  }

  /** It is no peer any more, and stays known as one that is gone. */
  forget(view: SenderView): void {
    if (view.applied) this.#absent.note(view.applied)
    this.#wanted.delete(view.name)
    this.#failedAt.delete(view.name)
  }

  /** A message under this epoch has come. */
  meet(view: SenderView, epoch: Epoch): 'same' | 'new' | 'old' {
    const before = view.applied
    const met = view.meet(epoch)
    if (met === 'new' && before) this.#absent.note(before)
    return met
  }

  /** A sender under a new epoch. Returns true if a copy has told where it stood. */
  startOver(view: SenderView): boolean {
    this.#wanted.delete(view.name)
    const position = view.epoch === undefined ? undefined : this.#absent.take(view.epoch)
    if (!position) return false
    view.cover(position)
    return true
  }

  /** Joins, or begins the next copy that is needed. */
  act(): void {
    if (this.#client.running) return
    if (!this.#joined) {
      const decision = this.joinDecision()
      if (decision.kind === 'copy') {
        // Somebody has come who knows better than the checkpoint, if he stays.
        this.#restoration.pause()
        this.#take(decision.from)
      } else if (decision.kind === 'found') this.#found()
      return
    }
    const { views, epoch, clock } = this.#options
    for (const { peer, reason } of this.#absent.rescuers([...views.values()], epoch, clock.now()))
      this.#wanted.rescue(peer, reason)
    const next = [...this.#wanted.reasons.keys()].find(
      (peer) => views.get(peer)?.connected && !this.#hasJustFailed(peer),
    )
    if (next !== undefined) this.#take(next)
  }

  joinDecision(): JoinDecision {
    const { self, views, clock } = this.#options
    const reachable = [...views.values()]
      .filter(({ connected }) => connected)
      .map((view) => ({
        name: view.name,
        state: view.presence && (view.presence.inSync ? 'in-sync' : view.presence.joined ? 'joined' : 'newcomer'),
        avoided: this.#hasJustFailed(view.name),
      })) as Parameters<typeof decideJoin>[1]
    return decideJoin(self, reachable, views.size, clock.now() - this.#startedAt >= START_GRACE_MS)
  }

  /** Starts the pool with its own table: with what it still knows, or an empty one. */
  #found(): void {
    if (!this.#restoration.isOver) {
      this.#restoration.begin()
      return
    }
    this.#joined = true
    // Heard of, and lost again before its table could be copied.
    for (const { name, presence } of this.#options.views.values())
      if (presence?.joined) this.#wanted.want(name, `meets ${name} again, which was in the pool before`)
  }

  #take(peer: PeerName): void {
    const view = this.#options.views.get(peer)
    if (view?.presence) view.lostCovered = view.presence.lost
    this.#client.begin(peer)
  }

  #finished(peer: PeerName, positions: readonly Position[]): void {
    const views = [...this.#options.views.values()]
    this.#copiedEnd = this.#options.incoming.accepted
    const isFirst = !this.#joined
    const isOwn = this.#wanted.covers(peer)
    this.#wanted.delete(peer)
    if (isFirst) {
      this.#joined = true
      this.#restoration.stop()
      for (const view of views) {
        const isCovered = view.name === peer || positions.some((position) => position.epoch === view.epoch)
        if (view.presence?.joined && !isCovered)
          this.#wanted.want(view.name, `${peer} has not heard of ${view.name}, which was in the pool before`)
      }
    }
    for (const position of positions) {
      const view = views.find((candidate) => candidate.epoch === position.epoch)
      // Who can be asked sends again what is missing, ends of connections included; a table does not tell of those.
      if (view?.connected && !isFirst && !(isOwn && view.name === peer)) continue
      if (view) view.cover(position)
      else if (position.epoch !== this.#options.epoch) this.#absent.note(position)
    }
    this.#options.onEnd(true)
  }

  #hasJustFailed(peer: PeerName): boolean {
    const failedAt = this.#failedAt.get(peer)
    return failedAt !== undefined && this.#options.clock.now() - failedAt < FAILED_PAUSE_MS
  }
}
