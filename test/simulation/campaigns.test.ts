/** The same seeds in one process and in several. */
import { test } from 'tap'
import { campaign } from './campaign.ts'
import { campaigns } from './campaigns.ts'

const SEEDS = 14

test('several processes try the same seeds as one, each of them once', async (t) => {
  const options = { firstSeed: 1, seeds: SEEDS, directors: 2 }
  const progress: number[] = []
  const result = await campaigns({ ...options, onProgress: (done) => progress.push(done) }, 2)
  t.same(result, await campaign(options))
  t.equal(result.runs, SEEDS)
  t.equal(progress.at(-1), SEEDS)
})

test('what one of them finds is told of, with its seed', async (t) => {
  const { failure } = await campaigns({ firstSeed: 1, seeds: 100, sabotage: 'throws', shrinks: false }, 2)
  t.ok(failure?.outcome.breach)
  t.ok(failure!.plan.seed >= 1 && failure!.plan.seed <= 100)
})
