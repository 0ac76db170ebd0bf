/** A session through a lab's pool that a test keeps open for as long as it likes, and speaks over when it likes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import type { Lab } from '../../node/drill/lab.ts'
import { SESSION_PORT, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { onHost } from './lab-directors.ts'
import { programOf } from './lab-traffic.ts'

export interface Session {
  readonly child: ChildProcess
  /** Sends a message. @returns the name of the server that answered, or why the connection has ended */
  ask(): Promise<string>
}

/** Starts a program of this folder on the client; it ends with the lab. */
export function startOnClient(
  lab: Lab,
  name: string,
  ...args: (string | number)[]
): { child: ChildProcess; lines: Interface } {
  const [program, ...rest] = onHost(lab, 'c1', ...programOf(name, ...args))
  const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'] })
  return { child, lines: createInterface(child.stdout) }
}

export function startSession(lab: Lab): Session {
  const { child, lines } = startOnClient(lab, 'session-on-demand', VIRTUAL_ADDRESS, SESSION_PORT)
  const answers = lines[Symbol.asyncIterator]()
  return {
    child,
    ask: async () => {
      child.stdin?.write('\n')
      return (await answers.next()).value as string
    },
  }
}
