/** The active director's process stands still for some seconds, and then goes on as if nothing had been. */
import { setTimeout as delay } from 'node:timers/promises'
import { awaitSuccessor, directorOn, type Failure, signalActive } from '../failure.ts'
import { monotonicMs } from '../load-messages.ts'

const FROZEN_MS = 3000

export const freeze: Failure = {
  name: 'freeze',
  takesAway: 'directors',
  happened: 'The active director stood still for 3 s',
  explains: 'handshakes',
  isMended: true,

  make: signalActive('SIGSTOP'),
  awaitReaction: awaitSuccessor,

  async mend({ lab, signal }, fault) {
    await delay(Math.max(0, fault.atMs + FROZEN_MS - monotonicMs()), undefined, { signal })
    directorOn(lab, fault.victim).child.kill('SIGCONT')
  },
}
