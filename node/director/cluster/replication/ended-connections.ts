/**
 * The connections that ended while a snapshot is being taken. A piece may have been read from the giver's table before the end,
 * and come after it; such a record must not bring the connection back.
 */
import { RECORD, RECORD_LENGTH, RECORD_REMOVE } from '../../../../protocol/wire/connection-record.ts'
import { filterBlock, type RecordBlock } from '../../../../protocol/wire/record-block.ts'
import { connectionKey } from './connection-key.ts'

/** One more than these could come back, until its timeout. */
const MAX_ENDED = 2 ** 18

export class EndedConnections {
  readonly #ended = new Set<string>()
  readonly #record = new Uint8Array(RECORD_LENGTH)
  #isWatching = false

  /** A snapshot begins. */
  watch(): void {
    this.#isWatching = true
  }

  /** It is over. */
  forget(): void {
    this.#isWatching = false
    this.#ended.clear()
  }

  /** Sees a record of RECORD_LENGTH bytes at `offset`. */
  note(bytes: Uint8Array, offset: number): void {
    if (this.#isWatching && bytes[offset + RECORD.kind] === RECORD_REMOVE && this.#ended.size < MAX_ENDED)
      this.#ended.add(connectionKey(bytes, offset))
  }

  noteAll(block: RecordBlock): void {
    if (!this.#isWatching) return
    for (let i = 0; i < block.count; i++) {
      block.read(i, this.#record, 0)
      this.note(this.#record, 0)
    }
  }

  /** What of a snapshot's piece still holds. */
  current(block: RecordBlock): RecordBlock {
    if (this.#ended.size === 0) return block
    return filterBlock(block, (record) => !this.#ended.has(connectionKey(record, 0)))
  }
}
