/** Real servers with agents for HAProxy: inetd that hands out a line. A server is drained, taken away and put back by what its agent says. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { parse, stringify } from 'yaml'
import type { DirectorStatus, ServerListing } from '../../node/director/control/answers.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { hostsOf, SESSION_PORT, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { ask, configFileOf, endProcess, eventually, firstProcessOf, startDirector } from './lab-directors.ts'
import { startSession } from './lab-session.ts'
import { startOnHost } from './lab-traffic.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'
const PORT = 3333

test("what servers' agents for HAProxy say counts", { skip: needsRoot, timeout: 120_000 }, async (t) => {
  const options = { name: `t${process.pid}-h`, directors: 1, servers: 2 }
  await withTestLab(options, async (lab) => {
    for (const { name } of hostsOf(lab.plan, 'server')) startAgent(lab, name)
    const config = parse(readFileSync(configFileOf(lab, 'd1'), 'utf8'))
    writeFileSync(configFileOf(lab, 'd1'), stringify({ ...config, agentCheck: { port: PORT, intervalMs: 100 } }))
    await endProcess(firstProcessOf(lab, 'd1'), 'SIGTERM')
    startDirector(lab, 'd1')
    const becomes = (server: number, description: string, so: (server: ServerListing) => boolean) =>
      eventually(`s${server} says ${description}`, async () => {
        const { services, inSync } = await ask<DirectorStatus>(lab, 'd1', '/status')
        const service = services.find(({ address, port }) => address === VIRTUAL_ADDRESS && port === SESSION_PORT)
        const listing = service?.servers[server - 1]
        return (inSync && listing?.agentCheck?.description === description && so(listing)) || undefined
      })
    const session = async () => {
      const begun = startSession(lab)
      t.teardown(() => begun.child.kill())
      return { ...begun, server: await begun.ask() }
    }
    for (const server of [1, 2]) await becomes(server, 'begins', ({ health }) => health === 'up')
    const sessions = [await session(), await session()]
    t.same(sessions.map(({ server }) => server).sort(), ['s1', 's2'])

    says(lab, 's1', '50% # busy')
    // The lab's own agent may find it loaded besides.
    await becomes(1, 'busy', ({ effectiveWeight, loadFactor }) => effectiveWeight === Math.round(10 * loadFactor))

    says(lab, 's1', 'drain # leaves')
    await becomes(1, 'leaves', ({ effectiveWeight }) => effectiveWeight === 0)
    for (let times = 0; times < 4; times++) t.equal((await session()).server, 's2', 'new ones go to the other')
    for (const { ask, server } of sessions) t.equal(await ask(), server, 'those that are there go on')

    says(lab, 's1', 'ready 100% # is back')
    says(lab, 's2', 'maint # is mended')
    await becomes(1, 'is back', ({ effectiveWeight }) => effectiveWeight > 0)
    await becomes(2, 'is mended', ({ effectiveWeight }) => effectiveWeight === 0)
    for (let times = 0; times < 4; times++) t.equal((await session()).server, 's1')
  })
})

function startAgent(lab: Lab, server: string): void {
  const home = join(lab.folder, server)
  says(lab, server, 'ready # begins')
  const config = join(home, 'agent.conf')
  writeFileSync(config, `${PORT} stream tcp nowait root /bin/cat cat ${answerOf(lab, server)}\n`)
  startOnHost(lab, server, 'inetd', [
    'inetutils-inetd',
    '-d',
    `--pidfile=${join(home, 'agent.pid')}`,
    '-R',
    '0',
    config,
  ])
}

function says(lab: Lab, server: string, line: string): void {
  writeFileSync(answerOf(lab, server), `${line}\n`)
}

function answerOf(lab: Lab, server: string): string {
  return join(lab.folder, server, 'answer')
}
