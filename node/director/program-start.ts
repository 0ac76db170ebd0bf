/**
 * Starts other programs, one a turn of the event loop. This thread stands still until the child is the other program, and VRRP's timers
 * run on it, too: where three were started at once, an advertisement came later than backups wait.
 *
 * None inherits what the director has open: a script that gave its rights up would have VRRP's sockets and the store all the same, and a
 * daemon that it left would stay in their groups after the director's end.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeOnExec } from '../../forwarder/sys/close-on-exec.ts'

/** When the next one may be started. */
let freeTurn: Promise<unknown> = Promise.resolve()

/** Resolves in a turn in which nothing else is started, with nothing open that a program would inherit. */
export async function ownTurn(): Promise<void> {
  const turn = freeTurn
  freeTurn = turn.then(() => new Promise(setImmediate))
  await turn
  closeOnExec()
}

/**
 * As spawn() does, in a turn of its own, and with one way to fail: of what keeps a program from being started spawn() throws most
 * (ENOTDIR, ENOMEM, a NUL in a word) and tells the rest by the event 'error', with no streams to read then.
 * @param calledOff aborted before its turn: it is not started
 * @throws Error that says why it does not run
 */
export async function startProgram(
  [program, ...words]: readonly string[],
  options: SpawnOptions,
  calledOff: AbortSignal,
): Promise<ChildProcess> {
  await ownTurn()
  calledOff.throwIfAborted()
  const child = spawn(program, words, options)
  await once(child, 'spawn')
  return child
}
