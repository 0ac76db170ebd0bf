/** Directors of a lab, one by one: ended, started again with another file, and asked with vsadm. */
import type { ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { request } from '../../node/director/control/client.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { inNamespace } from '../../node/drill/lab-network.ts'
import { hostNamed, hostsOf } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import { type Outcome, startCommand } from './run-director.ts'

export { endProcess } from '../../node/drill/lab-programs.ts'

const CLI = join(import.meta.dirname, '../../node/cli')

/** For labs in which nobody shall take over because the machine is busy. */
export const UNHURRIED = { advertisementIntervalMs: 500 } as const

export function directorNames(lab: Lab): string[] {
  return hostsOf(lab.plan, 'director').map(({ name }) => name)
}

/** The command line that runs a command on a host of the lab. */
export function onHost(lab: Lab, host: string, ...command: string[]): string[] {
  return inNamespace(hostNamed(lab.plan, host).namespace, command)
}

export function configFileOf(lab: Lab, director: string): string {
  return join(lab.folder, director, 'director.yaml')
}

/** The process that the lab itself started. */
export function firstProcessOf(lab: Lab, director: string): ChildProcess {
  return lab.processes.find(({ host, program }) => host === director && program === 'director')!.child
}

/** Starts a director on its host, by way of another command if need be. It ends with the lab, at the latest. */
export function startDirector(lab: Lab, director: string, configFile = configFileOf(lab, director), by: string[] = []) {
  const command = [...by, process.execPath, join(CLI, 'director.ts'), 'node', '--config', configFile]
  return startCommand(onHost(lab, director, ...command))
}

/** Runs vsadm against a director of the lab. */
export function vsadm(lab: Lab, director: string, ...words: string[]): Promise<Outcome> {
  const command = [process.execPath, join(CLI, 'vsadm.ts'), ...words]
  return startCommand(command, { DIRECTOR_SOCKET: controlSocketOf(lab.folder, director) }).outcome
}

/** Gives a document to vsadm -R against a director of the lab. */
export function restore(lab: Lab, director: string, document: string): Promise<Outcome> {
  const file = join(lab.folder, `${director}.rules`)
  writeFileSync(file, document)
  const command = ['sh', '-c', 'exec "$@" < "$0"', file, process.execPath, join(CLI, 'vsadm.ts'), '-R']
  return startCommand(command, { DIRECTOR_SOCKET: controlSocketOf(lab.folder, director) }).outcome
}

/** One request to a director's control socket. */
export async function ask<T>(lab: Lab, director: string, path: string): Promise<T> {
  return (await request(controlSocketOf(lab.folder, director), 'GET', path)) as T
}

/** Looks again and again until there is something to see. @throws Error with what was awaited, and what was last seen */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined>,
  deadlineMs = 15_000,
  everyMs = 50,
): Promise<T> {
  const deadline = performance.now() + deadlineMs
  for (let last: unknown = 'nothing'; ; ) {
    const seen = await look().catch((error: unknown) => {
      last = error
      return undefined
    })
    if (seen !== undefined) return seen
    if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what} (${last})`)
    await delay(everyMs)
  }
}
