/**
 * Time as the cluster's parts get it: what they do at which instant is then up to a test or a simulation.
 */
import { monotonicMs } from '../../forwarder/clock.ts'

export interface Clock {
  /** Milliseconds of a clock that only goes forward. */
  now(): number
  /** Runs `task` once, after delayMs. Returns a function that calls it off. */
  schedule(delayMs: number, task: () => void): () => void
}

export const systemClock: Clock = {
  now: monotonicMs,
  schedule(delayMs, task) {
    const timer = setTimeout(task, delayMs)
    return () => clearTimeout(timer)
  },
}

/** Resolves after delayMs. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.schedule(delayMs, resolve))
}
