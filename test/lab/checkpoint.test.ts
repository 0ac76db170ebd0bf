/**
 * A director alone, restarted in place: it goes on with the sessions that it had, after an orderly end with all of them, and after a
 * kill with those that its last checkpoint has.
 */
import type { ChildProcess } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'tap'
import { parse, stringify } from 'yaml'
import type { DirectorStatus } from '../../node/director/control/api.ts'
import { type Lab, withLab } from '../../node/drill/lab.ts'
import { ask, configFileOf, endProcess, eventually, firstProcessOf, startDirector } from './lab-directors.ts'
import { startSession } from './lab-session.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

test('a director without peers keeps its sessions over its restart', {
  skip: needsRoot,
  timeout: 120_000,
}, async (t) => {
  const options = { name: `t${process.pid}-c`, directors: 1, servers: 1 }
  await withLab(options, new AbortController().signal, async (lab) => {
    const first = startSession(lab)
    t.teardown(() => first.child.kill())
    const server = await first.ask()
    t.equal(server, 's1')

    const file = configFileOf(lab, 'd1')
    writeFileSync(file, stringify({ ...parse(readFileSync(file, 'utf8')), checkpoint: { intervalS: 1 } }))
    const second = await restart(lab, firstProcessOf(lab, 'd1'), 'SIGTERM')
    t.equal(await first.ask(), server, 'after an orderly end')

    const younger = startSession(lab)
    t.teardown(() => younger.child.kill())
    const itsServer = await younger.ask()
    await eventually('a checkpoint has both sessions', async () => {
      const { checkpoint } = await ask<DirectorStatus>(lab, 'd1', '/status')
      return (checkpoint?.records ?? 0) >= 2 || undefined
    })
    await restart(lab, second, 'SIGKILL')
    t.equal(await first.ask(), server, 'after a kill')
    t.equal(await younger.ask(), itsServer)
  })
})

/** @returns the new process, when it holds the addresses */
async function restart(lab: Lab, director: ChildProcess, signal: NodeJS.Signals): Promise<ChildProcess> {
  await endProcess(director, signal)
  const { child } = startDirector(lab, 'd1')
  await eventually('the director holds its addresses', async () => {
    const { vips } = await ask<DirectorStatus>(lab, 'd1', '/status')
    return vips.every(({ state }) => state === 'active') || undefined
  })
  return child
}
