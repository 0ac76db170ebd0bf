/** A program that a test has started with a folder of its own: it ends with the test, and the folder goes with it. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import type { Test } from 'tap'

/**
 * @param signal that it is ended by if it still runs then
 * @returns ends it before that, and waits until it has
 */
export function endsWithTest(
  t: Test,
  child: ChildProcess,
  folder: string,
  signal: NodeJS.Signals,
): (signal: NodeJS.Signals) => Promise<void> {
  const exited = once(child, 'exit')
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    await exited
  }
  t.teardown(async () => {
    await end(signal)
    rmSync(folder, { recursive: true })
  })
  return end
}
