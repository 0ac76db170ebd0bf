/** The active director is stopped in order. */
import { awaitSuccessor, type Failure, signalActive } from '../failure.ts'

export const handover: Failure = {
  name: 'handover',
  takesAway: 'directors',
  happened: 'The active director handed over',
  explains: 'nothing',
  isMended: false,

  make: signalActive('SIGTERM'),
  awaitReaction: awaitSuccessor,
}
