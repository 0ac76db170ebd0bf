/** The revisions that a peer's answer has, as far as it keeps to its bound. Whether they are true is history-exchange.ts's to say. */
import { startPace } from '../pace.ts'
import { answerValues } from './history-message.ts'
import type { Stamp } from './hybrid-logical-clock.ts'
import type { PoolEntry } from './pool-entry.ts'

/** Of what the revisions of an answer have replaced: the newest of them that fit are told. */
export const ANSWER_BYTES_MAX = 4 * 1024 * 1024
/** With the revisions themselves, and the keys where nothing was replaced. */
const TOLD_BYTES_MAX = 2 * ANSWER_BYTES_MAX

/** A revision as an answer has it. */
export interface ToldRevision {
  readonly before: string
  readonly stamp: Stamp
  readonly replaced: Map<string, PoolEntry | undefined>
}

/**
 * Newest first. The last may be incomplete, and then proves nothing.
 * @param messages not read behind the bound, or the first that is not understood
 */
export async function* revisionsIn(messages: Iterable<Uint8Array>): AsyncGenerator<ToldRevision> {
  const pace = startPace()
  let revision: ToldRevision | undefined
  let bytes = 0
  for (const message of messages) {
    const answer = answerValues(message)
    bytes += answer?.bytes ?? 0
    if (!answer || bytes > TOLD_BYTES_MAX) return
    for (const value of answer.values) {
      if (value.kind === 'revision') {
        if (revision) yield revision
        revision = { before: value.before, stamp: value.stamp, replaced: new Map() }
      } else {
        if (!revision || revision.replaced.has(value.key)) return
        revision.replaced.set(value.key, value.entry)
      }
      await pace()
    }
  }
  if (revision) yield revision
}
