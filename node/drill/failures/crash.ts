/** The active director is killed. */
import { putLast } from '../../processor-share.ts'
import { awaitSuccessor, directorOn, type Failure } from '../failure.ts'
import { monotonicMs } from '../load-messages.ts'

export const crash: Failure = {
  name: 'crash',
  takesAway: 'directors',
  happened: 'The active director was killed',
  explains: 'handshakes',
  isMended: false,

  async make({ lab, active }, announce) {
    const { child } = directorOn(lab, active)
    // A host without power has nothing to tidy up; what this one's kernel does for the process shall not keep the others waiting.
    if (child.pid !== undefined) putLast(child.pid)
    // Nothing comes between the two: what begins after this time must not find the director alive.
    const atMs = monotonicMs()
    child.kill('SIGKILL')
    announce(atMs)
    return { victim: active, atMs }
  },

  awaitReaction: awaitSuccessor,
}
