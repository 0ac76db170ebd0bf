/** What the programs of a lab that are ours use now, as /proc tells it. */
import { readdirSync, readFileSync } from 'node:fs'
import type { Lab } from '../../node/drill/lab.ts'
import type { LabProcess } from '../../node/drill/lab-programs.ts'
import { startTimeOf } from '../../node/drill/lab-state.ts'
import type { Sample, Usage } from './growth.ts'

const OURS = ['director', 'agent', 'session-server']
/** Clock ticks a second in /proc, on every processor that Node runs on. */
const TICKS = 100

export function measure({ processes }: Pick<Lab, 'processes'>): Sample[] {
  const uptimeS = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
  return processes.flatMap((each) => sampleOf(each, uptimeS) ?? [])
}

/** undefined: it has ended, or is none of ours. */
function sampleOf({ host, program, child }: LabProcess, uptimeS: number): Sample | undefined {
  const { pid, exitCode, signalCode } = child
  if (pid === undefined || exitCode !== null || signalCode !== null || !OURS.includes(program)) return undefined
  try {
    const startTime = Number(startTimeOf(pid))
    const ageMs = Math.round((uptimeS - startTime / TICKS) * 1000)
    return { program, host, process: `${pid} since ${startTime}`, ageMs, used: usedBy(pid) }
  } catch {
    // It has just ended.
    return undefined
  }
}

function usedBy(pid: number): Usage {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1])
  return {
    residentMiB: field('VmRSS') / 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: field('Threads'),
  }
}
