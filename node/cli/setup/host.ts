/** What setup asks of a machine: tests have one that only notes what it is asked. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { programFolders } from './packages.ts'

export interface Host {
  readonly isRoot: boolean
  /** Where programs are. */
  readonly folders: readonly string[]
  /** What the packages ask before they start a service; see services.ts. */
  readonly policyFile: string
  /** Whether systemd runs the services. */
  readonly hasSystemd: boolean
  run: Run
  tell(line: string): void
}

/** Runs a program to its end, also when it is interrupted. */
export type Run = (program: string, words: readonly string[], options?: RunOptions) => Promise<RunResult>

export interface RunOptions {
  /** Besides those of this process. */
  readonly environment?: NodeJS.ProcessEnv
  /** Interrupts it as Ctrl-C does. */
  readonly signal?: AbortSignal
}

export interface RunResult {
  readonly failed: boolean
  readonly output: string
}

export const thisHost: Host = {
  isRoot: process.getuid?.() === 0,
  folders: programFolders(process.env.PATH),
  policyFile: '/usr/sbin/policy-rc.d',
  hasSystemd: existsSync('/run/systemd/system'),
  run: (program, words, { environment, signal } = {}) =>
    new Promise((resolve) => {
      const options = { env: { ...process.env, ...environment }, maxBuffer: Number.POSITIVE_INFINITY }
      const child = execFile(program, words, options, (error, stdout, stderr) =>
        resolve({ failed: error !== null, output: `${stdout}${stderr}` || (error?.message ?? '') }),
      )
      child.stdin?.end()
      // The signal as an option of execFile would not wait for the end.
      signal?.addEventListener('abort', () => child.kill('SIGINT'))
    }),
  tell: console.log,
}
