/** What is read of a peer's answer about revisions: no more than its bound, whatever it says. */
import { test } from 'tap'
import { packEntry } from '../../../../node/director/pool/config-message.ts'
import { encodeAnswer, packRevision } from '../../../../node/director/pool/history-message.ts'
import type { PoolEntry } from '../../../../node/director/pool/pool-entry.ts'
import { ANSWER_BYTES_MAX, revisionsIn } from '../../../../node/director/pool/told-revisions.ts'

const stamp = { wallMs: 1, counter: 0, director: 'b' }

/** Of revisions that each replaced so many entries, which are long and take few bytes on their way. */
async function answerOf(revisions: number, replaced: number): Promise<Uint8Array[]> {
  async function* values() {
    for (let revision = 0; revision < revisions; revision++) {
      yield packRevision('before', { ...stamp, counter: revision })
      for (let port = 0; port < replaced; port++) {
        const service = { protocol: 'tcp' as const, address: '10.0.0.1', port, scheduler: 'rr', servers: [] }
        yield packEntry({ kind: 'service', stamp, service, later: 'a'.repeat(1_000_000) } as PoolEntry)
      }
    }
  }
  return Array.fromAsync(encodeAnswer(values()))
}

test('of an answer no more is read than twice what is told, however much of one revision it has', async (t) => {
  const messages = await answerOf(1, 20)
  const read = { messages: 0 }
  const revisions = revisionsIn(
    messages.values().map((message) => {
      read.messages++
      return message
    }),
  )
  t.same(await Array.fromAsync(revisions), [], 'the revision is not complete')
  t.ok(read.messages <= 2 + (2 * ANSWER_BYTES_MAX) / 1_000_000, `${read.messages} of ${messages.length} were read`)
})

test('as much as is told is read whole', async (t) => {
  const revisions = await Array.fromAsync(revisionsIn(await answerOf(4, 1)))
  t.same(
    revisions.map(({ stamp, replaced }) => [stamp.counter, replaced.size]),
    [0, 1, 2, 3].map((counter) => [counter, 1]),
  )
})
