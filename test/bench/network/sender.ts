/**
 * The client of the datagrams: small ones of many flows, by packet sockets, as many threads as the machine has processors.
 *
 * At a fixed rate it sends evenly, a burst every quarter of a millisecond. Without one it looks for the highest rate at which
 * little is lost: up by a twelfth while next to nothing is missing at the server, down by a twelfth when something is.
 */
import { availableParallelism } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { datagramsReceived } from './counters.ts'
import { RATE, SENT, type SenderOptions, type SenderThreadInput } from './sender-options.ts'

const MOST_THREADS = 4
const FIRST_RATE = 50_000
const ADJUST_MS = 40
const STEP = 13 / 12
/** Share of packets that may be missing. */
const TOLERATED_LOSS = 0.01

const options: SenderOptions = JSON.parse(process.argv[2])
const threads = Math.min(availableParallelism(), MOST_THREADS)
const shared = new SharedArrayBuffer((SENT + threads) * 4)
const words = new Int32Array(shared)
words[RATE] = (options.rate ?? FIRST_RATE * threads) / threads
for (let number = 0; number < threads; number++) {
  new Worker(new URL('./sender-thread.ts', import.meta.url), {
    workerData: { ...options, number, shared } satisfies SenderThreadInput,
  })
}
const sent = () => words.subarray(SENT).reduce((sum, count) => sum + count, 0)
while (sent() === 0) await delay(1)
console.log('sending')
while (options.rate === undefined) {
  const sentBefore = sent()
  const receivedBefore = datagramsReceived(options.serverPid)
  await delay(ADJUST_MS)
  const sentNow = (sent() - sentBefore) | 0
  const received = datagramsReceived(options.serverPid) - receivedBefore
  const isLossy = received < sentNow * (1 - TOLERATED_LOSS)
  // Never far beyond what the threads bring themselves to send.
  const highest = (sentNow / threads / ADJUST_MS) * 1000 * STEP
  words[RATE] = isLossy ? words[RATE] / STEP : Math.min(words[RATE] * STEP, Math.max(highest, FIRST_RATE))
}
