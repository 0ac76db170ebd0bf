/**
 * The connections that ended of late, and as of which version. A table that is given may have been read before an end, or be that of a
 * director that has not heard of it: an older version in it must not bring the connection back. And since a table does not tell of
 * ends, whoever gives his gives these behind it.
 *
 * What a director says in a batch counts whatever its version: it says so because packets have come, and its clock may be behind.
 */
import { isNewer, recordVersion } from '../../../../forwarder/table/record-codec.ts'
import { writeUint16 } from '../../../../protocol/packet/bytes.ts'
import { RECORD, RECORD_LENGTH, RECORD_REMOVE } from '../../../../protocol/wire/connection-record.ts'
import { filterBlock, type RecordBlock } from '../../../../protocol/wire/record-block.ts'
import { connectionKey, writeConnectionKey } from './connection-key.ts'
import type { ConnectionSource } from './snapshot-server.ts'

/** As long as a copy lives that nobody renews: TCP's longest timeout. Twice that is well within the turn of a version. */
const GENERATION_MS = 15 * 60_000
/** Of a generation; one more than these could come back, until its timeout. */
const MAX_ENDED = 2 ** 16

interface End {
  version: number
  /** Among the keys of its generation. */
  readonly place: number
}

interface Generation {
  readonly beganMs: number
  readonly ends: Map<string, End>
  /** By place, so that who walks over them misses none: an end stays where it is. Undefined where one has begun anew. */
  readonly keys: (string | undefined)[]
  /** Places that are used again. Where clients use their ports again, nearly all are. */
  readonly free: number[]
  /** How many of the names have a hash, so that most records are known at once not to be among them. */
  readonly hashes: Map<number, number>
}

export class EndedConnections {
  readonly #now: () => number
  /** The newer one is filled; the older one goes when it is full, or old. */
  #newer: Generation
  #older: Generation
  readonly #record = new Uint8Array(RECORD_LENGTH)

  /** @param now milliseconds */
  constructor(now: () => number) {
    this.#now = now
    this.#newer = createGeneration(now())
    this.#older = createGeneration(now())
  }

  /** A table as it is given: the connections first, and then these ends. */
  behind(table: ConnectionSource): ConnectionSource {
    const ended = this
    return {
      get capacity() {
        return table.capacity + ended.#older.keys.length + ended.#newer.keys.length
      },
      encodeRange(from, count, target, offset) {
        if (from === 0) ended.#age()
        // The table may grow meanwhile.
        const { capacity } = table
        const inTable = Math.max(0, Math.min(count, capacity - from))
        const written = inTable > 0 ? table.encodeRange(from, inTable, target, offset) : 0
        const place = from + inTable - capacity
        return written + ended.#encodeRange(place, count - inTable, target, offset + written * RECORD_LENGTH)
      },
    }
  }

  #encodeRange(from: number, count: number, target: Uint8Array, offset: number): number {
    const { keys } = this.#older
    let written = 0
    const end = Math.min(from + count, keys.length + this.#newer.keys.length)
    for (let place = from; place < end; place++) {
      const generation = place < keys.length ? this.#older : this.#newer
      const key = generation.keys[place < keys.length ? place : place - keys.length]
      if (key === undefined) continue
      const { version } = generation.ends.get(key) as End
      const at = offset + written * RECORD_LENGTH
      target.fill(0, at, at + RECORD_LENGTH)
      target[at + RECORD.kind] = RECORD_REMOVE
      writeUint16(target, at + RECORD.version, version)
      writeConnectionKey(key, target, at)
      written++
    }
    return written
  }

  /** Sees a record of a batch, of RECORD_LENGTH bytes at `offset`. */
  note(bytes: Uint8Array, offset: number): void {
    if (bytes[offset + RECORD.kind] === RECORD_REMOVE) {
      this.#remember(bytes, offset)
    } else if (this.#mayKnow(bytes, offset)) {
      const key = connectionKey(bytes, offset)
      const hash = hashOf(bytes, offset)
      forget(this.#newer, key, hash)
      forget(this.#older, key, hash)
    }
  }

  noteAll(block: RecordBlock): void {
    for (let i = 0; i < block.count; i++) {
      block.read(i, this.#record, 0)
      this.note(this.#record, 0)
    }
  }

  /** Sees a piece of a table that is given. @returns what of it still holds */
  takePiece(block: RecordBlock): RecordBlock {
    this.#age()
    for (let i = 0; i < block.count; i++) {
      block.read(i, this.#record, 0)
      if (this.#record[RECORD.kind] === RECORD_REMOVE) this.#remember(this.#record, 0)
    }
    return filterBlock(block, (record) => !this.#isOver(record))
  }

  #remember(bytes: Uint8Array, offset: number): void {
    this.#age()
    const key = connectionKey(bytes, offset)
    const version = recordVersion(bytes, offset)
    const { ends, keys, free, hashes } = this.#newer
    const known = ends.get(key)
    if (known) {
      if (isNewer(version, known.version)) known.version = version
      return
    }
    const place = free.pop() ?? keys.length
    keys[place] = key
    ends.set(key, { version, place })
    const hash = hashOf(bytes, offset)
    hashes.set(hash, (hashes.get(hash) ?? 0) + 1)
  }

  #mayKnow(bytes: Uint8Array, offset: number): boolean {
    if (this.#newer.hashes.size === 0 && this.#older.hashes.size === 0) return false
    const hash = hashOf(bytes, offset)
    return this.#newer.hashes.has(hash) || this.#older.hashes.has(hash)
  }

  #isOver(record: Uint8Array): boolean {
    if (record[RECORD.kind] === RECORD_REMOVE || !this.#mayKnow(record, 0)) return false
    const key = connectionKey(record, 0)
    const ended = (this.#newer.ends.get(key) ?? this.#older.ends.get(key))?.version
    const version = recordVersion(record, 0)
    // Of two changes under one version the one that lives counts (forwarder/engine/replication.ts).
    return ended !== undefined && version !== 0 && isNewer(ended, version)
  }

  /** An end must not be told of when its version has begun to look newer than those of today. */
  #age(): void {
    const now = this.#now()
    const age = now - this.#newer.beganMs
    if (age < GENERATION_MS && this.#newer.ends.size < MAX_ENDED) return
    this.#older = age < 2 * GENERATION_MS ? this.#newer : createGeneration(now)
    this.#newer = createGeneration(now)
  }
}

function createGeneration(beganMs: number): Generation {
  return { beganMs, ends: new Map(), keys: [], free: [], hashes: new Map() }
}

/** A connection has begun anew. */
function forget({ ends, keys, free, hashes }: Generation, key: string, hash: number): void {
  const end = ends.get(key)
  if (!end) return
  ends.delete(key)
  keys[end.place] = undefined
  free.push(end.place)
  const others = (hashes.get(hash) as number) - 1
  if (others > 0) hashes.set(hash, others)
  else hashes.delete(hash)
}

function hashOf(bytes: Uint8Array, offset: number): number {
  let hash = 0
  for (let i = RECORD.clientPort; i < RECORD.serverPort; i++) hash = Math.imul(hash ^ bytes[offset + i], 0x01000193)
  for (let i = RECORD.clientAddress; i < RECORD.serverAddress; i++)
    hash = Math.imul(hash ^ bytes[offset + i], 0x01000193)
  return hash
}
