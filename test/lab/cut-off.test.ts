/** A director that was cut off for a moment is out of sync when its links come up, until its peer has answered it; and its log says so. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import type { DirectorStatus } from '../../node/director/control/answers.ts'
import { plugIn, unplug } from '../../node/drill/lab-network.ts'
import { hostNamed } from '../../node/drill/lab-plan.ts'
import { logsOf } from '../../node/drill/lab-programs.ts'
import { ask, eventually } from './lab-directors.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

test('a link that comes up again is doubted', { skip: needsRoot, timeout: 120_000 }, async (t) => {
  const options = { name: `t${process.pid}-l`, directors: 2, servers: 1 }
  await withTestLab(options, async (lab) => {
    /** What its log says of being in sync, the earliest first. */
    const told = () =>
      readFileSync(join(logsOf(lab.folder), 'd2-director.log'), 'utf8')
        .split('\n')
        .flatMap((line): { msg: string; reason?: string }[] => (line.startsWith('{') ? [JSON.parse(line)] : []))
        .filter(({ msg }) => msg.endsWith('in sync with the pool'))
        .map(({ reason }) => reason ?? 'in sync')
    const before = told()
    t.equal(before.at(-1), 'in sync')
    const d2 = hostNamed(lab.plan, 'd2')
    await unplug(lab.plan, d2)
    await eventually('d2 sees that its links are down', async () => {
      const { vips } = await ask<DirectorStatus>(lab, 'd2', '/status')
      return vips.every(({ state }) => state === 'fault') || undefined
    })
    await plugIn(lab.plan, d2)
    const since = await eventually('d2 is in sync again', async () => {
      const all = told()
      return all.length > before.length && all.at(-1) === 'in sync' ? all.slice(before.length) : undefined
    })
    // On a busy machine the cut may last for as long as it takes to miss the peer: then that is told first, and nothing more.
    t.match(since[0], /^(a link was down|reaches no peer any more)$/, since.join(', '))
  })
})
