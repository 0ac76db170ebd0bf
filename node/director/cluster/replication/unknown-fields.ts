/**
 * What peers of later versions say of connections and nobody here knows what it means: the ends of their records. They are kept beside the
 * connection table, whose entries have no room for them, and told on with every record of the connection, in batches, snapshots and pieces: so a later version finds its
 * fields again where only this one knew the connection meanwhile.
 *
 * The fields of a connection stay while it lives, whoever changes it. Where a record says nothing (zeros), they are as they were.
 */
import { isNewer, recordVersion } from '../../../../forwarder/table/record-codec.ts'
import { readInt32 } from '../../../../protocol/packet/bytes.ts'
import { RECORD, RECORD_CALL, RECORD_LENGTH, RECORD_REMOVE } from '../../../../protocol/wire/connection-record.ts'
import { type RecordBlock, type RecordTails, TAIL_LENGTH_MAX } from '../../../../protocol/wire/record-block.ts'
import { connectionKey } from './connection-key.ts'

/** Connections: some 60 MB, while later versions are in the pool. */
const CONNECTIONS_MAX = 2 ** 18

interface Kept {
  readonly tail: Uint8Array
  /** Of the record that has said it last. */
  readonly version: number
  /** Then the connection's time has run out, unless it is told of again. */
  readonly untilMs: number
}

export class UnknownFields implements RecordTails {
  /** Connections of which something had to be forgotten. */
  forgotten = 0
  readonly #now: () => number
  readonly #limit: number
  readonly #kept = new Map<string, Kept>()
  #length = 0
  readonly #record = new Uint8Array(RECORD_LENGTH)

  /**
   * @param now milliseconds
   * @param limit of connections; beyond it the fields of those that were told of longest ago go
   */
  constructor(now: () => number, limit: number = CONNECTIONS_MAX) {
    this.#now = now
    this.#limit = limit
  }

  /** Connections. */
  get size(): number {
    return this.#kept.size
  }

  get length(): number {
    return this.#kept.size === 0 ? 0 : this.#length
  }

  of(bytes: Uint8Array, at: number): Uint8Array | undefined {
    return this.#find(connectionKey(bytes, at))?.tail
  }

  /** Sees what a peer says of connections. */
  noteAll(block: RecordBlock): void {
    if (block.tailLength === 0 && this.#kept.size === 0) return
    for (let index = 0; index < block.count; index++) {
      block.read(index, this.#record, 0)
      this.note(this.#record, 0, block.tail(index))
    }
  }

  /** Sees a record, of RECORD_LENGTH bytes at `at`; one of this director itself has no tail. */
  note(bytes: Uint8Array, at: number, tail?: Uint8Array): void {
    if (bytes[at + RECORD.protocol] === RECORD_CALL || (!tail && this.#kept.size === 0)) return
    const key = connectionKey(bytes, at)
    const known = this.#find(key)
    const version = recordVersion(bytes, at)
    if (known && version !== 0 && isNewer(known.version, version)) return
    this.#kept.delete(key)
    if (bytes[at + RECORD.kind] === RECORD_REMOVE) return
    const said = tail?.some((byte) => byte !== 0) ? joined(tail, known?.tail) : known?.tail
    if (!said) return
    this.#length = Math.max(this.#length, said.length)
    const leftMs = readInt32(bytes, at + RECORD.timeoutMs) >>> 0
    // At the end of the map, where those are that were told of last.
    this.#kept.set(key, { tail: said, version, untilMs: this.#now() + leftMs })
    if (this.#kept.size > this.#limit) this.#forgetOldest()
  }

  #find(key: string): Kept | undefined {
    const kept = this.#kept.get(key)
    return kept && kept.untilMs >= this.#now() ? kept : undefined
  }

  #forgetOldest(): void {
    const [[key, { untilMs }]] = this.#kept
    if (untilMs >= this.#now()) this.forgotten++
    this.#kept.delete(key)
  }
}

/** A version that knows less of it says the beginning only. */
function joined(said: Uint8Array, known: Uint8Array | undefined): Uint8Array {
  const tail = new Uint8Array(Math.min(TAIL_LENGTH_MAX, Math.max(said.length, known?.length ?? 0)))
  if (known) tail.set(known)
  tail.set(said.subarray(0, tail.length))
  return tail
}
