/** What the simulation draws from its seed beside whole numbers. */
import { type Random, seededRandom } from '../random.ts'

/** From 0 to below 1. */
export function fraction(random: Random): number {
  return random.below(2 ** 32) / 2 ** 32
}

export function between(random: Random, low: number, high: number): number {
  return low + random.below(high - low + 1)
}

export function pick<Value>(random: Random, values: readonly Value[]): Value {
  return values[random.below(values.length)]
}

/** A source of its own for one purpose, so that a fault which is left out does not change what another purpose draws. */
export function sourceFor(seed: number, purpose: string): Random {
  let state = seed >>> 0
  for (let i = 0; i < purpose.length; i++) state = Math.imul(state ^ purpose.charCodeAt(i), 0x01000193) >>> 0
  const source = seededRandom(state)
  source.below(2)
  return source
}
