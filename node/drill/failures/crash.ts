/** The active director is killed. */
import { putLast } from '../../processor-share.ts'
import { awaitSuccessor, directorOn, type Failure, signalActive } from '../failure.ts'

const kill = signalActive('SIGKILL')

export const crash: Failure = {
  name: 'crash',
  takesAway: 'directors',
  happened: 'The active director was killed',
  explains: 'handshakes',
  isMended: false,

  async make(rehearsal, announce) {
    const { pid } = directorOn(rehearsal.lab, rehearsal.active).child
    // A host without power has nothing to tidy up; what this one's kernel does for the process shall not keep the others waiting.
    if (pid !== undefined) putLast(pid)
    return await kill(rehearsal, announce)
  },

  awaitReaction: awaitSuccessor,
}
