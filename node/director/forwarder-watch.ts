/**
 * Whether the forwarding thread still breathes, and that it knows the same of this one. VRRP runs on the main thread: a director whose forwarder hung in a system call, or went round in
 * a circle, would go on to advertise addresses that lead nowhere.
 *
 * The forwarder breathes twenty times a second also when there is nothing to do (forwarder/sys/poll.ts), and writes down when. Its silence counts
 * only if this thread has been on time for as long: a process that was stopped, or a host that stood still, says nothing of its forwarder.
 *
 * A forwarder whose main thread hung would go on to answer for addresses that another director has taken over meanwhile. So it does only for as
 * long as it may be silent itself, after this thread was last here. After a longer standstill this thread listens before it says so again, as
 * VRRP does (virtual-router.ts): the addresses may be another's, and the forwarder does not know yet.
 */
import type { Forwarder } from '../../forwarder/forwarder.ts'
import type { Clock } from './clock.ts'

/** Ten times what the forwarder ever rests. */
const SHORTEST_LIMIT_MS = 500
const CHECKS_A_LIMIT = 5
/** These last longer than an advertisement interval, for which VRRP listens. */
const CHECKS_TO_LISTEN = 2

/** How long it may be silent, in milliseconds: not less than the peers let a director be, by the advertisement intervals of its groups. */
export function silenceLimit(intervalsMs: readonly number[]): number {
  return intervalsMs.length === 0 ? SHORTEST_LIMIT_MS : Math.max(SHORTEST_LIMIT_MS, 3 * Math.min(...intervalsMs))
}

/**
 * @param onFault gets what is wrong once, and undefined once it is well again
 * @returns what ends the watch
 */
export function watchForwarder(
  forwarder: Pick<Forwarder, 'silentForMs' | 'answerFor'>,
  limitMs: number,
  clock: Clock,
  onFault: (fault: string | undefined) => void,
): () => void {
  const intervalMs = limitMs / CHECKS_A_LIMIT
  let checkedMs = clock.now()
  let onTimeSinceMs = checkedMs
  let listensUntilMs = checkedMs
  let isSilent = false
  let cancel = clock.schedule(intervalMs, check)
  function check(): void {
    cancel = clock.schedule(intervalMs, check)
    const nowMs = clock.now()
    if (nowMs - checkedMs > 2 * intervalMs) onTimeSinceMs = nowMs
    if (nowMs - checkedMs > limitMs) listensUntilMs = nowMs + CHECKS_TO_LISTEN * intervalMs
    checkedMs = nowMs
    if (nowMs >= listensUntilMs) forwarder.answerFor(limitMs)
    const silentMs = forwarder.silentForMs
    if (isSilent === silentMs > limitMs) return
    if (!isSilent && nowMs - onTimeSinceMs < limitMs) return
    isSilent = !isSilent
    onFault(isSilent ? `the forwarding thread has stood still for ${Math.round(silentMs)} ms` : undefined)
  }
  return () => cancel()
}
