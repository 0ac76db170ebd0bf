/** Who runs in a lab, as ip(8) and /proc tell it: by other means than those by which a lab finds whom it has to end. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { namespacesOf } from '../../node/drill/lab-network.ts'
import { until } from '../until.ts'

const START_WITHIN_MS = 60_000

/** nginx and its worker, and the session server. */
const OF_A_SERVER = 3

/** How many processes a lab has as long as nobody is ended. */
export function processCount({ directors, servers }: { directors: number; servers: number }): number {
  const agents = directors > 0 ? servers : 0
  return directors + servers * OF_A_SERVER + agents
}

/** @returns the ids of a lab's processes, once there are so many @throws Error when there never are */
export async function processesOf(lab: string, atLeast: number, everyMs = 200): Promise<number[]> {
  let pids: number[] = []
  const areThere = () => {
    pids = namespacesOf(lab).flatMap(processesIn)
    return pids.length >= atLeast
  }
  await until(areThere, START_WITHIN_MS, () => wait(everyMs))
  return pids
}

/** None when the namespace is gone. */
function processesIn(namespace: string): number[] {
  const { stdout } = spawnSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' })
  return stdout.split('\n').filter(Boolean).map(Number)
}

/** One that has ended but has not been waited for by its parent does not run. */
export function isRunning(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== ''
  } catch {
    return false
  }
}
