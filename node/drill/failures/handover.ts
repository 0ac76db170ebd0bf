/** The active director is stopped in order. */
import { awaitSuccessor, directorOn, type Failure } from '../failure.ts'
import { monotonicMs } from '../load-messages.ts'

export const handover: Failure = {
  name: 'handover',
  takesAway: 'directors',
  happened: 'The active director handed over',
  explains: 'nothing',
  isMended: false,

  async make({ lab, active }, announce) {
    const atMs = monotonicMs()
    directorOn(lab, active).child.kill('SIGTERM')
    announce(atMs)
    return { victim: active, atMs }
  },

  awaitReaction: awaitSuccessor,
}
