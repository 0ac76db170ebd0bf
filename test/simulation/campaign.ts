/** Many runs, one seed after the other; the first that breaks a promise is made small and told of. */
import { describe } from './faults.ts'
import { planOf } from './plan.ts'
import type { SabotageName } from './sabotage.ts'
import { type Shrunk, shrink } from './shrink.ts'
import { simulate } from './simulate.ts'

export interface CampaignOptions {
  readonly firstSeed: number
  readonly seeds: number
  /** Directors of every pool; drawn unless given. */
  readonly directors?: number
  readonly sabotage?: SabotageName
  /** The plan that fails is made small; it takes some ten runs. True unless given. */
  readonly shrinks?: boolean
  readonly onProgress?: (done: number, conversations: number) => void
}

export interface CampaignResult {
  readonly runs: number
  readonly conversations: number
  readonly resumed: number
  readonly faults: number
  readonly simulatedMs: number
  readonly failure: Shrunk | undefined
}

export async function campaign(options: CampaignOptions): Promise<CampaignResult> {
  const { firstSeed, seeds, directors, sabotage, shrinks = true, onProgress } = options
  const total = { runs: 0, conversations: 0, resumed: 0, faults: 0, simulatedMs: 0 }
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    const plan = planOf(seed, directors, sabotage)
    const outcome = await simulate(plan)
    total.runs++
    total.conversations += outcome.conversations
    total.resumed += outcome.resumed
    total.faults += plan.faults.length
    total.simulatedMs += outcome.simulatedMs
    if (outcome.breach) return { ...total, failure: shrinks ? await shrink(plan, outcome) : { plan, outcome } }
    onProgress?.(total.runs, total.conversations)
  }
  return { ...total, failure: undefined }
}

/** For whoever looks into it: which promise was broken, by what, and all that happened before. */
export function report({ plan, outcome }: Shrunk): string {
  const { breach, trace } = outcome
  const faults = plan.faults.map((fault) => `  ${describe(fault)}`)
  return [
    `seed ${plan.seed}, ${plan.directors} directors: broken: ${breach?.promise}`,
    `  ${breach?.what}`,
    `${faults.length} faults are needed for it:`,
    ...faults,
    'what happened, in milliseconds:',
    ...trace.map((line) => `  ${line}`),
  ].join('\n')
}
