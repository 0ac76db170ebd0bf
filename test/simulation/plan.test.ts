/** The simulation itself: the same seed gives the same run, a failure is made small, and planted faults are found. */
import { type Test, test } from 'tap'
import { campaign, report } from './campaign.ts'
import { planOf } from './plan.ts'
import type { PromiseName } from './promises.ts'
import type { SabotageName } from './sabotage.ts'
import { shrink } from './shrink.ts'
import { type Outcome, type Plan, simulate } from './simulate.ts'

test('the same seed gives the same run', async (t) => {
  for (const seed of [3, 5, 12]) {
    const once = await simulate(planOf(seed))
    const again = await simulate(planOf(seed))
    t.same(again, once)
    t.ok(once.frames > 100, `${once.frames} frames`)
  }
})

test('another seed gives another run', async (t) => {
  const one = await simulate(planOf(3, 3))
  const other = await simulate(planOf(4, 3))
  t.not(one.fingerprint, other.fingerprint)
})

/** A run in which the promise is broken exactly when both of the wanted faults are there. */
function breaksWith(...wanted: readonly number[]): (plan: Plan) => Promise<Outcome> {
  return async ({ faults }) => {
    const isBroken = wanted.every((atMs) => faults.some((fault) => fault.atMs === atMs))
    const breach = isBroken ? { promise: 'presence ends at 0' as PromiseName, what: 'it does not', atMs: 0 } : undefined
    return { breach, trace: [], conversations: 0, resumed: 0, simulatedMs: 0, frames: 0, fingerprint: 0 }
  }
}

test('a failing plan is made as small as it can be', async (t) => {
  const faults = [1, 2, 3, 4, 5].map(
    (atMs) => ({ kind: 'clock-step', atMs, forMs: 0, director: 1, stepMs: 1 }) as const,
  )
  const plan: Plan = { ...planOf(1), faults }
  const run = breaksWith(2, 5)
  const { plan: smallest } = await shrink(plan, await run(plan), run)
  t.same(
    smallest.faults.map(({ atMs }) => atMs),
    [2, 5],
  )
})

const MOST_SEEDS = 100
const WITH_A_FAULT = 'nobody with a fault holds a virtual address'
/** Where the first seed that finds it is far on, the search begins shortly before that one, to save the time. */
const planted: readonly (readonly [sentence: string, SabotageName, PromiseName, firstSeed?: number])[] = [
  ['a resend that is dropped', 'no-resend', 'everybody comes into sync'],
  ['a connection in ten that is not told of', 'loses-records', 'a standby knows every connection'],
  ['a confirmation that nobody gives', 'confirms-nothing', 'a standby that can confirm is waited for', 12],
  ['a wrong tie break between equal priorities', 'wrong-tie-break', 'one master per virtual address'],
  ['a takeover that comes a second late', 'late-takeover', 'one master per virtual address', 12],
  ['an exception in a task', 'throws', 'nothing throws'],
  ['a rejection that nobody handles', 'rejects', 'nothing throws'],
  ['an override that nobody is told of', 'overrides-in-silence', 'no change is lost in silence'],
  ['a preemption before the table is in sync', 'preempts-before-sync', 'nobody preempts out of sync', 81],
  ['a preemption that is not to be', 'preempts-at-will', 'nobody preempts sooner than it may', 12],
  ['a tracked interface that is nothing to an address', 'tracks-nothing', WITH_A_FAULT, 2],
  ['a fault in a sync group that is not the fault of all', 'leaves-its-group', WITH_A_FAULT, 5],
  ['an address that does not come back with its sync group', 'stays-behind', 'a sync group moves together', 15],
  ['a director that is heard although it is shut out', 'goes-on-hearing', 'nobody hears who is shut out', 4],
]

async function finds(t: Test, sabotage: SabotageName, promise: PromiseName, firstSeed = 1): Promise<void> {
  const seeds = MOST_SEEDS - firstSeed + 1
  const { failure, runs } = await campaign({ firstSeed, seeds, sabotage, shrinks: false })
  t.equal(failure?.outcome.breach?.promise, promise, `after ${runs} runs: ${failure && report(failure)}`)
}

for (const [sentence, ...search] of planted) {
  test(`${sentence} is found within ${MOST_SEEDS} seeds`, (t) => finds(t, ...search))
}
