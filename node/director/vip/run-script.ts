/**
 * An operator's program, run without a shell, with nothing of ours but PATH, in a process group of its own that is killed whole
 * when its time is over. What it prints is not read.
 */
import { spawn } from 'node:child_process'

export interface ScriptRun {
  /** Why it failed; undefined: exit status 0. Never rejects. */
  readonly ended: Promise<string | undefined>
  /** Ends it at once, if it runs. */
  kill(): void
}

export type RunScript = (command: readonly string[], timeoutMs: number) => ScriptRun

export const runScript: RunScript = ([program, ...words], timeoutMs) => {
  const child = spawn(program, words, {
    cwd: '/',
    env: { PATH: process.env.PATH },
    stdio: 'ignore',
    detached: true,
  })
  let isOver = false
  let isLate = false
  const kill = () => {
    if (isOver || child.pid === undefined) return
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // It has ended by itself in the meantime.
    }
  }
  const limit = setTimeout(() => {
    isLate = true
    kill()
  }, timeoutMs)
  const ended = new Promise<string | undefined>((resolve) => {
    const end = (failure: string | undefined) => {
      isOver = true
      clearTimeout(limit)
      resolve(failure)
    }
    child.once('error', (error) => end(`cannot be run: ${error.message}`))
    child.once('exit', (status, signal) => {
      if (isLate) end(`took longer than ${timeoutMs} ms`)
      else if (signal !== null) end(`was ended by ${signal}`)
      else end(status === 0 ? undefined : `exit status ${status}`)
    })
  })
  return { ended, kill }
}
