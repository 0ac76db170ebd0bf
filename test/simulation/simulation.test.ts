/** 300 simulated pools under faults; `npm run simulate` does any number. SEED=<number> begins with that one. */
import { test } from 'tap'
import { campaign, report } from './campaign.ts'

const SEEDS = 300

test(`${SEEDS} pools keep every promise`, async (t) => {
  const { runs, conversations, faults, failure } = await campaign({
    firstSeed: Number(process.env.SEED ?? 1),
    seeds: SEEDS,
  })
  t.equal(failure && report(failure), undefined)
  t.equal(runs, SEEDS)
  t.ok(conversations > 20 * SEEDS, `${conversations} connections`)
  t.ok(faults > 2 * SEEDS, `${faults} faults`)
})
