/**
 * The numbers behind statistics, 15 for each service and each server that is counted: for connections, packets and bytes what had
 * been counted at the last zero, what at the last estimation, and the rate. Flat, because there may be a hundred thousand
 * servers: as objects they would be most of what this thread's garbage collector has to walk over.
 */
import type { ServerCounters } from '../../../forwarder/forwarder.ts'
import type { TrafficStatistics } from './answers.ts'
import { FRACTION_BITS, FRACTION_BITS_OF_BYTES, nextRate, perSecond } from './rate-estimator.ts'

/** A meter's number. */
export type Meter = number

const COUNTED = ['connections', 'inPackets', 'outPackets', 'inBytes', 'outBytes'] as const
const BITS = [FRACTION_BITS, FRACTION_BITS, FRACTION_BITS, FRACTION_BITS_OF_BYTES, FRACTION_BITS_OF_BYTES]
const TOTAL = COUNTED.length
const RATE = 2 * COUNTED.length
const NUMBERS = 3 * COUNTED.length
/** What grows as a whole has to be copied as a whole, which would take too long for this thread. */
const METERS_PER_BLOCK = 1024

export class TrafficMeters {
  readonly #blocks: Float64Array[] = []
  #fresh = 0
  readonly #free: Meter[] = []

  /** Begins to count, from what has been counted before. */
  begin(counters: ServerCounters): Meter {
    const meter = this.#free.pop() ?? this.#fresh++
    if (meter === this.#blocks.length * METERS_PER_BLOCK) {
      this.#blocks.push(new Float64Array(METERS_PER_BLOCK * NUMBERS))
    }
    this.zero(meter, counters)
    return meter
  }

  end(meter: Meter): void {
    this.#free.push(meter)
  }

  zero(meter: Meter, counters: ServerCounters): void {
    const numbers = this.#blockOf(meter)
    const at = placeOf(meter)
    for (let each = 0; each < COUNTED.length; each++) {
      numbers[at + each] = counters[COUNTED[each]]
      numbers[at + TOTAL + each] = counters[COUNTED[each]]
      numbers[at + RATE + each] = 0
    }
  }

  /** Whether these are not the counters that had been read at the last estimation, or there was nothing in them. */
  hasBegunAnew(meter: Meter, counters: ServerCounters): boolean {
    const numbers = this.#blockOf(meter)
    const total = placeOf(meter) + TOTAL
    let hasCounted = false
    for (let each = 0; each < COUNTED.length; each++) {
      if (counters[COUNTED[each]] < numbers[total + each]) return true
      hasCounted ||= counters[COUNTED[each]] > 0
    }
    return !hasCounted
  }

  /** Estimates the rates. To be called every ESTIMATION_INTERVAL_MS. */
  tick(meter: Meter, counters: ServerCounters): void {
    const numbers = this.#blockOf(meter)
    const at = placeOf(meter)
    for (let each = 0; each < COUNTED.length; each++) {
      const total = counters[COUNTED[each]]
      const counted = total - numbers[at + TOTAL + each]
      numbers[at + RATE + each] = nextRate(numbers[at + RATE + each], counted, BITS[each])
      numbers[at + TOTAL + each] = total
    }
  }

  /** @param counters as they are now; undefined: as they were when the rates were last estimated */
  statistics(meter: Meter, counters: ServerCounters | undefined): TrafficStatistics {
    const numbers = this.#blockOf(meter)
    const at = placeOf(meter)
    const count = (each: number) => (counters?.[COUNTED[each]] ?? numbers[at + TOTAL + each]) - numbers[at + each]
    const rate = (each: number) => perSecond(numbers[at + RATE + each], BITS[each])
    return {
      connections: count(0),
      inPackets: count(1),
      outPackets: count(2),
      inBytes: count(3),
      outBytes: count(4),
      connectionsPerSecond: rate(0),
      inPacketsPerSecond: rate(1),
      outPacketsPerSecond: rate(2),
      inBytesPerSecond: rate(3),
      outBytesPerSecond: rate(4),
    }
  }

  #blockOf(meter: Meter): Float64Array {
    return this.#blocks[Math.floor(meter / METERS_PER_BLOCK)]
  }
}

/** Where its numbers begin in its block. */
function placeOf(meter: Meter): number {
  return (meter % METERS_PER_BLOCK) * NUMBERS
}
