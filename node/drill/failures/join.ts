/** A director that was away joins the pool, catches up, and takes over, being the one with the highest priority. */
import { DirectorError } from '../../../protocol/errors.ts'
import { awaitSuccessor, directorOn, type Failure, lookUntil } from '../failure.ts'
import { groupOf, statusOf } from '../lab-directors.ts'
import { hostsOf, VIRTUAL_ADDRESSES } from '../lab-plan.ts'
import { endProcess } from '../lab-programs.ts'
import { monotonicMs } from '../load-messages.ts'

/** A process starts, copies the table, and waits until it is in sync. */
const DEADLINE_MS = 30_000

export const join: Failure = {
  name: 'join',
  takesAway: 'directors',
  happened: 'A director joined the pool and took over',
  explains: 'nothing',
  isMended: true,

  async prepare(rehearsal) {
    const { lab, signal } = rehearsal
    const [newcomer] = hostsOf(lab.plan, 'director')
    const atMs = monotonicMs()
    // It may take a while to end once another has taken over.
    const [reaction] = await Promise.all([
      awaitSuccessor(rehearsal, { victim: newcomer.name, atMs }),
      endProcess(directorOn(lab, newcomer.name).child, 'SIGTERM', signal),
    ])
    if (!reaction) throw new DirectorError('LAB_FAILED', `lab ${lab.plan.name}: nobody follows ${newcomer.name}`)
    return reaction.active
  },

  async make({ lab }, announce) {
    const [newcomer] = hostsOf(lab.plan, 'director')
    const atMs = monotonicMs()
    lab.startDirector(newcomer.name)
    announce(atMs)
    return { victim: newcomer.name, atMs }
  },

  /** The time is that from its start until it is active. */
  async awaitReaction({ lab, family, signal }, { victim, atMs }) {
    return await lookUntil(atMs + DEADLINE_MS, signal, async () => {
      const since = groupOf(await statusOf(lab.folder, victim), VIRTUAL_ADDRESSES[family])?.activeSinceMonotonicMs
      return since === undefined || since === null ? undefined : { active: victim, atMs: since, sinceMs: atMs }
    })
  },
}
