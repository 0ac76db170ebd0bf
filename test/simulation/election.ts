/** How the virtual services of a simulated pool are set up for elections: by default in most pools, in others otherwise (docs/operations.md). */
import type { VipConfig } from '../../node/director/vip/vip-config.ts'
import { between, sourceFor } from './draw.ts'
import { outsideAddress } from './site.ts'

export type Election = Pick<
  VipConfig,
  'version' | 'advertisementIntervalMs' | 'preempt' | 'preemptDelayMs' | 'unicastPeers'
>

/** The least that version 2 can say. */
const VERSION_2_INTERVAL_MS = 1000

/** @param intervalMs of version 3 */
export function drawElection(seed: number, numbers: readonly number[], intervalMs: number): Election {
  const random = sourceFor(seed, 'election')
  const isOld = random.oneIn(10)
  const preempt = !random.oneIn(5)
  const isDelayed = random.oneIn(5)
  const preemptDelayMs = between(random, 200, 2000)
  const isUnicast = random.oneIn(5)
  return {
    version: isOld ? 2 : 3,
    advertisementIntervalMs: isOld ? VERSION_2_INTERVAL_MS : intervalMs,
    preempt,
    preemptDelayMs: isDelayed ? preemptDelayMs : 0,
    unicastPeers: isUnicast ? numbers.map(outsideAddress) : undefined,
  }
}
