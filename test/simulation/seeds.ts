/** A part of the 300 simulated pools that the tests try; in parts, so that two run at a time. `npm run simulate` does any number. */
import type { Test } from 'tap'
import { campaign, report } from './campaign.ts'

export const SEEDS_AT_ONCE = 100

/** @param firstSeed SEED=<number> begins with that one instead */
export async function keepEveryPromise(t: Test, firstSeed: number): Promise<void> {
  const { runs, conversations, faults, failure } = await campaign({
    firstSeed: Number(process.env.SEED ?? firstSeed),
    seeds: SEEDS_AT_ONCE,
  })
  t.equal(failure && report(failure), undefined)
  t.equal(runs, SEEDS_AT_ONCE)
  t.ok(conversations > 40 * SEEDS_AT_ONCE, `${conversations} connections`)
  t.ok(faults > 3 * SEEDS_AT_ONCE, `${faults} faults`)
}
