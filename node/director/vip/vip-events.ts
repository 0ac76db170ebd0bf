/** The changes of the groups of virtual addresses as events: one for each group whose status is another than before. */
import type { DirectorEvent, VipStatus } from '../control/answers.ts'
import type { VipService } from './vip.ts'

/**
 * Tells of every group at once, and then of each change.
 * @returns what ends it
 */
export function followVips(
  vip: Pick<VipService, 'status' | 'onChange'>,
  wallClockMs: () => number,
  handler: (event: DirectorEvent) => void,
): () => void {
  const told: string[] = []
  const tell = (statuses: readonly VipStatus[]) => {
    for (const [index, status] of statuses.entries()) {
      const text = JSON.stringify(status)
      if (text === told[index]) continue
      told[index] = text
      handler({ event: 'vip_status', timeMs: wallClockMs(), vip: status })
    }
  }
  tell(vip.status)
  return vip.onChange(tell)
}
