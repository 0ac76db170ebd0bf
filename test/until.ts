/** Waiting in tests for something that another thread, process or the kernel does. */
import { setTimeout as wait } from 'node:timers/promises'

/** Programs take seconds to start on a busy host, and more while somebody asks all the time. */
const PROGRAMS_MS = 60_000
const PROGRAMS_PAUSE_MS = 5

/** Asks again and again, with a turn of the event loop between, until it is so; throws if that takes too long. */
export async function until(
  isSo: () => boolean,
  deadlineMs = 10_000,
  pause: () => Promise<unknown> = () => new Promise(setImmediate),
): Promise<void> {
  const deadline = performance.now() + deadlineMs
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${isSo}`)
    await pause()
  }
}

/** As until(), for what programs that a test has started do: it leaves the processor to them. */
export async function untilPrograms(isSo: () => boolean): Promise<void> {
  await until(isSo, PROGRAMS_MS, () => wait(PROGRAMS_PAUSE_MS))
}
