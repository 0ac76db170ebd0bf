/** Every director is stopped in order and started again, one after the other, as for an upgrade. */
import { directorOn, type Failure } from '../failure.ts'
import { findActive } from '../lab-directors.ts'
import { hostsOf } from '../lab-plan.ts'
import { endsInTime } from '../lab-programs.ts'
import { awaitWholePool } from '../lab-ready.ts'
import { monotonicMs } from '../load-messages.ts'

export const rollingRestart: Failure = {
  name: 'rolling-restart',
  takesAway: 'directors',
  happened: 'Every director was stopped and started again',
  explains: 'nothing',
  isMended: true,

  async make({ lab, active, spared, signal }, announce) {
    const atMs = monotonicMs()
    announce(atMs)
    const hung: string[] = []
    for (const { name } of hostsOf(lab.plan, 'director')) {
      if (name === spared) continue
      const { child } = directorOn(lab, name)
      child.kill('SIGTERM')
      if (!(await endsInTime(child, signal))) hung.push(name)
      lab.startDirector(name)
      await awaitWholePool(lab, signal)
    }
    return { victim: active, atMs, hung }
  },

  async awaitReaction({ lab, family }) {
    return { active: await findActive(lab, family), atMs: monotonicMs(), sinceMs: null }
  },
}
