/** Runs the director command as people do: in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { programFile } from '../../forwarder/program-file.ts'

const COMMAND = programFile('node/cli/director')

export interface Outcome {
  /** Exit code, or the signal that ended it. */
  code: number | NodeJS.Signals
  stdout: string
  stderr: string
}

export function startDirectorCommand(...words: string[]): { child: ChildProcess; outcome: Promise<Outcome> } {
  return startCommand([process.execPath, COMMAND, ...words])
}

/** Any command line, with these variables in its environment besides our own. */
export function startCommand(
  [program, ...args]: readonly string[],
  environment: Record<string, string> = {},
): { child: ChildProcess; outcome: Promise<Outcome> } {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment } })
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? signal!))
  })
  const outcome = Promise.all([ended, text(child.stdout), text(child.stderr)]).then(([code, stdout, stderr]) => ({
    code,
    stdout,
    stderr,
  }))
  return { child, outcome }
}

export function directorCommand(...words: string[]): Promise<Outcome> {
  return startDirectorCommand(...words).outcome
}
