/** Counters and rates in ipvsadm's columns. */
import type { TrafficStatistics } from '../../director/control/answers.ts'

/** Connections, packets in, packets out, bytes in, bytes out; or as many a second. */
export type Counters = readonly number[]

/** What was not asked for. */
const NOTHING: Counters = [0, 0, 0, 0, 0]

export function totals(counted: TrafficStatistics | null): Counters {
  if (!counted) return NOTHING
  return [counted.connections, counted.inPackets, counted.outPackets, counted.inBytes, counted.outBytes]
}

export function rates(counted: TrafficStatistics | null): Counters {
  if (!counted) return NOTHING
  return [
    counted.connectionsPerSecond,
    counted.inPacketsPerSecond,
    counted.outPacketsPerSecond,
    counted.inBytesPerSecond,
    counted.outBytesPerSecond,
  ]
}

export function counterTitles(titles: readonly string[]): string {
  return titles.map((title) => title.padStart(8)).join(' ')
}

/** Nine columns; from 100 million on in thousands, millions and so on. */
export function largeNumber(value: number, exact: boolean): string {
  const digits = String(Math.floor(value))
  if (exact) return digits.padStart(digits.length <= 8 ? 9 : digits.length + 1)
  const [unit, suffix] =
    value < 1e8
      ? [1, '']
      : value < 1e9
        ? [1e3, 'K']
        : value < 1e11
          ? [1e6, 'M']
          : value < 1e14
            ? [1e9, 'G']
            : [1e12, 'T']
  return `${Math.floor(value / unit)}${suffix}`.padStart(9)
}
