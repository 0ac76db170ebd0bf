/**
 * Gives a peer a copy of the connection table, piece by piece, as fast as the peer takes it, while forwarding goes on.
 *
 * The header promises that the pieces contain every batch up to the positions it names. Batches that have come but that the
 * forwarder has not yet taken from its ring are not in the table: so their number is noted, and the walk over the table starts
 * when the forwarder has taken as many.
 */
import { RECORD_LENGTH, RECORDS_OF_PLACE_MAX } from '../../../../protocol/wire/connection-record.ts'
import type { Position } from '../../../../protocol/wire/presence.ts'
import { RecordBlockWriter, type RecordTails } from '../../../../protocol/wire/record-block.ts'
import { encodeSyncMessage, PIECE_HEADER_LENGTH, writePieceHeader } from '../../../../protocol/wire/sync-message.ts'
import { type Clock, sleep } from '../../clock.ts'
import type { PeerName } from '../transport.ts'

/** A connection table as a snapshot reads it, while the forwarder writes it. */
export interface ConnectionSource {
  /** Slots. */
  readonly capacity: number
  /**
   * Writes the connections in slots [from, from + count) as records of RECORD_LENGTH bytes.
   * @returns records written, at most RECORDS_OF_PLACE_MAX a slot
   */
  encodeRange(from: number, count: number, target: Uint8Array, offset: number): number
}

export interface SnapshotServerOptions {
  readonly source: ConnectionSource
  readonly clock: Clock
  readonly send: (peer: PeerName, message: Uint8Array) => Promise<void>
  /** What goes behind records. */
  readonly tails: RecordTails
  /** Undefined while this director has no complete table to give. */
  readonly positions: () => Position[] | undefined
  /** Records accepted for the forwarder, and records that it has taken. */
  readonly incoming: { readonly accepted: number; readonly taken: number }
}

const PIECE_BYTES = 48 * 1024
/** All that they can be fits into one piece, tails included. */
const SLOTS_PER_STEP = 32
/** Slots walked without giving the thread's other work a turn. */
const SLOTS_PER_TURN = 16 * 1024
const MAX_PIECES = 64
/** A forwarder that takes nothing for this long will not. */
const TAKE_LIMIT_MS = 2000

interface Question {
  readonly id: number
  readonly from: number
  readonly pieces: number
}

export class SnapshotServer {
  readonly #options: SnapshotServerOptions
  /** The latest question of each peer; an older one is not answered further. */
  readonly #serving = new Map<PeerName, Question>()
  /** Those that were answered until the peer could not be reached any more. */
  readonly #interrupted = new Map<PeerName, Question>()
  readonly #step = new Uint8Array(SLOTS_PER_STEP * RECORDS_OF_PLACE_MAX * RECORD_LENGTH)
  readonly #stepView = new DataView(this.#step.buffer)
  #isStopped = false

  constructor(options: SnapshotServerOptions) {
    this.#options = options
  }

  request(peer: PeerName, question: Question): void {
    this.#interrupted.delete(peer)
    this.#serving.set(peer, question)
    const isCurrent = () => this.#serving.get(peer) === question
    this.#serve(peer, question, isCurrent)
      .catch(() => {
        if (isCurrent()) this.#interrupted.set(peer, question)
      })
      .finally(() => {
        if (isCurrent()) this.#serving.delete(peer)
      })
  }

  /**
   * Answers from its beginning the question that was interrupted. A peer that was silent for a moment was taken for gone here, but knows
   * nothing of that and waits; one that was really away asks another question, and takes no answer to this one.
   */
  peerFound(peer: PeerName): void {
    const question = this.#interrupted.get(peer)
    if (question) this.request(peer, question)
  }

  /** It is no peer any more. */
  forget(peer: PeerName): void {
    this.#serving.delete(peer)
    this.#interrupted.delete(peer)
  }

  /** Whoever waits for the forwarder here, or asks from now on, is told to ask another. */
  stop(): void {
    this.#isStopped = true
    this.#serving.clear()
  }

  async #serve(peer: PeerName, question: Question, isCurrent: () => boolean) {
    const { send, source, clock, tails } = this.#options
    const { id } = question
    const positions = this.#isStopped ? undefined : this.#options.positions()
    if (!positions) return send(peer, encodeSyncMessage({ kind: 'snapshot-refused', id }))
    if (question.from === 0) {
      if (!(await this.#forwarderHasTakenAll(isCurrent)))
        return send(peer, encodeSyncMessage({ kind: 'snapshot-refused', id }))
      await send(peer, encodeSyncMessage({ kind: 'snapshot-header', id, slots: source.capacity, positions }))
    }
    let from = question.from
    for (let pieces = Math.min(question.pieces, MAX_PIECES); pieces > 0 && isCurrent(); pieces--) {
      const bytes = new Uint8Array(PIECE_BYTES)
      const writer = new RecordBlockWriter(bytes, PIECE_HEADER_LENGTH, tails)
      from = this.#walk(from, writer)
      const last = from >= source.capacity
      writer.finish()
      writePieceHeader(bytes, { id, next: from, last })
      await send(peer, bytes.subarray(0, writer.end))
      if (last) return
      await sleep(clock, 0)
    }
  }

  /** Fills the writer from slot `from` on; returns the first slot that is not in it. */
  #walk(from: number, writer: RecordBlockWriter): number {
    const { source } = this.#options
    const turn = Math.min(source.capacity, from + SLOTS_PER_TURN)
    let at = from
    while (at < turn) {
      const slots = Math.min(SLOTS_PER_STEP, source.capacity - at)
      const records = source.encodeRange(at, slots, this.#step, 0)
      let taken = 0
      while (taken < records && writer.add(this.#stepView, taken * RECORD_LENGTH)) taken++
      if (taken === records) at += slots
      // These slots come again in the next piece; a record that comes twice does no harm.
      else if (at > from) return at
      else writer.reset(true)
    }
    return at
  }

  async #forwarderHasTakenAll(isCurrent: () => boolean): Promise<boolean> {
    const { incoming, clock } = this.#options
    const { accepted } = incoming
    for (const until = clock.now() + TAKE_LIMIT_MS; incoming.taken < accepted; await sleep(clock, 1)) {
      if (clock.now() > until || !isCurrent()) return false
    }
    return true
  }
}
