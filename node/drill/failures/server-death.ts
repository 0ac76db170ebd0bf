/** A real server loses its power. */
import { type Failure, lookUntil, REACTION_DEADLINE_MS } from '../failure.ts'
import { statusOf } from '../lab-directors.ts'
import { killProcesses, unplug } from '../lab-network.ts'
import { addressOf, hostNamed, hostsOf, VIRTUAL_ADDRESSES } from '../lab-plan.ts'
import { monotonicMs } from '../load-messages.ts'

export const serverDeath: Failure = {
  name: 'server-death',
  takesAway: 'servers',
  happened: 'A real server died',
  explains: 'beginnings',
  isMended: false,

  async make({ lab }, announce) {
    const [victim] = hostsOf(lab.plan, 'server')
    const atMs = monotonicMs()
    announce(atMs)
    // The cable first: the kernel of a machine without power says no goodbye for the processes on it.
    await unplug(lab.plan, victim)
    await killProcesses([victim.namespace])
    return { victim: victim.name, atMs }
  },

  /** The active director has found it dead. */
  async awaitReaction({ lab, family, active, signal }, fault) {
    const address = addressOf(hostNamed(lab.plan, fault.victim).interfaces[0], family)
    return await lookUntil(fault.atMs + REACTION_DEADLINE_MS, signal, async () => {
      const status = await statusOf(lab.folder, active)
      const isDown = status?.services
        .filter((service) => service.address === VIRTUAL_ADDRESSES[family])
        .every(({ servers }) => servers.some((server) => server.address === address && server.health === 'down'))
      return isDown ? { active, atMs: monotonicMs(), sinceMs: null } : undefined
    })
  },
}
