/**
 * Throws frames at a whole director and looks after every breath whether anything broke: an exception, a frame that was not
 * given back, a malformed frame sent, a checksum spoilt, counts that do not add up. Everything follows from the seed.
 */

import { ConnectionKey } from '../../forwarder/table/connection-key.ts'
import { type ConnectionIndex, FLAG_ONE_PACKET, STATE, STATE_WORDS } from '../../forwarder/table/connection-layout.ts'
import { COUNTER, COUNTERS } from '../../forwarder/table/server-directory.ts'
import { NEIGHBOUR_FRAME_LENGTH } from '../../protocol/packet/neighbour-discovery.ts'
import { RECORD_LENGTH } from '../../protocol/wire/connection-record.ts'
import { type Random, seededRandom } from '../random.ts'
import type { DirectorBench } from '../support/director-bench.ts'
import { FrameSource, type FuzzFrame, type FrameSource as Source } from './frames.ts'
import { fault, transportIsRight } from './judge.ts'
import {
  createWorld,
  randomAddresses,
  randomMarkRules,
  randomMarkService,
  randomRoutes,
  randomService,
  SERVICES,
  VIPS,
  VIPS6,
} from './world.ts'

const ALL_VIPS = [...VIPS, ...VIPS6]
const CHECK_COUNTS_EVERY = 500
/** An outer IP header, UDP, and GUE with a remote checksum; as many as those of an ICMPv6 error. */
const MOST_ADDED = 64

export interface FuzzResult {
  /** Frames that the director sent. */
  readonly sent: number
  /** Verdicts and events that came up, to see that the fuzzer gets anywhere: drop reasons with their counts. */
  readonly drops: Record<string, number>
  readonly evicted: number
}

export class FuzzFailure extends Error {
  constructor(seed: number, number: number, frames: readonly FuzzFrame[], cause: unknown) {
    const reason = cause instanceof Error ? cause.stack : String(cause)
    const dumps = frames.map(
      ({ link, vnetHeader, frame }) =>
        `${link} ${Buffer.from(vnetHeader).toString('hex')} ${Buffer.from(frame).toString('hex')}`,
    )
    super(
      `seed ${seed}, frame ${number}: ${reason}\nthe frames of this breath (link, virtio header, frame):\n${dumps.join('\n')}`,
    )
    this.name = 'FuzzFailure'
  }
}

/** @throws FuzzFailure */
export function fuzz(seed: number, frames: number, onProgress: (frames: number) => void = () => {}): FuzzResult {
  const random = seededRandom(seed)
  const bench = createWorld(random)
  const source: Source = new FrameSource(random)
  let sent = 0
  let isTainted = false
  let longest = 0
  let nextCheck = 0
  let handled = 0
  while (handled < frames) {
    const batch: FuzzFrame[] = []
    try {
      disturb(random, bench)
      const size = random.oneIn(10) ? 1 + random.below(60) : 1
      for (let index = 0; index < size; index++) {
        const next = source.next()
        batch.push(next)
        bench.link(next.link).inject(next.frame, next.vnetHeader)
        if (!transportIsRight(next.vnetHeader, next.frame)) isTainted = true
        longest = Math.max(longest, next.frame.length, NEIGHBOUR_FRAME_LENGTH)
      }
      for (const { link, vnetHeader, frame } of bench.breathe()) {
        sent++
        const wrong = fault(vnetHeader, frame, bench.link(link).mtu)
        if (wrong !== undefined) throw new Error(`sent on ${link}: ${wrong}\n${Buffer.from(frame).toString('hex')}`)
        // Other frames' bytes would be in it.
        if (frame.length > longest + MOST_ADDED) throw new Error(`sent on ${link}: longer than what came in`)
        // What came in wrong may leave wrong, and what was held may have come in before.
        if (!isTainted && !transportIsRight(vnetHeader, frame)) {
          throw new Error(`sent on ${link}: a wrong checksum\n${Buffer.from(frame).toString('hex')}`)
        }
      }
      const { free, held, total } = bench.engine.egress.poolUse
      if (free + held !== total) throw new Error(`${total - free - held} pool frames are lost`)
      if (held === 0) {
        isTainted = false
        longest = 0
      }
      if (handled >= nextCheck) {
        nextCheck = handled + CHECK_COUNTS_EVERY
        checkCounts(bench)
        onProgress(handled)
      }
    } catch (error) {
      throw new FuzzFailure(seed, handled, batch, error)
    }
    handled += batch.length
  }
  return { sent, drops: bench.drops.toObject(), evicted: bench.engine.connections.evicted }
}

/** Time goes by, operators change their minds, peers talk and hear. */
function disturb(random: Random, bench: DirectorBench): void {
  if (random.oneIn(100)) bench.outgoing.setWitnesses(random.below(3))
  bench.nowMs += random.oneIn(300) ? random.below(90_000) : random.below(5)
  if (random.oneIn(1000)) bench.engine.setRoutes(randomRoutes(random))
  if (random.oneIn(500)) bench.engine.settings.pmtuDisc = random.below(2)
  if (random.oneIn(200)) {
    bench.engine.services.set(
      randomService(random, ALL_VIPS[random.below(ALL_VIPS.length)], random.below(SERVICES.length)),
    )
  }
  if (random.oneIn(5000)) {
    const { protocol, port } = SERVICES[random.below(SERVICES.length)]
    bench.engine.services.remove({ protocol, address: ALL_VIPS[random.below(ALL_VIPS.length)], port })
  }
  if (random.oneIn(1000)) {
    bench.engine.placeAddresses(
      randomAddresses(random),
      bench.links.map((link) => link.name),
    )
  }
  if (random.oneIn(1000)) bench.engine.services.set(randomMarkService(random))
  if (random.oneIn(1000)) {
    bench.engine.marks.replace(
      randomMarkRules(random),
      bench.links.map((link) => link.name),
    )
  }
  if (random.oneIn(4)) echoRecord(random, bench)
}

/** A peer says what we have said, or nearly. */
function echoRecord(random: Random, bench: DirectorBench): void {
  const from = bench.outgoing.peek()
  if (from < 0) return
  const record = bench.outgoing.bytes.slice(from, from + RECORD_LENGTH)
  bench.outgoing.advance()
  if (random.oneIn(2)) bench.outgoing.confirm(bench.outgoing.position)
  for (let change = random.below(4); change > 0; change--) record[random.below(RECORD_LENGTH)] = random.below(256)
  const to = bench.incoming.reserve()
  if (to < 0) return
  bench.incoming.bytes.set(record, to)
  bench.incoming.commit()
}

/** Every connection is found by both of its directions, and each server has as many as it counts. */
function checkCounts(bench: DirectorBench): void {
  const { services } = bench.engine
  const { memory } = bench.table
  const bySlot = new Map<number, number>()
  const key = new ConnectionKey()
  let found = 0
  for (let place = 1; place < memory.fresh; place++) {
    const state = place * STATE_WORDS
    const protocol = (memory.states[state + STATE.portProtocolState] >>> 8) & 255
    if (protocol === 0) continue
    found++
    const slot = memory.states[state + STATE.server]
    bySlot.set(slot, (bySlot.get(slot) ?? 0) + 1)
    const index = place as ConnectionIndex
    // A single datagram's is found by its reply alone.
    if ((bench.table.flags(index) & FLAG_ONE_PACKET) !== 0) continue
    bench.table.readKey(index, key)
    if (bench.table.find(key) !== place) throw new Error(`connection ${place} is not found by its client`)
  }
  if (found !== memory.used) throw new Error(`${found} connections in the table, ${memory.used} counted`)
  for (const [slot, server] of services.serverBySlot.entries()) {
    const there = bySlot.get(slot) ?? 0
    bySlot.delete(slot)
    if (!server) {
      if (there > 0) throw new Error(`${there} connections of slot ${slot}, which is nobody's`)
      continue
    }
    const active = services.directory.counters[slot * COUNTERS + COUNTER.active]
    const inactive = services.directory.counters[slot * COUNTERS + COUNTER.inactive]
    const { persistentConnections: templates, datagrams } = server
    if (Math.min(active, inactive, templates, datagrams) < 0 || active + inactive + templates + datagrams !== there) {
      const counted = `${active} + ${inactive} + ${templates} + ${datagrams}`
      throw new Error(`server ${services.directory.describe(slot)}: ${counted} counted, ${there} there`)
    }
  }
  if (bySlot.size > 0) throw new Error(`connections of slots that there are not: ${[...bySlot.keys()]}`)
}
