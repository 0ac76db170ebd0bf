/** Waiting in tests for something that another thread, process or the kernel does. */

/** Asks again and again, with a turn of the event loop between, until it is so; throws if that takes too long. */
export async function until(isSo: () => boolean, deadlineMs = 10_000): Promise<void> {
  const deadline = performance.now() + deadlineMs
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${isSo}`)
    await new Promise(setImmediate)
  }
}
