/**
 * A director without peers. What `director explain` says beforehand is what then happens. And restarted in place it goes on with its sessions:
 * after an orderly end with all of them, after a kill with those that its last checkpoint has.
 */
import type { ChildProcess } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { parse, stringify } from 'yaml'
import type { Explanation } from '../../forwarder/engine/explain.ts'
import type { ConnectionListing, DirectorStatus } from '../../node/director/control/answers.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { hostsOf, SESSION_PORT, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import { ask, configFileOf, endProcess, eventually, firstProcessOf, startDirector } from './lab-directors.ts'
import { type Session, startSession } from './lab-session.ts'
import { macOf } from './lab-traffic.ts'
import { startCommand } from './run-director.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'
const CLI = join(import.meta.dirname, '../../node/cli/director.ts')
const VIRTUAL = `${VIRTUAL_ADDRESS}:${SESSION_PORT}`

async function explain(lab: Lab, from: string): Promise<Explanation> {
  const command = [process.execPath, CLI, 'explain', '--from', from, '--to', VIRTUAL, '--json']
  const { stdout } = await startCommand(command, { DIRECTOR_SOCKET: controlSocketOf(lab.folder, 'd1') }).outcome
  return JSON.parse(stdout)
}

test('a director without peers', { skip: needsRoot, timeout: 120_000 }, async (t) => {
  const options = { name: `t${process.pid}-x`, directors: 1, servers: 2 }
  await withTestLab(options, async (lab) => {
    const begin = (): Session => {
      const session = startSession(lab)
      t.teardown(() => session.child.kill())
      return session
    }
    let session: Session | undefined
    await t.test('the server that explain names is the one that answers', async (t) => {
      session = await askAsExplained(t, lab, begin)
    })
    await t.test('its sessions go on when it is restarted', async (t) => {
      await restartTwice(t, lab, session ?? begin(), begin)
    })
  })
})

/** @returns the session that was explained, open */
async function askAsExplained(t: Test, lab: Lab, begin: () => Session): Promise<Session> {
  const before = await eventually('the next hop has answered', async () => {
    const explanation = await explain(lab, '10.1.0.201:1')
    return explanation.after?.destinationMac === undefined ? undefined : explanation
  })
  t.match(before, { outcome: 'forwarded', decision: 'scheduler', address: 'active', candidates: { length: 2 } })
  const named = hostsOf(lab.plan, 'server').find(({ interfaces }) => interfaces[0].address === before.server?.address)
  t.equal(before.before?.destinationMac, await macOf(lab, 'd1', 'outside'))
  t.equal(before.after?.sourceMac, await macOf(lab, 'd1', 'inside'))
  t.equal(before.after?.destinationMac, await macOf(lab, named?.name ?? 's1', 'inside'))
  t.same((await explain(lab, '10.1.0.201:1')).server, before.server, 'asking again changes nothing')

  const session = begin()
  t.equal(await session.ask(), named?.name)

  const [{ client, server }] = (await ask<ConnectionListing[]>(lab, 'd1', '/connections')).filter(
    ({ virtual }) => virtual === VIRTUAL,
  )
  t.match(await explain(lab, client), {
    outcome: 'forwarded',
    decision: 'table',
    connection: { state: 'ESTABLISHED' },
    before: { sourceMac: await macOf(lab, 'c1', 'outside'), source: client, destination: VIRTUAL },
    after: { source: client, destination: server },
  })
  return session
}

async function restartTwice(t: Test, lab: Lab, session: Session, begin: () => Session): Promise<void> {
  const server = await session.ask()
  const file = configFileOf(lab, 'd1')
  writeFileSync(file, stringify({ ...parse(readFileSync(file, 'utf8')), checkpoint: { intervalS: 1 } }))
  const second = await restart(lab, firstProcessOf(lab, 'd1'), 'SIGTERM')
  t.equal(await session.ask(), server, 'after an orderly end')

  const younger = begin()
  const itsServer = await younger.ask()
  t.match(itsServer, /^s[12]$/)
  await eventually('a checkpoint has both sessions', async () => {
    const { checkpoint } = await ask<DirectorStatus>(lab, 'd1', '/status')
    return (checkpoint?.records ?? 0) >= 2 || undefined
  })
  await restart(lab, second, 'SIGKILL')
  t.equal(await session.ask(), server, 'after a kill')
  t.equal(await younger.ask(), itsServer)
}

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
