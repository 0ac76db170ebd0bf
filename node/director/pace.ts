/**
 * Long work on the main thread in slices, so that VRRP's timers, which run there too, get their turn between them.
 */
import { setImmediate } from 'node:timers/promises'
import { monotonicMs } from '../../forwarder/clock.ts'

/** A tenth of the shortest usual advertisement interval. */
const SLICE_MS = 5

/** Call and await between two pieces of work; it lets others work when the slice is used up. */
export type Pace = () => Promise<void> | undefined

export function startPace(nowMs: () => number = monotonicMs): Pace {
  let sliceEndsMs = nowMs() + SLICE_MS
  return () => {
    if (nowMs() < sliceEndsMs) return undefined
    return setImmediate().then(() => {
      sliceEndsMs = nowMs() + SLICE_MS
    })
  }
}
