/** A campaign on several processors: each of so many processes takes the next few seeds, until there are none left or one has failed. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { type CampaignOptions, type CampaignResult, campaign } from './campaign.ts'

const PROGRAM = fileURLToPath(new URL('./campaign-process.ts', import.meta.url))
/** Some seconds of work. */
const SEEDS_AT_ONCE = 10

/** As campaign(). Of several seeds that fail, the first one found is told of. @throws Error when a process ends */
export async function campaigns(options: CampaignOptions, jobs: number): Promise<CampaignResult> {
  if (jobs === 1) return campaign(options)
  const { firstSeed, seeds, onProgress, ...common } = options
  const total = { runs: 0, conversations: 0, resumed: 0, faults: 0, simulatedMs: 0 }
  const found = Promise.withResolvers<CampaignResult['failure']>()
  let next = firstSeed
  const work = async (child: ChildProcess) => {
    while (next < firstSeed + seeds) {
      const share = { firstSeed: next, seeds: Math.min(SEEDS_AT_ONCE, firstSeed + seeds - next) }
      next += share.seeds
      child.send({ ...common, ...share })
      const [answer] = await once(child, 'message')
      const { failure, ...counts } = answer as CampaignResult
      for (const what of Object.keys(counts) as (keyof typeof counts)[]) total[what] += counts[what]
      if (failure) found.resolve(failure)
      onProgress?.(total.runs, total.conversations)
    }
  }
  const children = Array.from({ length: jobs }, () => fork(PROGRAM, { serialization: 'advanced' }))
  for (const child of children)
    child.once('exit', (code, signal) =>
      found.reject(new Error(`a process that simulates has ended: ${code ?? signal}`)),
    )
  try {
    const all = Promise.all(children.map(work)).then(() => undefined)
    const failure = await Promise.race([found.promise, all])
    return { ...total, failure }
  } finally {
    for (const child of children) child.removeAllListeners('exit').kill()
  }
}
