/**
 * Long work on the main thread in slices, so that VRRP's timers, which run there too, get their turn between them.
 *
 * Whatever is under way at the same time shares one slice a turn of the event loop: each gets at least one piece of its work done,
 * and together they take little longer than one would.
 */
import { monotonicMs } from '../../forwarder/clock.ts'

/** A tenth of the shortest usual advertisement interval. */
const SLICE_MS = 5

/** Call and await between two pieces of work, each well below a millisecond; it lets others work when the slice is used up. */
export type Pace = () => Promise<void> | undefined

let sliceEndsMs = 0
let nextSlice: Promise<void> | undefined

export function startPace(): Pace {
  if (nextSlice === undefined && monotonicMs() >= sliceEndsMs) beginSlice()
  return pause
}

/**
 * The items one by one, with the time between them for others.
 * @param steps each well below a millisecond; undefined: nothing came of it
 */
export async function* paced<T>(steps: Iterable<T | undefined>): AsyncGenerator<T> {
  const pace = startPace()
  for (const item of steps) {
    if (item !== undefined) yield item
    await pace()
  }
}

/** Resolves when nobody waits for a slice, for who has to know that all is done. */
export async function untilDone(): Promise<void> {
  do await new Promise(setImmediate)
  while (nextSlice !== undefined)
}

function pause(): Promise<void> | undefined {
  if (nextSlice === undefined && monotonicMs() < sliceEndsMs) return undefined
  nextSlice ??= new Promise((resolve) => {
    setImmediate(() => {
      nextSlice = undefined
      beginSlice()
      resolve()
    })
  })
  return nextSlice
}

function beginSlice(): void {
  sliceEndsMs = monotonicMs() + SLICE_MS
}
