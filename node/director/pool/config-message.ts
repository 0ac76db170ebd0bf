/**
 * How directors tell each other of the pool's configuration (topic 'config').
 *
 * ```
 *  0         1        2
 * +---------+--------+-----------------------------------------------------------+
 * | version | kind   | 1: entries, msgpack values one after the other, deflated  |
 * |    1    |        | 3: digest, 32 bytes                                       |
 * |         |        | 4 and 5: history-message.ts                               |
 * |         |        | 6: that was everything, empty                             |
 * +---------+--------+-----------------------------------------------------------+
 * ```
 * What does not fit into one message has, behind the entries of each, a map {telling, part, isLast} (tellings.ts). A version that does not
 * know it takes it for an entry that it does not understand, and the entries as they come.
 *
 * Version rule: another version or an unknown kind is not read. Fields are added to entries without a new version.
 *
 * Source: RFC 1951 (deflate: the fields' names repeat, so a message holds about five times as many servers).
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { z } from 'zod'
import { pack, unpack, unpackEach } from '../../../protocol/message-pack.ts'
import { MAX_MESSAGE_BYTES } from '../cluster/transport.ts'
import { type PoolEntry, poolEntrySchema } from './pool-entry.ts'
import { PARTS_MAX, type Part } from './tellings.ts'

export const DIGEST_BYTES = 32
export const VERSION = 1
const ENTRIES = 1
const DIGEST = 3
const END = 6
const HEADER_BYTES = 2
/** Entries are put together up to this size, which fits into a message even where nothing repeats. */
export const BATCH_BYTES = 48 * 1024
/** An entry that is longer than that, which comes alone or with the mark of a part. */
const INFLATED_BYTES_MAX = 1024 * 1024
const ALONE = 2
/** Of a message with more in it, which is read without a pause. Later versions may put more together. */
const TOGETHER_BYTES_MAX = 2 * BATCH_BYTES
const INVALID_ENTRIES_MAX = 100
/** Objects and lists within each other; an entry of this version has six. */
const NESTING_MAX = 32
/** In one value of raw bytes, which this version has none of: a later one's key or signature. */
const RAW_BYTES_MAX = 256

const TELLING_MAX = 64

const partSchema = z.looseObject({
  telling: z.string().max(TELLING_MAX),
  part: z
    .int()
    .min(0)
    .max(PARTS_MAX - 1),
  isLast: z.boolean(),
})
const LONGEST_PART: Part = { telling: '-'.repeat(TELLING_MAX), part: PARTS_MAX - 1, isLast: true }

export interface ConfigMessage {
  entries: PoolEntry[]
  /** Of the sender's whole configuration. */
  digest?: Uint8Array
  /** The sender has told all that it had when the receiver connected. */
  isEnd?: boolean
  /** Entries that were not what an entry must be. */
  invalidEntries: number
  /** Undefined: this message is all that is told. */
  part?: Part
}

export function packEntry(entry: PoolEntry): Uint8Array {
  return pack(entry)
}

/** The entry, or undefined when the bytes hold none. */
export function unpackEntry(bytes: Uint8Array): PoolEntry | undefined {
  try {
    return poolEntrySchema.safeParse(unpack(bytes)).data
  } catch {
    return undefined
  }
}

/** Whether a packed entry can be told to peers. */
export function fitsMessage(packed: Uint8Array): boolean {
  if (packed.length <= BATCH_BYTES) return true
  return packed.length <= INFLATED_BYTES_MAX && toMessage([packed, pack(LONGEST_PART)]).length <= MAX_MESSAGE_BYTES
}

/** Whether an entry that was heard can be told to others: it must not be in their way to all the rest. */
export function isTellable(entry: PoolEntry): boolean {
  try {
    return isPlain(entry) && fitsMessage(packEntry(entry))
  } catch {
    // What has fields with the names of methods, "toJSON" and "constructor", is not written again.
    return false
  }
}

/** What a peer says is an entry. */
export function readEntry(value: unknown): PoolEntry | undefined {
  return isPlain(value) ? poolEntrySchema.safeParse(value).data : undefined
}

/** To be asked before a schema: for that, a megabyte of raw bytes is an object of a million fields. */
function isPlain(value: unknown, levels = NESTING_MAX): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (value instanceof Uint8Array) return value.length <= RAW_BYTES_MAX
  return levels > 0 && Object.values(value).every((each) => isPlain(each, levels - 1))
}

/**
 * Messages of at most MAX_MESSAGE_BYTES, each made when it is asked for, from packed entries that each pass fitsMessage().
 * @param telling what tells this from what else the sender tells, in at most TELLING_MAX characters
 */
export function* encodeEntries(entries: Iterable<Uint8Array>, telling = ''): Generator<Uint8Array> {
  let batch: Uint8Array[] = []
  let bytes = 0
  let part = 0
  for (const packed of entries) {
    if (batch.length > 0 && bytes + packed.length > BATCH_BYTES) {
      yield toMessage([...batch, pack({ telling, part, isLast: false } satisfies Part)])
      part++
      batch = []
      bytes = 0
    }
    batch.push(packed)
    bytes += packed.length
  }
  if (part > 0) batch.push(pack({ telling, part, isLast: true } satisfies Part))
  if (batch.length > 0) yield toMessage(batch)
}

export function encodeDigest(digest: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(VERSION, DIGEST), digest])
}

export function encodeEnd(): Uint8Array {
  return Uint8Array.of(VERSION, END)
}

/** @returns undefined for what is no message of this version */
export function decodeConfigMessage(message: Uint8Array): ConfigMessage | undefined {
  const [version, kind] = message
  if (version !== VERSION || message.length > MAX_MESSAGE_BYTES) return undefined
  const body = message.subarray(HEADER_BYTES)
  const decoded: ConfigMessage = { entries: [], invalidEntries: 0 }
  if (kind === DIGEST && body.length === DIGEST_BYTES) return { ...decoded, digest: body }
  if (kind === END && body.length === 0) return { ...decoded, isEnd: true }
  if (kind !== ENTRIES) return undefined
  try {
    inflateEach(body, (value) => {
      const entry = readEntry(value)
      const part = entry || decoded.part || !isPlain(value) ? undefined : partSchema.safeParse(value).data
      if (entry) decoded.entries.push(entry)
      else if (part) decoded.part = part
      else decoded.invalidEntries++
      return decoded.invalidEntries < INVALID_ENTRIES_MAX
    })
  } catch {
    return undefined
  }
  return decoded
}

/**
 * The values of a message, one after the other.
 * @param take false: the rest is not read
 * @returns how many bytes all of them have
 * @throws Error at the first that is none, or one too many
 */
export function inflateEach(deflated: Uint8Array, take: (value: unknown) => boolean): number {
  const bytes = inflateRawSync(deflated, { maxOutputLength: INFLATED_BYTES_MAX })
  let values = 0
  unpackEach(bytes, (value) => {
    if (++values > ALONE && bytes.length > TOGETHER_BYTES_MAX) throw new RangeError('a message with too much in it')
    return take(value)
  })
  return bytes.length
}

function toMessage(packed: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([Uint8Array.of(VERSION, ENTRIES), deflateRawSync(Buffer.concat(packed))])
}
