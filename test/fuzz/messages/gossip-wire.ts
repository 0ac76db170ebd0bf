/**
 * The cluster network, from a peer that is one: connection records, presence, repair and comparisons, as they were said, damaged, and again. That
 * strangers are not heard at all is the transport's promise (test/compliance/transport.ts).
 */

import type { Topic } from '../../../node/director/cluster/transport.ts'
import { encodeDigestMessage, PART_WORDS, parseDigestMessage, partsOf } from '../../../protocol/wire/digest-message.ts'
import { parsePresence } from '../../../protocol/wire/presence.ts'
import { parseBatch } from '../../../protocol/wire/record-batch.ts'
import { parseSyncMessage } from '../../../protocol/wire/sync-message.ts'
import { MOST_DIGEST_RANGES } from '../../../protocol/wire/table-digest.ts'
import { type Director, Pool, writeSteadily } from '../../node/director/cluster/replication-pool.ts'
import type { Random } from '../../random.ts'
import { ANOTHER_SERIES, LATER_VERSION } from '../../support/accent.ts'
import { count, demand, mutated, oneOf, randomBytes, type Wire } from './wire.ts'

interface Said {
  readonly topic: Topic
  readonly message: Uint8Array
}

const TOPICS = ['connections', 'presence', 'sync', 'digest'] as const
const parsers = {
  connections: parseBatch,
  presence: parsePresence,
  sync: parseSyncMessage,
  digest: parseDigestMessage,
}
/** Of each topic; enough to have every kind. */
const SAMPLES_MAX = 200
const ROUND = 50
/** After so many rounds of lies a director is begun anew, so that there is one that still believes its peer. */
const ROUNDS_A_POOL = 100

export class GossipWire implements Wire {
  readonly outcomes = new Map<string, number>()
  #pool: Pool | undefined
  #said: Said[] = []
  #rounds = 0

  async bring(random: Random): Promise<number> {
    const round = this.#rounds++ % ROUNDS_A_POOL
    if (round === 0) await this.#begin()
    const director = this.#director
    for (let message = 0; message < ROUND; message++) {
      const topic = oneOf(random, TOPICS)
      const said = { topic, message: oneOf(random, this.#samplesOf(topic)) }
      // Replays and what is no message at all, first in each pool, where the truth is known; then anything.
      if (round < ROUNDS_A_POOL / 2) this.#harmless(random, said, director)
      else this.#hear(mutated(random, said.message, this.#samplesOf(said.topic)), said.topic)
    }
    await this.#pool?.clock.advance(random.below(20))
    demand(director.transport.counters.failedHandlers === 0, 'a handler threw')
    // Of the test's own forwarder.
    if (director.connections.size > 10_000) director.connections.clear()
    return ROUND
  }

  async close(): Promise<void> {
    this.#pool?.stop()
  }

  get #director(): Director {
    return this.#pool?.directors[0] as Director
  }

  async #begin(): Promise<void> {
    this.#pool?.stop()
    const pool = new Pool(['a', 'b'], { resendBytes: 2 ** 20 })
    this.#pool = pool
    this.#said = []
    await pool.start('b')
    await writeSteadily(pool, pool.directors[0], 0, 200, 5)
    const a = await pool.start('a')
    const member = pool.network.member('a')
    const deliver = member?.deliver.bind(member)
    if (!member || !deliver) throw new Error('a is not there')
    member.deliver = (topic, from, message) => {
      if (this.#samplesOf(topic).length < SAMPLES_MAX) this.#said.push({ topic, message: Uint8Array.from(message) })
      deliver(topic, from, message)
    }
    // Nobody says that of so small a table.
    const finer = [
      { kind: 'finer-wanted', id: 1, asOf: 0, ranges: MOST_DIGEST_RANGES } as const,
      ...partsOf(1, 0, new Uint32Array(2 * PART_WORDS).fill(1)),
    ]
    for (const message of finer) this.#said.push({ topic: 'digest', message: encodeDigestMessage(message) })
    pool.directors.reverse()
    await pool.untilInSync()
    const [, b] = pool.directors
    await writeSteadily(pool, b, 200, 1000, 5)
    for (let n = 0; n < 100; n++) b.end(n)
    b.flush()
    await pool.clock.advance(1000)
    demand(a.inSync && this.#said.length > 0, 'a pool of two came into sync')
  }

  #samplesOf(topic: Topic): Uint8Array[] {
    return this.#said.filter((said) => said.topic === topic).map(({ message }) => message)
  }

  #harmless(random: Random, { topic, message }: Said, director: Director): void {
    // What was said may be a message of ours, of another topic.
    const isSound = parsers[topic as (typeof TOPICS)[number]](message) !== undefined
    const drawn = oneOf(random, ['replay', 'later', 'cut', 'version', 'noise', 'topic'] as const)
    const attempt = drawn === 'later' && !isSound ? 'replay' : drawn
    const bytes = this.#attempt(random, attempt, message)
    const foreign = TOPICS.find((other) => other !== topic) as Topic
    const heardAs = attempt === 'topic' ? foreign : topic
    const isRead = parsers[heardAs as (typeof TOPICS)[number]](bytes) !== undefined
    if (attempt === 'later') demand(isRead, 'a later version was not read', bytes)
    else if (attempt !== 'replay') demand(!isRead || attempt === 'topic', `${attempt} was read`, bytes)
    const before = this.#state(director)
    this.#hear(bytes, heardAs)
    count(this.outcomes, attempt)
    // A digest's bytes may happen to be a presence: then a peer has said one.
    if (attempt === 'topic' && isRead) return
    // A question is answered again, and an answer that nobody waits for is passed over.
    demand(this.#state(director) === before, `${attempt} had an effect`, bytes)
  }

  #attempt(random: Random, attempt: string, message: Uint8Array): Uint8Array {
    switch (attempt) {
      case 'cut':
        return message.subarray(0, random.below(Math.min(message.length, 8)))
      case 'version':
        return message.map((byte, at) => (at === 0 ? ANOTHER_SERIES + random.below(256 - ANOTHER_SERIES) : byte))
      case 'later':
        return Uint8Array.of(
          LATER_VERSION + random.below(ANOTHER_SERIES - LATER_VERSION),
          ...message.subarray(1),
          ...randomBytes(random, random.below(9)),
        )
      case 'noise':
        return Uint8Array.of(0, ...randomBytes(random, random.below(300)))
      default:
        return message
    }
  }

  #hear(bytes: Uint8Array, topic: Topic): void {
    this.#pool?.network.member('a')?.deliver(topic, 'b', bytes)
    count(this.outcomes, topic)
  }

  #state({ replicator, connections }: Director): string {
    const { inSync, counters } = replicator.status()
    return JSON.stringify([inSync, counters.recordsApplied, counters.snapshotRecords, connections.size])
  }
}
