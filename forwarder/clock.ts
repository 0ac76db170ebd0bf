/**
 * CLOCK_MONOTONIC in milliseconds, the same number in every thread and process of the host.
 * performance.now() counts from each thread's own start, so its distance to the system's clock is taken once.
 */
const [seconds, nanoseconds] = process.hrtime()
const offset = seconds * 1000 + nanoseconds / 1e6 - performance.now()

export function monotonicMs(): number {
  return performance.now() + offset
}
