/**
 * An operator's program, run without a shell, with nothing of ours but PATH, in a process group of its own that is killed whole
 * when its time is over. What it prints is not read.
 */
import { once } from 'node:events'
import { startProgram } from '../program-start.ts'

export interface ScriptRun {
  /** Why it failed; undefined: exit status 0. Never rejects. */
  readonly ended: Promise<string | undefined>
  /** Ends it at once, if it runs; it is not started any more, if it does not run yet. */
  kill(): void
}

export type RunScript = (command: readonly string[], timeoutMs: number) => ScriptRun

export const runScript: RunScript = (command, timeoutMs) => {
  const killed = new AbortController()
  const ended = run(command, timeoutMs, killed.signal).catch((error: Error) => `cannot be run: ${error.message}`)
  return { ended, kill: () => killed.abort(new Error('it was called off')) }
}

async function run(command: readonly string[], timeoutMs: number, killed: AbortSignal): Promise<string | undefined> {
  const options = { cwd: '/', env: { PATH: process.env.PATH }, stdio: 'ignore', detached: true } as const
  const child = await startProgram(command, options, killed)
  const exit = once(child, 'exit')
  let isLate = false
  const kill = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // It has ended by itself in the meantime.
    }
  }
  const limit = setTimeout(() => {
    isLate = true
    kill()
  }, timeoutMs)
  killed.addEventListener('abort', kill)
  if (killed.aborted) kill()
  const [status, signal] = await exit
  clearTimeout(limit)
  // Its number may be another's by now.
  killed.removeEventListener('abort', kill)
  if (isLate) return `took longer than ${timeoutMs} ms`
  if (signal !== null) return `was ended by ${signal}`
  return status === 0 ? undefined : `exit status ${status}`
}
