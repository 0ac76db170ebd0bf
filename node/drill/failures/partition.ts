/** The directors cannot hear each other for some seconds, while clients and servers reach all of them: each becomes active. */
import { setTimeout as delay } from 'node:timers/promises'
import { type Failure, lookUntil, REACTION_DEADLINE_MS } from '../failure.ts'
import { activeDirectors } from '../lab-directors.ts'
import { isolate } from '../lab-network.ts'
import { hostsOf } from '../lab-plan.ts'
import { monotonicMs } from '../load-messages.ts'

const APART_MS = 3000
/** Nobody tells when he was the last. */
const ONE_LOOK_MS = 20

export const partition: Failure = {
  name: 'partition',
  takesAway: 'directors',
  happened: 'The directors could not hear each other for 3 s',
  explains: 'beginnings',
  isMended: true,

  async make({ lab, active }, announce) {
    const atMs = monotonicMs()
    announce(atMs)
    await isolate(lab.plan, hostsOf(lab.plan, 'director'), true)
    return { victim: active, atMs }
  },

  /** The time is that from the end of the partition until one of them alone is active. */
  async awaitReaction({ lab, family, signal }, fault) {
    const splitUntilMs = fault.atMs + APART_MS
    const isSplit = await lookUntil(splitUntilMs, signal, async () =>
      (await activeDirectors(lab, family)).length > 1 ? true : undefined,
    )
    if (!isSplit) return undefined
    await delay(Math.max(0, splitUntilMs - monotonicMs()), undefined, { signal })
    await isolate(lab.plan, hostsOf(lab.plan, 'director'), false)
    const sinceMs = monotonicMs()
    const lookForOne = async () => {
      const [active, ...more] = await activeDirectors(lab, family)
      return active === undefined || more.length > 0 ? undefined : { active, atMs: monotonicMs(), sinceMs }
    }
    return await lookUntil(sinceMs + REACTION_DEADLINE_MS, signal, lookForOne, ONE_LOOK_MS)
  },
}
