/**
 * An operator's program, run without a shell, with nothing of ours but PATH, in a process group of its own that is killed whole
 * when its time is over. It has no more of the processors than any other program. What it prints is not read.
 */
import { once } from 'node:events'
import { putAmongOthers } from '../../processor-share.ts'
import { startProgram } from '../program-start.ts'

export interface ScriptRun {
  /** Why it failed; undefined: exit status 0. Never rejects, and waits for nothing once it is late or called off. */
  readonly ended: Promise<string | undefined>
  /** No process of it is left to wait for: one that hangs in the kernel outlives its being killed. */
  readonly gone: Promise<void>
  /** Ends it at once, if it runs; it is not started any more, if it does not run yet. */
  kill(): void
}

export type RunScript = (command: readonly string[], timeoutMs: number) => ScriptRun

export const runScript: RunScript = (command, timeoutMs) => {
  const killed = new AbortController()
  const early = Promise.withResolvers<string>()
  const exited = run(command, timeoutMs, killed.signal, early.resolve).catch(
    (error: Error) => `cannot be run: ${error.message}`,
  )
  return {
    ended: Promise.race([early.promise, exited]),
    gone: exited.then(() => undefined),
    kill: () => {
      killed.abort(new Error('it was called off'))
      early.resolve('was called off')
    },
  }
}

async function run(
  command: readonly string[],
  timeoutMs: number,
  killed: AbortSignal,
  onLate: (failure: string) => void,
): Promise<string | undefined> {
  const options = { cwd: '/', env: { PATH: process.env.PATH }, stdio: 'ignore', detached: true } as const
  const child = await startProgram(command, options, killed)
  putAmongOthers(child.pid!)
  const exit = once(child, 'exit')
  const kill = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // It has ended by itself in the meantime.
    }
  }
  const end = () => {
    kill()
    onLate(`took longer than ${timeoutMs} ms`)
  }
  let late: NodeJS.Immediate | undefined
  // When this thread has stood still, it may not have heard yet of an end that came in time: it does before the next immediates.
  const limit = setTimeout(() => {
    late = setImmediate(end)
  }, timeoutMs)
  killed.addEventListener('abort', kill)
  if (killed.aborted) kill()
  const [status, signal] = await exit
  clearTimeout(limit)
  clearImmediate(late)
  // Its number may be another's by now.
  killed.removeEventListener('abort', kill)
  if (signal !== null) return `was ended by ${signal}`
  return status === 0 ? undefined : `exit status ${status}`
}
