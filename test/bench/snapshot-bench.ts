/**
 * What it does to a director's forwarding loop that a newcomer takes a copy of its connection table. docs/benchmarks.md says what
 * the numbers mean.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'
import { setImmediate } from 'node:timers/promises'
import { allocateSharedState } from '../../forwarder/shared-state.ts'
import { TCP_ACK } from '../../protocol/packet/tcp.ts'
import { seededRandom } from '../random.ts'
import { type BenchDirector, withDirectors } from './bench-cluster.ts'
import { establish } from './engine-bench.ts'
import { BATCH, NumberedConnections, OUTSIDE_LINK } from './numbered-connections.ts'

export interface SnapshotResult {
  readonly connections: number
  /** Until the newcomer has its copy and is in sync. */
  readonly seconds: number
  /**
   * The longest that a batch of 64 packets of the giving director kept the next one waiting: with nothing beside it, and meanwhile.
   * Without what the loop waited for a core, of which three busy threads have two here.
   */
  readonly longestPauseMs: { readonly alone: number; readonly meanwhile: number }
}

const GIVER = 'd1'
const NEWCOMER = 'd2'
/** How long the loop goes on before this thread hears its messages. */
const TURN_MS = 5
const GIVE_UP_MS = 60_000

/** @param seconds for which the loop is watched with nothing beside it */
export async function measureSnapshot(connections: number, seconds: number): Promise<SnapshotResult> {
  const pool = new NumberedConnections('nat', 2 ** Math.ceil(Math.log2(connections + 1)), BATCH)
  establish(pool, connections)
  const { table, engine, outgoing, incoming } = pool.director
  const given = {
    table: table.memory.shared,
    directory: engine.services.directory.shared,
    outgoing: outgoing.shared,
    incoming: incoming.shared,
  }
  const memoryOf = (name: string) => (name === GIVER ? given : allocateSharedState(1024, 1))
  return await withDirectors([GIVER, NEWCOMER], measure, memoryOf)

  async function measure([giver, newcomer]: readonly BenchDirector[]): Promise<SnapshotResult> {
    const loop = new ForwardingLoop(pool, connections)
    let copied = 0
    const deadline = performance.now() + GIVE_UP_MS
    const whenSo = async (isSo: () => boolean) => {
      while (!isSo()) {
        if (performance.now() > deadline) throw new Error(`not within ${GIVE_UP_MS} ms: ${isSo}`)
        loop.run(TURN_MS)
        for (const director of [giver, newcomer]) {
          director.takeRecords(() => {
            if (director === newcomer) copied++
          })
        }
        await setImmediate()
      }
      return loop.takeLongestPause()
    }

    await giver.cluster.start()
    await whenSo(() => giver.cluster.status().joined)
    const aloneUntil = performance.now() + seconds * 1000
    const alone = await whenSo(() => performance.now() > aloneUntil)
    await startLast(() => newcomer.cluster.start())
    loop.takeLongestPause()
    const start = performance.now()
    const meanwhile = await whenSo(() => copied >= connections && newcomer.cluster.status().inSync)
    loop.close()
    return { connections, seconds: (performance.now() - start) / 1000, longestPauseMs: { alone, meanwhile } }
  }
}

/** A newcomer is another host: its thread, which has this thread's priority, is to take no core from the giver's two. */
function startLast(start: () => Promise<void>): Promise<void> {
  const ours = getPriority()
  setPriority(19)
  try {
    return start()
  } finally {
    setPriority(ours)
  }
}

/** Packets of established connections, chosen at random, batch after batch. */
class ForwardingLoop {
  readonly #pool: NumberedConnections
  readonly #connections: number
  readonly #random = seededRandom(1)
  readonly #schedule = openSync('/proc/self/schedstat', 'r')
  readonly #scheduleText = Buffer.alloc(64)
  #longestPauseMs = 0

  constructor(pool: NumberedConnections, connections: number) {
    this.#pool = pool
    this.#connections = connections
  }

  run(forMs: number): void {
    const start = performance.now()
    let last = start
    let lastWaited = this.#waitedMs()
    do {
      for (let slot = 0; slot < BATCH; slot++)
        this.#pool.putClientFrame(slot, this.#random.below(this.#connections), TCP_ACK)
      const transmitted = this.#pool.handleBatch(OUTSIDE_LINK, 0, BATCH)
      if (transmitted !== BATCH) throw new Error(`only ${transmitted} of ${BATCH} frames were forwarded`)
      const now = performance.now()
      const waited = this.#waitedMs()
      this.#longestPauseMs = Math.max(this.#longestPauseMs, now - last - (waited - lastWaited))
      last = now
      lastWaited = waited
    } while (last - start < forMs)
  }

  close(): void {
    closeSync(this.#schedule)
  }

  /** For how long this thread has been ready to run, and another ran: proc(5), the second number of schedstat, in nanoseconds. */
  #waitedMs(): number {
    const length = readSync(this.#schedule, this.#scheduleText, 0, this.#scheduleText.length, 0)
    return Number(this.#scheduleText.toString('latin1', 0, length).split(' ')[1]) / 1e6
  }

  /** Since it was last taken. */
  takeLongestPause(): number {
    const longest = this.#longestPauseMs
    this.#longestPauseMs = 0
    return longest
  }
}
