/**
 * Random numbers that come again from the same seed, for histories that a test makes up. The seed of a failed test is in its
 * name; SEED=<number> runs that one again.
 *
 * The generator is mulberry32 (Tommy Ettinger): 32 bits of state, good enough to choose test cases.
 */
export interface Random {
  /** An integer from 0 to limit - 1. */
  below(limit: number): number
  /** True once in `times`. */
  oneIn(times: number): boolean
}

export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  function below(limit: number): number {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
  }
  return { below, oneIn: (times) => below(times) === 0 }
}

/** The seeds to try: the given number of fresh ones, or the one in SEED. */
export function seeds(count: number): number[] {
  const chosen = process.env.SEED
  if (chosen) return [Number(chosen)]
  return Array.from({ length: count }, () => Math.floor(Math.random() * 2 ** 32))
}
