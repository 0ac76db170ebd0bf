/**
 * Makes a failing plan small: faults are left out one after the other for as long as the run still breaks the same promise, and then
 * none can be spared.
 */
import type { Fault } from './faults.ts'
import { type Outcome, type Plan, simulate } from './simulate.ts'

export interface Shrunk {
  readonly plan: Plan
  readonly outcome: Outcome
}

/** @param run how a plan is tried; must give the same outcome for the same plan */
export async function shrink(
  failing: Plan,
  failure: Outcome,
  run: (plan: Plan) => Promise<Outcome> = simulate,
): Promise<Shrunk> {
  let plan = failing
  let outcome = failure
  for (let index = 0; index < plan.faults.length; ) {
    const smaller = { ...plan, faults: without(plan.faults, index) }
    const tried = await run(smaller)
    if (tried.breach?.promise !== outcome.breach?.promise) {
      index++
      continue
    }
    plan = smaller
    outcome = tried
    // What was needed before may not be now.
    index = 0
  }
  return { plan, outcome }
}

function without(faults: readonly Fault[], index: number): Fault[] {
  return faults.filter((_, at) => at !== index)
}
