/**
 * What the engine alone costs, on memory links: nanoseconds a packet of established connections, and new connections a second.
 * docs/benchmarks.md says what each number means.
 */
import type { ForwardingMethod } from '../../forwarder/service.ts'
import { TCP_ACK, TCP_RST, TCP_SYN } from '../../protocol/packet/tcp.ts'
import { seededRandom } from '../random.ts'
import { BATCH, INSIDE_LINK, NumberedConnections, OUTSIDE_LINK } from './numbered-connections.ts'
import { median } from './statistics.ts'

const BATCHES = 16
const FRAMES = BATCHES * BATCH
/** Virtual time between two batches: about what the batch takes. */
const BATCH_MS = 0.01
/** Rounds before the first that counts, in which the code is compiled; no more than those that count. */
const WARM_UP_ROUNDS = 300
/** New connections in a virtual second: with 10 s from reset to expiry there are 100,000 in the table. */
const NEW_PER_SECOND = 10_000
const TABLE_SIZE = 2 ** 20

/**
 * Median over `rounds` of a packet's nanoseconds, connections chosen at random.
 * With NAT every other batch comes from the servers; with TUN and DR servers answer past the director.
 */
export function engineNanoseconds(
  method: ForwardingMethod,
  isIPv6: boolean,
  connections: number,
  rounds: number,
): number {
  const pool = new NumberedConnections(method, 2 ** Math.ceil(Math.log2(connections + 1)), FRAMES, isIPv6)
  const servers = establish(pool, connections)
  const random = seededRandom(connections)
  const nanoseconds: number[] = []
  for (let round = -Math.min(WARM_UP_ROUNDS, rounds); round < rounds; round++) {
    for (let slot = 0; slot < FRAMES; slot++) {
      const connection = random.below(connections)
      if (linkOf(method, slot) === INSIDE_LINK) pool.putServerFrame(slot, connection, servers[connection])
      else pool.putClientFrame(slot, connection, TCP_ACK)
    }
    let transmitted = 0
    const start = performance.now()
    for (let slot = 0; slot < FRAMES; slot += BATCH) {
      pool.director.nowMs += BATCH_MS
      transmitted += pool.handleBatch(linkOf(method, slot), slot, BATCH)
    }
    const elapsedMs = performance.now() - start
    if (transmitted !== FRAMES) throw new Error(`only ${transmitted} of ${FRAMES} frames were forwarded`)
    if (round >= 0) nanoseconds.push((elapsedMs * 1e6) / FRAMES)
  }
  return median(nanoseconds)
}

/** Lives of connections a second: SYN, ACK, RST, expiry, and two records for the peers. Median over `rounds`. */
export function newConnectionsPerSecond(rounds: number): number {
  const pool = new NumberedConnections('nat', TABLE_SIZE, 3 * BATCH)
  const perSecond: number[] = []
  let connection = 0
  for (let round = -Math.min(WARM_UP_ROUNDS, rounds); round < rounds; round++) {
    let elapsedMs = 0
    for (let batch = 0; batch < BATCHES; batch++) {
      ;[TCP_SYN, TCP_ACK, TCP_RST].forEach((flags, part) => {
        for (let i = 0; i < BATCH; i++) pool.putClientFrame(part * BATCH + i, connection + i, flags)
      })
      const start = performance.now()
      for (let part = 0; part < 3; part++) pool.handleBatch(OUTSIDE_LINK, part * BATCH, BATCH)
      elapsedMs += performance.now() - start
      connection += BATCH
      pool.director.nowMs += (BATCH * 1000) / NEW_PER_SECOND
      if (drainRecords(pool) !== 2 * BATCH) throw new Error('not every connection was made known to the peers')
    }
    if (round >= 0) perSecond.push((FRAMES * 1000) / elapsedMs)
  }
  return median(perSecond)
}

/** Lets every connection be established; returns the real server of each when it is NAT. */
export function establish(pool: NumberedConnections, connections: number): Int32Array {
  const servers = new Int32Array(connections)
  for (let first = 0; first < connections; first += BATCH) {
    const count = Math.min(BATCH, connections - first)
    for (const flags of [TCP_SYN, TCP_ACK]) {
      for (let i = 0; i < count; i++) pool.putClientFrame(i, first + i, flags)
      pool.handleBatch(OUTSIDE_LINK, 0, count)
    }
    for (let i = 0; i < count; i++) servers[first + i] = pool.destination(i)
    pool.director.nowMs += BATCH_MS
    if (drainRecords(pool) !== count) throw new Error('not every connection was established')
  }
  return servers
}

function drainRecords({ director: { outgoing } }: NumberedConnections): number {
  let count = 0
  for (; outgoing.peek() >= 0; count++) outgoing.advance()
  return count
}

function linkOf(method: ForwardingMethod, slot: number): number {
  return method === 'nat' && (slot & BATCH) !== 0 ? INSIDE_LINK : OUTSIDE_LINK
}
