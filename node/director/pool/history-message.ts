/**
 * How a director asks a peer for the revisions that it has not, and is answered (topic 'config', beside config-message.ts).
 *
 * ```
 *  0         1        2
 * +---------+--------+-----------------------------------------------------------+
 * | version | kind   | 4: the question, a msgpack map                            |
 * |    1    |        |    {revision, before, have: [{id, stamp}]}, newest first  |
 * +---------+--------+--------+--------------------------------------------------+
 * | version | kind   | isLast | 5: msgpack values one after the other, deflated: |
 * |    1    |        |   0, 1 |    of each revision, newest first, a map         |
 * |         |        |        |    {before, stamp}, and of each thing it changed |
 * |         |        |        |    the entry that was there, or its key: none    |
 * +---------+--------+--------+--------------------------------------------------+
 * ```
 * Version rule: as in config-message.ts. Fields of maps that this version does not know are passed over, but for those of entries.
 */
import { deflateRawSync } from 'node:zlib'
import { z } from 'zod'
import { pack, unpack } from '../../../protocol/message-pack.ts'
import { MAX_MESSAGE_BYTES } from '../cluster/transport.ts'
import { BATCH_BYTES, inflateEach, isTellable, readEntry, VERSION } from './config-message.ts'
import type { Stamp } from './hybrid-logical-clock.ts'
import { entryKey, isMembership, MARKS_KEY, type PoolEntry, SETTINGS_KEY, stampSchema } from './pool-entry.ts'
import { REVISIONS_MAX } from './revision-history.ts'

const QUESTION = 4
const ANSWER = 5
const QUESTION_HEADER_BYTES = 2
const ANSWER_HEADER_BYTES = 3
/** Of a revision's name; a later version may have longer ones. */
const NAME_MAX = 64
/** Of an entry. */
const KEY_MAX = 128

const name = z.string().max(NAME_MAX)
const stamp = z.object(stampSchema.shape)
const questionSchema = z.object({
  /** In force at the sender. */
  revision: name,
  /** What was there before the oldest of those that it has. */
  before: name,
  have: z.array(z.object({ id: name, stamp })).max(REVISIONS_MAX),
})
export type HistoryQuestion = z.infer<typeof questionSchema>

const headSchema = z.object({ before: name, stamp })
const keySchema = z
  .string()
  .max(KEY_MAX)
  .refine((key) => key === SETTINGS_KEY || key === MARKS_KEY || key.startsWith('service/'))

/** What an answer consists of. */
export type HistoryValue =
  | { readonly kind: 'revision'; readonly before: string; readonly stamp: Stamp }
  | { readonly kind: 'replaced'; readonly key: string; readonly entry: PoolEntry | undefined }

export type HistoryMessage =
  | { readonly kind: 'question'; readonly question: HistoryQuestion }
  | { readonly kind: 'answer'; readonly isLast: boolean }

export function isAboutHistory([version, kind]: Uint8Array): boolean {
  return version === VERSION && (kind === QUESTION || kind === ANSWER)
}

export function encodeQuestion(question: HistoryQuestion): Uint8Array {
  return Buffer.concat([Uint8Array.of(VERSION, QUESTION), pack(question)])
}

/** @param values as packRevision() and, for what was replaced, the store has them */
export async function* encodeAnswer(values: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let batch: Uint8Array[] = []
  let bytes = 0
  for await (const value of values) {
    if (batch.length > 0 && bytes + value.length > BATCH_BYTES) {
      yield toMessage(batch, false)
      batch = []
      bytes = 0
    }
    batch.push(value)
    bytes += value.length
  }
  yield toMessage(batch, true)
}

export function packRevision(before: string, { wallMs, counter, director }: Stamp): Uint8Array {
  return pack({ before, stamp: { wallMs, counter, director } })
}

/** What an answer consists of is read when all of it is there. @returns undefined for what is no message of this version */
export function decodeHistoryMessage(message: Uint8Array): HistoryMessage | undefined {
  if (!isAboutHistory(message) || message.length > MAX_MESSAGE_BYTES) return undefined
  const [, kind, isLast] = message
  if (kind === ANSWER) return isLast > 1 || isLast === undefined ? undefined : { kind: 'answer', isLast: isLast === 1 }
  try {
    const question = questionSchema.safeParse(unpack(message.subarray(QUESTION_HEADER_BYTES))).data
    return question && { kind: 'question', question }
  } catch {
    return undefined
  }
}

/** Of one message of an answer, with how many bytes they have; undefined if one of them is nothing that this version understands. */
export function answerValues(message: Uint8Array): { values: HistoryValue[]; bytes: number } | undefined {
  const values: HistoryValue[] = []
  let isSound = true
  let bytes: number
  try {
    bytes = inflateEach(message.subarray(ANSWER_HEADER_BYTES), (value) => {
      const read = readValue(value)
      if (read) values.push(read)
      else isSound = false
      return isSound
    })
  } catch {
    return undefined
  }
  return isSound ? { values, bytes } : undefined
}

function readValue(value: unknown): HistoryValue | undefined {
  if (typeof value === 'string') {
    const key = keySchema.safeParse(value).data
    return key === undefined ? undefined : { kind: 'replaced', key, entry: undefined }
  }
  const entry = readEntry(value)
  // To go back must let nobody in again, and what was gone back to must be tellable.
  if (entry)
    return isMembership(entry) || !isTellable(entry) ? undefined : { kind: 'replaced', key: entryKey(entry), entry }
  const head = headSchema.safeParse(value).data
  return head && { kind: 'revision', ...head }
}

function toMessage(values: readonly Uint8Array[], isLast: boolean): Uint8Array {
  return Buffer.concat([Uint8Array.of(VERSION, ANSWER, isLast ? 1 : 0), deflateRawSync(Buffer.concat(values))])
}
