/** Instants that a later run on the same host can place, also when somebody has set its wall clock meanwhile. */
import { readFileSync } from 'node:fs'
import { monotonicMs } from '../../../forwarder/clock.ts'

export interface Instant {
  readonly wallMs: number
  /** CLOCK_MONOTONIC, which begins anew with each boot. */
  readonly monotonicMs: number
  /** Tells one boot of a host from another (random(4), /proc/sys/kernel/random/boot_id). */
  readonly boot: string
}

let boot: string | undefined

export function instantNow(): Instant {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return { wallMs: Date.now(), monotonicMs: monotonicMs(), boot }
}

/** Never below 0: what the wall clock says after a reboot may be anything. */
export function elapsedMs(from: Instant, to: Instant): number {
  const elapsed = from.boot === to.boot ? to.monotonicMs - from.monotonicMs : to.wallMs - from.wallMs
  return Math.max(0, elapsed)
}
