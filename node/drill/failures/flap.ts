/** The active director's cables are pulled and plugged in again, several times. */
import { setTimeout as delay } from 'node:timers/promises'
import { awaitSuccessor, type Failure } from '../failure.ts'
import { plugIn, unplug } from '../lab-network.ts'
import { hostNamed } from '../lab-plan.ts'
import { monotonicMs } from '../load-messages.ts'

const TIMES = 4
const UNPLUGGED_MS = 600
const PLUGGED_MS = 1400

export const flap: Failure = {
  name: 'flap',
  takesAway: 'directors',
  happened: `The cables of the active director were pulled ${TIMES} times`,
  explains: 'handshakes',
  isMended: true,

  async make({ lab, active, signal }, announce) {
    const host = hostNamed(lab.plan, active)
    const lossesMs: number[] = []
    for (let time = 0; time < TIMES; time++) {
      lossesMs.push(monotonicMs())
      if (time === 0) announce(lossesMs[0])
      await unplug(lab.plan, host)
      await delay(UNPLUGGED_MS, undefined, { signal })
      // The last time is for the pool to react to.
      if (time === TIMES - 1) break
      await plugIn(lab.plan, host)
      await delay(PLUGGED_MS, undefined, { signal })
    }
    return { victim: active, atMs: lossesMs[0], lossesMs }
  },

  async awaitReaction(rehearsal, fault) {
    const lastMs = fault.lossesMs?.at(-1) ?? fault.atMs
    return await awaitSuccessor(rehearsal, { ...fault, atMs: lastMs })
  },

  async mend({ lab }, { victim }) {
    await plugIn(lab.plan, hostNamed(lab.plan, victim))
  },
}
