/**
 * Compares this director's connection table with those of its peers, one after the other, all the time, and fetches what is other there.
 * Numbers find every batch that was lost (sender-view.ts); this finds what no number tells of: a record that the forwarder could
 * not take, a mistake of ours.
 *
 * A range that differs as it did before (lasting-differences.ts) is asked for; whoever is compared with does the same. A piece of a
 * table counts by the versions of its records, as any other, and the ends behind it as ends (ended-connections.ts).
 *
 * In a large table, where many connections come and go, each of few ranges would always look other than the peer's: such a table is divided
 * into more, and both walk at the same time.
 */
import { RECORD, RECORD_CALL, RECORD_UPSERT } from '../../../../protocol/wire/connection-record.ts'
import {
  type DigestMessage,
  encodeDigestMessage,
  type FinerPart,
  PART_WORDS,
  partsOf,
  RANGE_PIECE_HEADER_LENGTH,
  writeRangePieceHeader,
} from '../../../../protocol/wire/digest-message.ts'
import { type RecordBlock, RecordBlockWriter, type RecordTails } from '../../../../protocol/wire/record-block.ts'
import {
  coarseRanges,
  DIGEST_RANGES,
  differentRanges,
  MOST_DIGEST_RANGES,
  RANGE_WORDS,
  rangeOf,
  TableDigest,
} from '../../../../protocol/wire/table-digest.ts'
import type { Clock } from '../../clock.ts'
import type { PeerName } from '../transport.ts'
import { LASTS_MS, LastingDifferences } from './lasting-differences.ts'
import type { ConnectionSource } from './snapshot-server.ts'
import { walkTable } from './table-walk.ts'

export interface TableComparisonOptions {
  /** The connections, and the ends behind them. */
  readonly source: ConnectionSource
  /** What goes behind records. */
  readonly tails: RecordTails
  readonly clock: Clock
  /** The version that a change made now would have. */
  readonly versionNow: () => number
  readonly send: (peer: PeerName, message: Uint8Array) => Promise<void>
  /** Those who have a whole table, and are reached. */
  readonly peers: () => readonly PeerName[]
  readonly knowsFinerDigests: (peer: PeerName) => boolean
  /** Whether this director's own table is whole. */
  readonly isReady: () => boolean
  /** Whether it has all that the peers who are reached have said: what is on its way is no difference. */
  readonly isUpToDate: () => boolean
  readonly apply: (block: RecordBlock) => void
}

/** From one comparison to the next. */
const COMPARISON_MS = 1000
/** After a finer comparison who has asked waits so much longer than who has answered, whose turn it is: he has learned nothing. */
const TURN_MS = 250
/** Changes younger than this are still on their way: ticks of 128 ms, which versions count. */
const LAG_TICKS = 8
/** Walks for comparisons keep the thread busy for at most so great a part of the time. */
const SHARE = 1 / 6
/** A table is divided into more ranges than DIGEST_RANGES when it has more than that in each. */
const CONNECTIONS_A_RANGE = 16
/** The others are asked for after the next comparisons. */
const RANGES_AT_ONCE = 512
const PIECE_BYTES = 48 * 1024

interface Asked {
  readonly peer: PeerName
  readonly id: number
  /** For the second time, before its turn. */
  readonly isAgain: boolean
  /** Of the own table, when it has been walked. */
  digest: TableDigest | undefined
  /** The peer's, as far as it has come. */
  readonly answer: Uint32Array
  /** Where in it what has come begins. */
  readonly received: Set<number>
}

export class TableComparison {
  readonly counters = { tablesCompared: 0, rangesRepaired: 0 }
  readonly #options: TableComparisonOptions
  readonly #differences = new LastingDifferences(DIGEST_RANGES)
  /** Of finer digests, with so many ranges as those had that were compared last. */
  #finerDifferences = new LastingDifferences(DIGEST_RANGES)
  /** Into which the table is divided, when peers know that. */
  #ranges = DIGEST_RANGES
  /** How many ranges differed from a peer's, and had before, when they were last compared. */
  readonly #found = new Map<PeerName, number>()
  readonly #serving = new Set<PeerName>()
  #last: PeerName | undefined
  #asked: Asked | undefined
  /** Who is asked again before its turn. */
  #again: PeerName | undefined
  /** The range that was the last to be asked for. */
  #lastWanted = -1
  #id = 0
  #isWalking = false
  #restUntil = 0

  constructor(options: TableComparisonOptions) {
    this.#options = options
  }

  /** Ranges in which the peer's table was lastingly another when it was last compared; undefined: it was not yet. */
  differences(peer: PeerName): number | undefined {
    return this.#found.get(peer)
  }

  forget(peer: PeerName): void {
    this.#found.delete(peer)
    this.#differences.forget(peer)
    this.#finerDifferences.forget(peer)
  }

  /** Asks the next peer, if the last comparison was long enough ago. To be called several times a second. */
  async compare(): Promise<void> {
    const { peers, knowsFinerDigests, clock, versionNow } = this.#options
    if (clock.now() < this.#restUntil || !this.#mayWalk()) return
    const names = peers()
    if (names.length === 0) return
    const again = names.find((name) => name === this.#again)
    this.#again = undefined
    const peer = again ?? names[(names.indexOf(this.#last ?? '') + 1) % names.length]
    this.#last = peer
    const asOf = (versionNow() - LAG_TICKS) & 0xffff
    const began = clock.now()
    const ranges = knowsFinerDigests(peer) ? this.#ranges : DIGEST_RANGES
    const id = ++this.#id
    const answer = new Uint32Array(ranges * RANGE_WORDS)
    const asked: Asked = { peer, id, isAgain: again !== undefined, digest: undefined, answer, received: new Set() }
    this.#asked = asked
    if (isFine(answer)) this.#send(peer, { kind: 'finer-wanted', id, asOf, ranges })
    asked.digest = await this.#digest(asOf, ranges)
    this.#restUntil = Math.max(this.#restUntil, began + COMPARISON_MS)
    if (isFine(answer)) {
      this.#restUntil += TURN_MS
      this.#conclude(asked)
    } else this.#send(peer, { kind: 'digest', id, asOf, words: asked.digest.words })
  }

  receive(from: PeerName, message: DigestMessage): void {
    switch (message.kind) {
      case 'digest':
        void this.#answer(from, message)
        break
      case 'answer':
        this.#take(from, message.id, 0, message.words)
        break
      case 'finer-wanted':
        void this.#answerFinely(from, message)
        break
      case 'finer-part':
        this.#take(from, message.id, message.at, message.words)
        break
      case 'wanted':
        void this.#give(from, message)
        break
      case 'piece':
        if (this.#options.isReady()) this.#options.apply(message.block)
    }
  }

  /** An answer, or a part of one: the words of its digest from `at` on. */
  #take(from: PeerName, id: number, at: number, words: Uint32Array): void {
    const asked = this.#asked
    if (from !== asked?.peer || id !== asked.id || at + words.length > asked.answer.length) return
    asked.answer.set(words, at)
    asked.received.add(at)
    this.#conclude(asked)
  }

  /** When the own table has been walked and the peer's answer is whole. */
  #conclude(asked: Asked): void {
    const { peer, id, digest, answer, received, isAgain } = asked
    const parts = isFine(answer) ? answer.length / PART_WORDS : 1
    if (asked !== this.#asked || !digest || received.size < parts) return
    this.#asked = undefined
    const difference = digest.difference(answer)
    const wanted = this.#note(peer, difference)
    // Who has answered finely knows nothing of it.
    if (isFine(answer) && wanted.length > 0) void this.#give(peer, { id, ranges: wanted })
    if (!isAgain && differentRanges(difference).length > 0) this.#lookAgain(peer)
  }

  /** A large table is walked seldom. So that what has been seen to differ need not wait for that, it is looked at once more, soon. */
  #lookAgain(peer: PeerName): void {
    const now = this.#options.clock.now()
    if (this.#restUntil <= now + COMPARISON_MS) return
    this.#again = peer
    this.#restUntil = now + LASTS_MS
  }

  async #answer(from: PeerName, { id, asOf, words }: DigestMessage & { kind: 'digest' | 'answer' }): Promise<void> {
    if (!this.#mayWalk()) return
    const digest = await this.#digest(asOf, DIGEST_RANGES)
    this.#send(from, { kind: 'answer', id, asOf, words: digest.words })
    this.#note(from, digest.difference(words))
  }

  async #answerFinely(from: PeerName, { id, asOf, ranges }: Pick<FinerPart, 'id' | 'asOf' | 'ranges'>): Promise<void> {
    if (!this.#mayWalk()) return
    const { words } = await this.#digest(asOf, ranges)
    for (const part of partsOf(id, asOf, words)) this.#send(from, part)
  }

  #mayWalk(): boolean {
    const { isReady, isUpToDate } = this.#options
    return !this.#isWalking && isReady() && isUpToDate()
  }

  async #digest(asOf: number, ranges: number): Promise<TableDigest> {
    const { source, clock } = this.#options
    const digest = new TableDigest(asOf, ranges)
    let connections = 0
    this.#isWalking = true
    const busyMs = await walkTable(source, clock, (bytes, at) => {
      digest.add(bytes, at)
      if (bytes[at + RECORD.kind] === RECORD_UPSERT) connections++
      return true
    })
    this.#isWalking = false
    this.#restUntil = Math.max(this.#restUntil, clock.now() + busyMs / SHARE)
    this.#divide(connections)
    return digest
  }

  /** Into fewer ranges only when they are far too many: what is divided otherwise than before cannot be compared with what was seen then. */
  #divide(connections: number): void {
    const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, connections / CONNECTIONS_A_RANGE)))
    const ranges = Math.min(Math.max(wanted, DIGEST_RANGES), MOST_DIGEST_RANGES)
    if (ranges > this.#ranges || ranges * 4 <= this.#ranges) this.#ranges = ranges
  }

  /** @returns the ranges that the peer is asked for */
  #note(peer: PeerName, difference: Uint32Array): number[] {
    this.counters.tablesCompared++
    const differences = this.#differencesOf(difference.length / RANGE_WORDS)
    const lasting = coarseRanges(differences.note(peer, difference, this.#options.clock.now()))
    this.#found.set(peer, lasting.length)
    if (lasting.length === 0) return []
    // Those behind the last ones come first: a difference that cannot be repaired must not keep the others waiting.
    const next = Math.max(
      0,
      lasting.findIndex((range) => range > this.#lastWanted),
    )
    const wanted = [...lasting.slice(next), ...lasting.slice(0, next)].slice(0, RANGES_AT_ONCE)
    this.#lastWanted = wanted[wanted.length - 1]
    this.counters.rangesRepaired += wanted.length
    this.#send(peer, { kind: 'wanted', id: ++this.#id, ranges: wanted })
    return wanted
  }

  #differencesOf(ranges: number): LastingDifferences {
    if (ranges === DIGEST_RANGES) return this.#differences
    if (this.#finerDifferences.ranges !== ranges) this.#finerDifferences = new LastingDifferences(ranges)
    return this.#finerDifferences
  }

  /** One peer is given one answer at a time; who asks for more asks again. */
  async #give(
    peer: PeerName,
    { id, ranges }: Pick<DigestMessage & { kind: 'wanted' }, 'id' | 'ranges'>,
  ): Promise<void> {
    const { source, tails, clock, send, isReady } = this.#options
    if (!isReady() || this.#serving.has(peer)) return
    this.#serving.add(peer)
    const wanted = new Set(ranges)
    let bytes = new Uint8Array(PIECE_BYTES)
    let writer = new RecordBlockWriter(bytes, RANGE_PIECE_HEADER_LENGTH, tails)
    const flush = async () => {
      writer.finish()
      writeRangePieceHeader(bytes, id)
      await send(peer, bytes.subarray(0, writer.end))
      bytes = new Uint8Array(PIECE_BYTES)
      writer = new RecordBlockWriter(bytes, RANGE_PIECE_HEADER_LENGTH, tails)
    }
    let isWanted = false
    const take = (record: Uint8Array, at: number): boolean | Promise<boolean> => {
      // What describes a call follows its template.
      if (record[at + RECORD.protocol] !== RECORD_CALL) isWanted = wanted.has(rangeOf(record, at))
      if (!isWanted) return true
      const view = new DataView(record.buffer)
      if (writer.add(view, at)) return true
      return flush().then(() => writer.add(view, at))
    }
    try {
      await walkTable(source, clock, take)
      if (writer.count > 0) await flush()
    } catch {
      // The peer is gone, or does not keep up: it compares again.
    } finally {
      this.#serving.delete(peer)
    }
  }

  #send(peer: PeerName, message: Exclude<DigestMessage, { kind: 'piece' }>): void {
    this.#options.send(peer, encodeDigestMessage(message)).catch(() => {})
  }
}

/** Whether they are the words of a finer digest. */
function isFine(words: Uint32Array): boolean {
  return words.length > DIGEST_RANGES * RANGE_WORDS
}
