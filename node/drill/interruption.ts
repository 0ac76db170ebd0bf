/**
 * Work that makes things which must not stay behind: Ctrl-C and a request to end do not kill it but abort its signal, so that it
 * can clean up; then the process ends as the signal would have ended it.
 */
import { setTimeout as delay } from 'node:timers/promises'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const TURN_MS = 1000

export async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  let received: (typeof SIGNALS)[number] | undefined
  const interrupt = (signal: NodeJS.Signals) => {
    received ??= signal as (typeof SIGNALS)[number]
    controller.abort(new Error(`interrupted by ${signal}`))
  }
  for (const signal of SIGNALS) process.on(signal, interrupt)
  try {
    return await work(controller.signal)
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupt)
    if (received) {
      process.kill(process.pid, received)
      // Somebody else may listen for it as well, and gets a turn to end the process in his way.
      await delay(TURN_MS)
    }
  }
}
