/**
 * VRRP's intervals as formulas (RFC 9568 section 6.1), and those that are ours (docs/divergence.md, VRRP).
 * All times in milliseconds. `intervalMs` is the advertisement interval of the active router, `skewMs` a backup's own skew.
 */
import type { VrrpVersion } from '../../../protocol/packet/vrrp.ts'

/** Priority that a director which is not in sync advertises when it has to be active; no director in sync uses it. */
export const PRIORITY_OUT_OF_SYNC = 1

/** Timers this much late, or one interval if that is more, are a stall of this process and not ordinary jitter. */
const SMALLEST_STALL_MS = 20

/**
 * Skew_Time: the better the priority, the sooner a backup acts. In version 3 from almost 0 to almost one interval, in version 2
 * to almost a second (RFC 3768 section 6.1).
 */
export function skewTime(priority: number, intervalMs: number, version: VrrpVersion): number {
  return ((256 - priority) * (version === 2 ? 1000 : intervalMs)) / 256
}

/** Active_Down_Interval: how long the active router may be silent before a backup takes over. */
export function activeDownInterval(skewMs: number, intervalMs: number): number {
  return 3 * intervalMs + skewMs
}

/** Active_Down_Interval of a director. One that is not in sync waits an interval more, so that any that is comes first. */
export function takeoverDelay(skewMs: number, intervalMs: number, inSync: boolean): number {
  return activeDownInterval(skewMs, intervalMs) + (inSync ? 0 : intervalMs)
}

/** What a backup waits after the active router has resigned: Skew_Time, and an interval more when not in sync. */
export function resignationDelay(skewMs: number, intervalMs: number, inSync: boolean): number {
  return skewMs + (inSync ? 0 : intervalMs)
}

/** What a backup listens on after its timer came late: a living active router is heard within one interval. */
export function stallDelay(skewMs: number, intervalMs: number, inSync: boolean): number {
  return intervalMs + resignationDelay(skewMs, intervalMs, inSync)
}

/** How late a backup's timer may be before its silence counts as our own slowness. */
export function stallTolerance(intervalMs: number): number {
  return Math.max(intervalMs, SMALLEST_STALL_MS)
}

/** An active router that was silent this long must expect that another has taken over: the best of backups would have. */
export function usurpationTime(intervalMs: number): number {
  return 3 * intervalMs
}

/** The longest that a resigning router waits for a successor: the slowest backup, if it missed the resignation. */
export function successionTime(intervalMs: number): number {
  return takeoverDelay(intervalMs, intervalMs, false)
}
