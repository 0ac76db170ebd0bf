/**
 * What tests make and must not leave behind, on Ctrl-C and a request to end as well. tap by itself ends the process at once then: `finally` and
 * t.teardown() have no turn, and the programs of a lab, in process groups of their own, hear nothing of it.
 *
 * tap's listener (of signal-exit) does nothing as long as there are others. Here each is one of untilInterrupted(), which sends the signal again
 * when it has cleaned up; so tap ends the process after the last of them.
 */
import { once } from 'node:events'
import type { Test } from 'tap'
import { untilInterrupted } from '../../node/drill/interruption.ts'
import { type Lab, withLab } from '../../node/drill/lab.ts'
import type { LabOptions } from '../../node/drill/lab-plan.ts'

/** Runs `work` in a lab that is there only for it. @param work need not listen to the signal: see unlessAborted() */
export function withTestLab<T>(options: LabOptions, work: (lab: Lab, signal: AbortSignal) => Promise<T>): Promise<T> {
  return untilInterrupted((signal) => withLab(options, signal, (lab) => unlessAborted(signal, () => work(lab, signal))))
}

/** As t.teardown(), and when the test is interrupted. */
export function teardown(t: Test, undo: () => unknown): void {
  const { promise: isOver, resolve: end } = Promise.withResolvers<void>()
  const undone = untilInterrupted(async (signal) => {
    await Promise.race([isOver, once(signal, 'abort')])
    await undo()
  })
  t.teardown(() => {
    end()
    return undone
  })
}

/**
 * Waits no longer for work whose signal is aborted: what it stands on is then taken away under it.
 * @throws what the signal was aborted with
 */
export async function unlessAborted<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted()
  const aborted = once(signal, 'abort').then((): never => {
    throw signal.reason
  })
  return await Promise.race([work(), aborted])
}
