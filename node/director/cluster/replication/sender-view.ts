/**
 * What a director knows of one peer as a sender of records: what has come, what is missing, and how to apply what comes late.
 *
 * Batches are applied as they come, so that a lost one delays nothing and a crash finds all that has arrived in the table. The
 * price: a late batch speaks of the past. Versions settle that between two descriptions of a living connection, but not when
 * one of them is its end. So while numbers are missing the connections that later batches speak of are remembered, and a late
 * batch does not speak of those again.
 */
import { RECORD_LENGTH } from '../../../../protocol/wire/connection-record.ts'
import { isReadable } from '../../../../protocol/wire/format-version.ts'
import type { AppliedPosition, Position, Presence } from '../../../../protocol/wire/presence.ts'
import type { Epoch, RecordBatch } from '../../../../protocol/wire/record-batch.ts'
import { filterBlock, type RecordBlock } from '../../../../protocol/wire/record-block.ts'
import type { SequenceRange } from '../../../../protocol/wire/sync-message.ts'
import { connectionKey } from './connection-key.ts'
import { SequenceTracker } from './sequence-tracker.ts'

/** Beyond this many a late record is applied under the rule of versions alone. */
const MAX_REMEMBERED = 2 ** 18
const MAX_RETIRED = 16
/** Gossip may deliver two batches in the wrong order; a question before that would be idle. */
const REORDER_GRACE_MS = 10
/** Without progress for this long the question is put again. */
const ASK_AGAIN_MS = 250
/** Numbers asked for at once: 4 MiB of full batches. */
const ASK_LIMIT = 256
const ASK_RANGES = 64
/**
 * What answers us after a cut may be no older than this: twice what healthy peers need, who say something every 200 ms. One that comes later
 * has waited on its way, and behind it more of what its sender has told since.
 */
const OLDEST_ANSWER_MS = 400
/** What is sent so long after a cut has nothing of its time before it: TCP ends a connection that is silent for 1.5 s (libp2p-transport.ts). Then a peer is just slow. */
const CUT_IS_OVER_MS = 2000

export class SenderView {
  readonly name: string
  connected = false
  /** In which it has last spoken (protocol/wire/format-version.ts). */
  formatVersion: number | undefined
  /** Messages of it that cannot be read here, since the start. */
  unreadableMessages = 0
  /** Since when what it says counts: it was connected then, or we had stood still. */
  heardFrom = 0
  presence: Presence | undefined
  presenceAt = 0
  /** When its last presence came that answers one of ours, which was sent after `heardFrom`; the first of them in time. */
  #answeredAt = 0
  /** How many of the sender's lost records we have made good by a snapshot. */
  lostCovered = 0
  #tracker: SequenceTracker | undefined
  /** Its records that the tables of others had, which may lie beyond batches that nobody has: no number tells of them here. */
  #coveredRecords = 0
  readonly #retired: Epoch[] = []
  readonly #remembered = new Map<string, number>()
  readonly #record = new Uint8Array(RECORD_LENGTH)
  #askedAt = 0
  #askedTo = 0
  #catchUpTo = 0
  /** The last batch of which the sender waits to hear that it has come. */
  #awaited = 0

  constructor(name: string) {
    this.name = name
  }

  /** It speaks, but has said nothing yet that is read here. */
  get isUnreadable(): boolean {
    const isHeard = this.presence !== undefined && this.presenceAt >= this.heardFrom
    return !isHeard && this.formatVersion !== undefined && !isReadable(this.formatVersion)
  }

  get epoch(): Epoch | undefined {
    return this.#tracker?.epoch
  }

  get recordsBehind(): number {
    return this.#tracker?.recordsBehind ?? 0
  }

  get missingSince(): number | undefined {
    return this.#tracker?.missingSince
  }

  get applied(): AppliedPosition | undefined {
    const tracker = this.#tracker
    if (!tracker) return undefined
    const { epoch, sequence } = tracker
    const records = Math.max(tracker.records, this.#coveredRecords)
    return { epoch, sequence, records, heardMs: this.presence?.sentAtMs ?? 0 }
  }

  /**
   * The sender speaks under this epoch.
   * @returns 'same', 'new' when it has restarted or is heard for the first time, or 'old' when it is from before its restart
   */
  meet(epoch: Epoch): 'same' | 'new' | 'old' {
    if (this.#tracker?.epoch === epoch) return 'same'
    if (this.#retired.includes(epoch)) return 'old'
    if (this.#tracker) this.#retired.push(this.#tracker.epoch)
    if (this.#retired.length > MAX_RETIRED) this.#retired.shift()
    this.#tracker = new SequenceTracker(epoch)
    this.#coveredRecords = 0
    this.#remembered.clear()
    this.presence = undefined
    this.lostCovered = 0
    this.#askedTo = 0
    this.#catchUpTo = 0
    this.#awaited = 0
    return 'new'
  }

  /** What is to be applied of a batch; undefined: it has come before, or cannot be taken. The epoch has been met. */
  accept(batch: RecordBatch, now: number): RecordBlock | undefined {
    const tracker = this.#tracker as SequenceTracker
    const { sequence, recordsBefore, block } = batch
    switch (tracker.accept({ sequence, recordsBefore, count: block.count }, now)) {
      case 'next':
        return block
      case 'early':
        this.#remember(sequence, block)
        return block
      case 'late': {
        this.#askedAt = now
        const kept = filterBlock(block, (record) => (this.#remembered.get(connectionKey(record, 0)) ?? 0) < sequence)
        if (tracker.hasHoles) this.#remember(sequence, kept)
        else this.#remembered.clear()
        return kept
      }
      default:
        return undefined
    }
  }

  /** After accept(): up to which batch everything has come, if the sender waits to hear of that one. */
  confirmation({ sequence, isAwaited }: RecordBatch): number | undefined {
    if (isAwaited) this.#awaited = Math.max(this.#awaited, sequence)
    const applied = this.#tracker?.sequence ?? 0
    if (this.#awaited === 0 || applied < sequence) return undefined
    if (applied >= this.#awaited) this.#awaited = 0
    return applied
  }

  /** Up to which batch it has said that it has all of ours; 0: none. */
  confirmed(epoch: Epoch): number {
    return this.presence?.applied.find((position) => position.epoch === epoch)?.sequence ?? 0
  }

  /** It has heard us since `heardFrom`, and said so soon: what comes is no more what had waited on the way, and both ways are open. */
  get isAnswered(): boolean {
    return this.#answeredAt >= this.heardFrom
  }

  /** It has answered since `heardFrom`, and what it had sent by then has come. */
  get isCaughtUp(): boolean {
    return this.isAnswered && (this.#tracker?.sequence ?? 0) >= this.#catchUpTo
  }

  /** @param self this director's epoch, under which the peer says what it has heard of us */
  announce(presence: Presence, now: number, self: Epoch): void {
    const wasAnswered = this.presence !== undefined && this.isAnswered
    const heardMs = presence.applied.find(({ epoch }) => epoch === self)?.heardMs ?? 0
    // One that says nothing of it has not met us before, or speaks as directors once did.
    const sinceCutMs = (heardMs - Math.floor(this.heardFrom)) | 0
    const isInTime =
      wasAnswered || ((Math.floor(now) - heardMs) | 0) <= OLDEST_ANSWER_MS || sinceCutMs >= CUT_IS_OVER_MS
    if (heardMs === 0 || (sinceCutMs >= 0 && isInTime)) this.#answeredAt = now
    if (!wasAnswered) this.#catchUpTo = presence.sequence
    this.presence = presence
    this.presenceAt = now
    this.#tracker?.announce(presence.sequence, presence.records, now)
  }

  /** A snapshot holds everything up to this position, and as many records. */
  cover(position: Position): void {
    if (this.#tracker?.epoch !== position.epoch) return
    this.#coveredRecords = Math.max(this.#coveredRecords, position.records)
    this.#tracker.advanceTo(position.sequence, position.records)
    if (!this.#tracker.hasHoles) this.#remembered.clear()
  }

  /** The numbers to ask the sender for now; empty: nothing, or an answer is still expected. */
  ask(now: number): SequenceRange[] {
    const tracker = this.#tracker
    if (!tracker || !this.connected || tracker.epoch !== this.presence?.epoch) return []
    if (tracker.sequence < this.#askedTo && now - this.#askedAt < ASK_AGAIN_MS) return []
    const ranges = tracker.missing(now, REORDER_GRACE_MS, ASK_LIMIT).slice(0, ASK_RANGES)
    const last = ranges.at(-1)
    if (last) {
      this.#askedAt = now
      this.#askedTo = last.to
    }
    return ranges
  }

  #remember(sequence: number, block: RecordBlock): void {
    for (let i = 0; i < block.count && this.#remembered.size < MAX_REMEMBERED; i++) {
      block.read(i, this.#record, 0)
      this.#remembered.set(connectionKey(this.#record, 0), sequence)
    }
  }
}
