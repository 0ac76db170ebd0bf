/** What directors use, looked at after each failure, and whether it grows. */
import { readdirSync, readFileSync } from 'node:fs'
import { directorOn } from '../../node/drill/failure.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { hostsOf } from '../../node/drill/lab-plan.ts'

/** Of the director that uses most. */
export interface Sample {
  readonly residentMiB: number
  readonly descriptors: number
  readonly threads: number
}

/** Growth below this is what garbage collection leaves, and what a takeover has open for a moment. */
const SLACK = { residentMiB: 64, descriptors: 16, threads: 4 } as const
/** Fewer samples say nothing. */
const LEAST_SAMPLES = 12

export function measure(lab: Lab): Sample {
  const used = hostsOf(lab.plan, 'director').map(({ name }) => usedBy(directorOn(lab, name).child.pid!))
  return {
    residentMiB: Math.max(...used.map(({ residentMiB }) => residentMiB)),
    descriptors: Math.max(...used.map(({ descriptors }) => descriptors)),
    threads: Math.max(...used.map(({ threads }) => threads)),
  }
}

/** What is more in the last third than in the middle one, in words. The first is for warming up. */
export function growth(samples: readonly Sample[]): string[] {
  if (samples.length < LEAST_SAMPLES) return []
  const third = Math.floor(samples.length / 3)
  const before = samples.slice(third, 2 * third)
  const after = samples.slice(2 * third)
  return (Object.keys(SLACK) as (keyof Sample)[]).flatMap((what) => {
    const [was, is] = [before, after].map((part) => Math.max(...part.map((sample) => sample[what])))
    return is - was > SLACK[what] ? [`${what} grew from ${was} to ${is}`] : []
  })
}

function usedBy(pid: number): Sample {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1])
  return {
    residentMiB: Math.round(field('VmRSS') / 1024),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: field('Threads'),
  }
}
